# SPDX-License-Identifier: Apache-2.0
"""ConvTranspose: in INT8 bit-identical to exact integers, in FP16 within a rounding of binary64,
its geometry that of ONNX Runtime."""

from typing import Any

import numpy as np
import pytest

from compiler import compile_model
from compiler.ir.errors import CompileError
from isa.presets import PRESETS
from tests.compiler.models import Net, onnxruntime, requantized, run
from tests.compiler.test_functions import run as run_floats

CASES: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((1, 3, 5, 4), (3, 4, 3, 3), {}),
    ((2, 5, 4, 6), (5, 3, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1],
                                  "output_padding": [1, 1]}),
    ((1, 6, 4, 4), (6, 2, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1], "group": 3}),
    ((1, 20, 3, 3), (20, 1, 2, 2), {"strides": [2, 2], "group": 20}),
    ((1, 2, 3, 5), (2, 9, 2, 5), {"strides": [3, 1], "pads": [0, 2, 1, 0]}),
    ((1, 4, 4, 3), (4, 2, 3, 2), {"strides": [2, 3], "dilations": [3, 2]}),
    ((1, 3, 4, 4), (3, 2, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ((1, 3, 4, 4), (3, 2, 5, 5), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ((1, 1, 3, 3), (1, 2, 3, 3), {"strides": [3, 2], "output_shape": [10, 8],
                                  "output_padding": [1, 1]}),
    ((1, 3, 4, 4), (3, 2, 2, 2), {"strides": [3, 3]}),
    ((1, 3, 7), (3, 4, 4), {"strides": [2], "pads": [2, 0]})]


def transposed(x: np.ndarray, w: np.ndarray, shape: tuple[int, ...], at: dict[str, Any]
               ) -> np.ndarray:
    """Each product added where it belongs; the padding is that of ``shape``, of ONNX Runtime."""
    rank, groups = x.ndim - 2, at.get("group", 1)
    stride, dilation = (at.get(k, [1] * rank) for k in ("strides", "dilations"))
    n, c, *sizes = x.shape
    per = c // groups
    full = [s * (i - 1) + (k - 1) * d + 1 for s, i, k, d in
            zip(stride, sizes, w.shape[2:], dilation)]
    extra = [max(f, o) + 64 for f, o in zip(full, shape[2:])]
    out = np.zeros((n, w.shape[1] * groups, *extra), x.dtype)
    for g in range(groups):
        part = x[:, g * per:(g + 1) * per]
        for tap in np.ndindex(*w.shape[2:]):
            cut = tuple(slice(t * d, t * d + s * (i - 1) + 1, s) for t, d, s, i in
                        zip(tap, dilation, stride, sizes))
            value = np.einsum("nc...,ck->nk...", part, w[(slice(g * per, (g + 1) * per),
                                                          slice(None), *tap)])
            out[(slice(None), slice(g * w.shape[1], (g + 1) * w.shape[1]), *cut)] += value
    mode = at.get("auto_pad", "NOTSET")
    front = at.get("pads", [0] * 2 * rank)[:rank]
    if mode != "NOTSET" or "output_shape" in at:
        spare = [max(0, f + e - o) for f, e, o in zip(
            full, at.get("output_padding", [0] * rank), shape[2:])]
        front = [v // 2 if mode == "SAME_UPPER" else v - v // 2 for v in spare]
    return out[(slice(None),) * 2 + tuple(slice(f, f + o) for f, o in zip(front, shape[2:]))]


@pytest.mark.parametrize("x_shape,w_shape,attributes", CASES)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("machine", ["tiny", "core256"])
def test_integers(x_shape: tuple[int, ...], w_shape: tuple[int, ...], attributes: dict[str, Any],
                  per_channel: bool, machine: str) -> None:
    rng = np.random.default_rng(sum(x_shape))
    x = rng.integers(-128, 128, x_shape).astype(np.int8)
    w = rng.integers(-128, 128, w_shape).astype(np.int8)
    s_w = rng.uniform(0.002, 0.01, w_shape[1] if per_channel else 1).astype(np.float32)
    count = w_shape[1] * attributes.get("group", 1)
    s_x, s_y = np.float32(0.02), np.float32(0.4)
    of = np.tile(s_w, attributes.get("group", 1)) if per_channel else np.repeat(s_w, count)
    bias = rng.integers(-900, 900, count).astype(np.int32)
    net = Net()
    factor = (s_x * of).astype(np.float32)
    y = net.op("ConvTranspose", net.dq(net.input("x", "int8", x_shape), s_x, 7, "int8"),
               net.weights(w, s_w if per_channel else s_w[0], axis=1 if per_channel else None),
               net.weights(bias, factor if count > 1 else factor[0], axis=0), **attributes)
    model = net.model(net.q(y, s_y, -9, "int8"))
    got, = run(model, PRESETS[machine], {"x": x})
    rank = (1, -1) + (1,) * (x.ndim - 2)
    acc = transposed(x.astype(np.int64) - 7, w.astype(np.int64), got.shape, attributes)
    want = requantized(acc + bias.reshape(rank), (factor / s_y).reshape(rank), -9, -128, 127)
    np.testing.assert_array_equal(got, want)
    chain, = onnxruntime(model, {"x": x})
    assert chain.shape == got.shape and np.abs(chain.astype(int) - got).max() <= 1


@pytest.mark.parametrize("x_shape,w_shape,attributes", CASES)
def test_floats(x_shape: tuple[int, ...], w_shape: tuple[int, ...], attributes: dict[str, Any]
                ) -> None:
    rng = np.random.default_rng(sum(w_shape))
    x, w = (rng.standard_normal(s).astype(np.float16).astype(np.float32)
            for s in (x_shape, w_shape))
    net = Net()
    y = net.op("ConvTranspose", net.input("x", "float32", x_shape), net.constant(w), **attributes)
    got = run_floats(net, y, "tiny_fp", x=x)
    want, = onnxruntime(net.model(y, kind="float32"), {"x": x})
    np.testing.assert_allclose(got, want, 2e-3, 2e-3)


def test_three_dimensions_are_refused() -> None:
    net = Net()
    y = net.op("ConvTranspose", net.input("x", "float32", (1, 1, 2, 2, 2)),
               net.constant(np.ones((1, 1, 2, 2, 2), np.float32)))
    with pytest.raises(CompileError, match="convtranspose.*over 3 dimensions"):
        compile_model(net.model(y, kind="float32"), PRESETS["tiny_fp"], precision="fp16")
