# SPDX-License-Identifier: Apache-2.0
"""The compiler takes the scales that the machine takes."""

import numpy as np
import pytest

from compiler import compile_model
from compiler.ir.errors import CompileError
from compiler.ir.verify import check_scale
from golden import arith
from isa.presets import PRESETS
from tests.compiler.models import Net, execute, onnxruntime

LOW, HIGH = np.float32(2.0 ** -100), np.float32(2.0 ** 32)
OUTSIDE = np.nextafter(LOW, np.float32(0)), HIGH, np.float32(np.nan), np.float32(np.inf)


@pytest.mark.parametrize("scale", [LOW, np.nextafter(HIGH, np.float32(0))])
def test_taken(scale: np.float32) -> None:
    check_scale(np.array([1, scale]), "here")
    assert arith.is_scale(np.array([1, scale]))


def test_of_an_activation_negative() -> None:
    net = Net()
    x = net.dq(net.input("x", "int8", (1, 4, 6, 6)), -0.5, 0, "int8")
    with pytest.raises(CompileError, match="its requantization factor -1 is negative, and"):
        compile_model(net.model(net.q(x, 0.5, 0, "int8")), PRESETS["core256"])


@pytest.mark.parametrize("machine", ["tiny", "core256"])
@pytest.mark.parametrize("operator", ["Conv", "depthwise", "MatMul", "Gemm", "QLinearConv"])
@pytest.mark.parametrize("kind,zero", [("int8", 0), ("uint8", 131)])
@pytest.mark.parametrize("axis", [None, 0])
def test_of_weights_negative(axis: int | None, kind: str, zero: int, operator: str, machine: str
                             ) -> None:
    """ONNX Runtime's bits, weights of -128 included. Powers of two: its float chain is exact."""
    if operator == "QLinearConv" and kind == "uint8":
        pytest.skip("ONNX Runtime has no such weights of INT8 activations")
    rng, channels, net = np.random.default_rng(7), 20, Net()
    groups = channels if operator == "depthwise" else 1
    matrix = operator in ("MatMul", "Gemm")
    shape = (channels, channels) if matrix else (channels, channels // groups, 3, 3)
    low, high = (-128, 128) if kind == "int8" else (0, 256)
    weight = rng.integers(low, high, shape).astype(kind)
    weight[0], weight[:, 0], weight[-1, -1] = low, low, high - 1
    scale = (rng.choice([-0.125, 0.125], channels) if axis == 0 else np.array(-0.125)).astype('f4')
    zeros = np.broadcast_to(np.asarray(zero, kind), np.shape(scale))
    bias = rng.integers(-5000, 5000, channels).astype(np.int32)
    x = net.input("x", "int8", (5, channels) if matrix else (1, channels, 7, 7))
    if operator == "QLinearConv":
        constants = [net.constant(v) for v in (
            np.float32(0.5), np.int8(3), weight, scale, zeros, np.float32(8), np.int8(5), bias)]
        y = net.op(operator, x, *constants)
    else:
        w = net.dq(net.constant(weight), scale, zeros, kind,
                   (1 if matrix else 0) if axis == 0 else None)
        x = net.dq(x, 0.5, 3, "int8")
        if matrix:
            y = net.op(operator, x, w)
        else:
            y = net.op("Conv", x, w, net.dq(net.constant(bias), 0.5 * scale, np.zeros(
                np.shape(scale), np.int32), "int32", axis), group=groups)
        y = net.q(y, 8.0, 5, "int8")
    model = net.model(y)
    data = rng.integers(-128, 128, (5, channels) if matrix else (1, channels, 7, 7)).astype(np.int8)
    program = compile_model(model, PRESETS[machine])
    (got,), (want,) = execute(program, {"x": data}).values(), onnxruntime(model, {"x": data})
    assert len(np.unique(want)) > 9
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("scale", [*OUTSIDE, np.float32(0), np.float32(-1)])
def test_refused(scale: np.float32) -> None:
    with pytest.raises(CompileError, match="here: its requantization factor"):
        check_scale(np.array([1, scale]), "here")
    assert not arith.is_scale(np.array([1, scale]))
