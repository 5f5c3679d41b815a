# SPDX-License-Identifier: Apache-2.0
"""Resize against onnx's evaluator and ONNX Runtime, in FP16 and, where it is exact, in INT8."""

import itertools

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from compiler import compile_model
from compiler.ir.errors import CompileError
from compiler.lower.axis import Mode, axis_of
from isa.presets import PRESETS
from tests.compiler.models import Net, onnxruntime, run
from tests.compiler.test_functions import run as run_floats

COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
               "asymmetric")
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def model(net: Net, x: str, scales: list[float] | None = None, sizes: list[int] | None = None,
          **attributes: object) -> str:
    given = [net.constant(np.array(scales, np.float32))] if scales else \
        ["", net.constant(np.array(sizes, np.int64))]
    return net.op("Resize", x, "", *given, **attributes)


@pytest.mark.parametrize("coordinates,nearest", list(itertools.product(COORDINATES,
                                                                           NEAREST)))
def test_nearest(coordinates: str, nearest: str) -> None:
    """Elements are moved, so the result is exact."""
    x = np.random.default_rng(1).standard_normal((2, 5, 7, 5)).astype(np.float16)
    for sizes in ([2, 5, 14, 15], [2, 5, 3, 2], [2, 5, 10, 8]):
        net = Net()
        y = model(net, net.input("x", "float32", x.shape), sizes=sizes, mode="nearest",
                  coordinate_transformation_mode=coordinates, nearest_mode=nearest)
        got = run_floats(net, y, "tiny_fp", x=x.astype(np.float32))
        want, = ReferenceEvaluator(net.model(y, kind="float32")).run(
            None, {"x": x.astype(np.float32)})
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("shape,scales", [
    ((1, 3, 6, 5), (2, 2)), ((2, 3, 4, 4), (3, 2)), ((1, 8, 6, 9), (0.5, 1 / 3)),
    ((1, 2, 6, 4), (1.5, 1)), ((1, 4, 8), (2.5,)), ((1, 1, 1, 3), (3, 2))])
def test_interpolation(mode: str, coordinates: str, shape: tuple[int, ...],
                       scales: tuple[float, ...]) -> None:
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float16).astype(np.float32)
    net = Net()
    y = model(net, net.input("x", "float32", shape), scales=[1.0, 1.0, *scales], mode=mode,
              coordinate_transformation_mode=coordinates)
    got = run_floats(net, y, "tiny_fp", x=x)
    want, = ReferenceEvaluator(net.model(y, kind="float32")).run(None, {"x": x})
    np.testing.assert_allclose(got, want, 2e-3, 2e-3)


@pytest.mark.parametrize("attributes", [
    {"mode": "linear", "antialias": 1}, {"mode": "cubic", "antialias": 1},
    {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5},
    {"mode": "linear", "exclude_outside": 1}])
@pytest.mark.parametrize("sizes", [[1, 3, 5, 4], [1, 3, 9, 12], [1, 3, 3, 4]])
def test_filters(attributes: dict[str, object], sizes: list[int]) -> None:
    x = np.random.default_rng(3).standard_normal((1, 3, 9, 8)).astype(np.float16)
    x = x.astype(np.float32)
    net = Net()
    y = model(net, net.input("x", "float32", x.shape), sizes=sizes, **attributes)
    got = run_floats(net, y, "tiny_fp", x=x)
    want, = ReferenceEvaluator(net.model(y, kind="float32")).run(None, {"x": x})
    np.testing.assert_allclose(got, want, 2e-3, 2e-3)


@pytest.mark.parametrize("size", [3, 7, 24])
@pytest.mark.parametrize("out", [1, 2, 5, 7, 23, 50])
def test_axis_is_onnx_runtimes(size: int, out: int) -> None:
    """The matrix of an axis, by resizing the identity."""
    net = Net()
    y = model(net, net.input("x", "float32", (1, 1, size, size)), sizes=[1, 1, out, size],
              mode="linear", coordinate_transformation_mode="half_pixel")
    want, = onnxruntime(net.model(y, kind="float32"),
                        {"x": np.eye(size, dtype=np.float32)[None, None]})
    axis = axis_of(Mode("linear"), size, out, out / size)
    got = np.zeros((out, size))
    for row, first, taps in zip(got, axis.first, axis.taps):
        np.add.at(row, (first + np.arange(len(taps))).clip(0, size - 1), taps)
    np.testing.assert_allclose(got, want[0, 0], 0, 1e-5)
    p, q = axis.period
    for k in range(out - p):
        assert axis.first[k + p] == axis.first[k] + q


@pytest.mark.parametrize("mode,scales", [("nearest", (2, 2)), ("nearest", (1.5, 3)),
                                         ("linear", (2, 2)), ("linear", (4, 2)),
                                         ("linear", (0.5, 0.5)), ("linear", (2, 1))])
@pytest.mark.parametrize("machine", ["tiny", "core256"])
def test_integers(mode: str, scales: tuple[float, float], machine: str) -> None:
    """Weights are exact: what is rounded is the result alone, as the float chain does but for
    ties."""
    rng = np.random.default_rng(4)
    x = rng.integers(-128, 128, (1, 5, 6, 8)).astype(np.int8)
    net = Net()
    y = model(net, net.dq(net.input("x", "int8", x.shape), 0.05, 3, "int8"),
              scales=[1.0, 1.0, *scales], mode=mode)
    y = net.q(y, 0.0617, -5, "int8")
    got, = run(net.model(y), PRESETS[machine], {"x": x})
    want, = ReferenceEvaluator(net.model(y)).run(None, {"x": x})
    difference = np.abs(got.astype(int) - want.astype(int))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01


def test_integers_of_other_weights_are_refused() -> None:
    net = Net()
    y = model(net, net.dq(net.input("x", "int8", (1, 2, 5, 5)), 0.05, 0, "int8"),
              scales=[1.0, 1.0, 2.0, 2.0], mode="cubic")
    with pytest.raises(CompileError, match="exact in INT8"):
        compile_model(net.model(net.q(y, 0.06, 0, "int8")), PRESETS["tiny"])


def test_channels_are_not_interpolated() -> None:
    net = Net()
    y = model(net, net.input("x", "float32", (1, 2, 5, 5)), scales=[1.0, 2.0, 1.0, 1.0],
              mode="linear")
    with pytest.raises(CompileError, match="resize.*axis 1"):
        compile_model(net.model(y, kind="float32"), PRESETS["tiny_fp"], precision="fp16")
