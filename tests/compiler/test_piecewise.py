# SPDX-License-Identifier: Apache-2.0
"""Functions of two halves, sums, reductions and moves of depth on floats, against ONNX Runtime."""

import numpy as np
import pytest

from compiler import compile_model
from compiler.ir.errors import CompileError
from isa.presets import PRESETS
from tests.compiler.models import Net, onnxruntime
from tests.compiler.test_functions import SHAPE, run

CASES: list[tuple[str, int, dict[str, object]]] = [
    ("Abs", 1, {}), ("Neg", 1, {}), ("Elu", 1, {"alpha": 1.5}), ("Selu", 1, {}),
    ("Selu", 1, {"alpha": 2.0, "gamma": 3.0}), ("Celu", 1, {"alpha": 2.0}), ("Softsign", 1, {}),
    ("Sum", 2, {}), ("Sum", 4, {}), ("Mean", 3, {}), ("Mean", 1, {})]
"""Operator, activations, attributes."""


@pytest.mark.parametrize("machine", ["tiny_fp", "core1024_fp"])
@pytest.mark.parametrize("op, count, attributes", CASES)
def test_element_by_element(op: str, count: int, attributes: dict[str, object], machine: str
                            ) -> None:
    """Off by a few roundings to FP16 of the parts, which are no larger than 2 * max|x|."""
    rng, net = np.random.default_rng(len(op)), Net()
    data = {f"x{k}": rng.uniform(-8, 8, SHAPE).astype(np.float16).astype(np.float32)
            for k in range(count)}
    y = net.op(op, *(net.input(n, "float32", SHAPE) for n in data), **attributes)
    got = run(net, y, machine, **data)
    (want,) = onnxruntime(net.model(y, kind="float32"), data)
    assert np.abs(got - want).max() <= 2.0 ** -10 * max(8, np.abs(want).max())
    if op in ("Abs", "Neg"):
        assert np.array_equal(got, want)


@pytest.mark.parametrize("slope", ["value", "channel", "activation"])
def test_p_relu(slope: str) -> None:
    rng, net = np.random.default_rng(4), Net()
    data = {"x": rng.uniform(-8, 8, SHAPE).astype(np.float16).astype(np.float32)}
    x = net.input("x", "float32", SHAPE)
    if slope == "activation":
        data["s"] = rng.uniform(-2, 2, SHAPE).astype(np.float16).astype(np.float32)
        s = net.input("s", "float32", SHAPE)
    else:
        shape = (1,) if slope == "value" else (SHAPE[1], 1, 1)
        s = net.constant(rng.uniform(-2, 2, shape).astype(np.float32))
    y = net.op("PRelu", x, s)
    got = run(net, y, "tiny_fp", **data)
    (want,) = onnxruntime(net.model(y, kind="float32"), data)
    assert np.abs(got - want).max() <= 2.0 ** -11 * 16


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceSum"])
@pytest.mark.parametrize("axes, keep", [([2, 3], 1), ([1], 0), ([3], 1), ([0, 1, 2, 3], 0)])
def test_reductions(op: str, axes: list[int], keep: int) -> None:
    rng, net = np.random.default_rng(5), Net()
    data = {"x": rng.uniform(-8, 8, (1, 4, 5, 6)).astype(np.float16).astype(np.float32)}
    y = net.op(op, net.input("x", "float32", (1, 4, 5, 6)),
               net.constant(np.array(axes, np.int64)), keepdims=keep)
    got = run(net, y, "tiny_fp", **data)
    (want,) = onnxruntime(net.model(y, kind="float32"), data)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= (0 if op == "ReduceMax" else
                                        2.0 ** -10 * np.abs(want).max())


@pytest.mark.parametrize("op, shape, attributes", [
    ("DepthToSpace", (1, 18, 2, 4), {"blocksize": 3}),
    ("DepthToSpace", (1, 16, 3, 2), {"blocksize": 2, "mode": "CRD"}),
    ("SpaceToDepth", (1, 3, 6, 4), {"blocksize": 2})])
def test_depth_and_space(op: str, shape: tuple[int, ...], attributes: dict[str, object]) -> None:
    rng, net = np.random.default_rng(6), Net()
    data = {"x": rng.uniform(-8, 8, shape).astype(np.float16).astype(np.float32)}
    y = net.op(op, net.input("x", "float32", shape), **attributes)
    got = run(net, y, "tiny_fp", **data)
    assert np.array_equal(got, onnxruntime(net.model(y, kind="float32"), data)[0])


def test_a_sum_over_integers_is_refused() -> None:
    net = Net()
    x = net.dq(net.input("x", "int8", (1, 4, 5, 6)), 0.5, 0, "int8")
    y = net.q(net.op("ReduceSum", x, net.constant(np.array([2, 3]))), 1.0, 0, "int8")
    with pytest.raises(CompileError, match="does not run ReduceSum on integers, only on floats"):
        compile_model(net.model(y), PRESETS["tiny"])


@pytest.mark.parametrize("opset", [21, 22, 25])
def test_newer_opsets(opset: int) -> None:
    """Their operators are those of opset 20, with more types of elements."""
    rng, net = np.random.default_rng(7), Net(opset)
    data = {"x": rng.uniform(-8, 8, SHAPE).astype(np.float16).astype(np.float32)}
    y = net.op("GlobalMaxPool", net.op("Abs", net.input("x", "float32", SHAPE)))
    assert np.array_equal(run(net, y, "tiny_fp", **data),
                          np.abs(data["x"]).max(axis=(2, 3), keepdims=True))
    y = net.op("GroupNormalization", y, net.constant(np.ones(19, np.float32)),
               net.constant(np.ones(19, np.float32)), num_groups=1)
    with pytest.raises(CompileError, match="from opset|GroupNormalization"):
        compile_model(net.model(y, kind="float32", shape=[1, 19, 1, 1]), PRESETS["tiny_fp"],
                      precision="fp16")
