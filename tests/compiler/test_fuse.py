# SPDX-License-Identifier: Apache-2.0
"""Which additions become residuals of convolutions, against ONNX Runtime.

Scales are powers of two: the chain DequantizeLinear, operator, QuantizeLinear is exact.
"""

import numpy as np
import pytest

from compiler import compile_model
from isa.instructions import Opcode
from isa.presets import PRESETS
from tests.compiler.models import Net, execute, onnxruntime


@pytest.mark.parametrize("zero, kept, fused", [(3, False, True), (5, False, False),
                                               (3, True, False)])
def test_residual(zero: int, kept: bool, fused: bool) -> None:
    """An addition that subtracts another zero point than the convolution has added is none, nor
    one whose convolution is wanted for itself."""
    rng = np.random.default_rng(1)
    a, b = (rng.integers(-128, 128, (1, 4, 6, 5)).astype(np.int8) for _ in range(2))
    net = Net()
    weight = net.weights(rng.integers(-16, 16, (4, 4, 1, 1)).astype(np.int8), 0.125)
    conv = net.q(net.op("Conv", net.dq(net.input("a", "int8", a.shape), 0.5, 0, "int8"), weight),
                 0.5, 3, "int8")
    other = net.dq(net.input("b", "int8", b.shape), 0.25, 0, "int8")
    total = net.q(net.op("Add", net.dq(conv, 0.5, zero, "int8"), other), 1, 1, "int8")
    model = net.model(total, *([conv] if kept else []))
    program = compile_model(model, PRESETS["core256"])
    assert any(i.fields.get("residual") for i in program.instructions()
               if i.opcode is Opcode.TENSOR) == fused
    inputs = {"a": a, "b": b}
    for got, want in zip(execute(program, inputs).values(), onnxruntime(model, inputs),
                         strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("inner, outer", [("int8", "uint8"), ("uint8", "int8")])
def test_a_residual_whose_sum_has_another_type(inner: str, outer: str) -> None:
    """The convolution's own clip is that of its type, the sum's that of the other."""
    rng = np.random.default_rng(2)
    a, b = (rng.integers(-128, 128, (1, 4, 6, 5)).astype(np.int8) for _ in range(2))
    net = Net()
    weight = net.weights(rng.integers(-16, 16, (4, 4, 1, 1)).astype(np.int8), 0.125)
    conv = net.q(net.op("Conv", net.dq(net.input("a", "int8", a.shape), 0.5, 0, "int8"), weight),
                 0.5, 0, inner)
    total = net.q(net.op("Relu", net.op("Add", net.dq(conv, 0.5, 0, inner), net.dq(
        net.input("b", "int8", b.shape), 0.25, 0, "int8"))), 0.5, 0, outer)
    model = net.model(total, kind=outer)
    inputs = {"a": a, "b": b}
    for config in ("tiny", "core256"):
        program = compile_model(model, PRESETS[config])
        assert any(i.fields.get("residual") for i in program.instructions())
        (got,), (want,) = execute(program, inputs).values(), onnxruntime(model, inputs)
        np.testing.assert_array_equal(got, want)
