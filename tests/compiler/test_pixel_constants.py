# SPDX-License-Identifier: Apache-2.0
"""Constants that differ from pixel to pixel, scales and offsets of anchors for instance."""

import numpy as np
import pytest

from compiler import compile_model
from isa.presets import PRESETS
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from tests.compiler.models import Net, onnxruntime

SHAPES = [(1, 4, 5, 7), (2, 19, 4, 3), (1, 4, 40), (6, 20)]
OPERATORS = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}


def grid(shape: tuple[int, ...], operator: str) -> np.ndarray:
    """A value for each position but for the first axis, of both signs; powers of two for a
    product."""
    rng = np.random.default_rng(3)
    if operator in ("Mul", "Div"):
        return (2.0 ** rng.integers(-2, 3, shape[1:]) * rng.choice([-1, 1], shape[1:])
                ).astype(np.float32)
    return rng.uniform(-40, 40, shape[1:]).astype(np.float16).astype(np.float32)


@pytest.mark.parametrize("machine", ["tiny_fp", "core256_fp"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_numbers(operator: str, shape: tuple[int, ...], machine: str) -> None:
    """Behind a function, which is stored."""
    c, net = grid(shape, operator), Net()
    x = net.op("Relu", net.input("x", "float32", shape))
    model = net.model(net.op(operator, x, net.constant(c)), kind="float32")
    program = compile_model(model, PRESETS[machine], precision="fp16")
    assert not any(row["engine"] == "host" for row in program.placement)
    x = np.random.default_rng(1).uniform(-9, 9, shape).astype(np.float16)
    got, = Session(program, GoldenDevice(program.config)).run({"x": x.astype(np.float32)}).values()
    want = OPERATORS[operator](np.maximum(x, 0).astype(np.float64),
                               c.astype(np.float16).astype(np.float64))
    np.testing.assert_array_equal(got, want.astype(np.float16))


@pytest.mark.parametrize("machine", ["tiny", "core256"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_integers(operator: str, shape: tuple[int, ...], machine: str) -> None:
    """A product is exact; what is added has 255 steps."""
    c, net = grid(shape, operator), Net()
    x = net.dq(net.input("x", "int8", shape), 0.25, 3, "int8")
    model = net.model(net.q(net.op(operator, x, net.constant(c)), 0.5, 5, "int8"))
    program = compile_model(model, PRESETS[machine])
    data = {"x": np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)}
    got, = Session(program, GoldenDevice(program.config)).run(data).values()
    want, = onnxruntime(model, data)
    error = np.abs(got.astype(int) - want.astype(int)).max()
    assert error <= (0 if operator in ("Mul", "Div") else 1) and len(np.unique(want)) > 60


@pytest.mark.parametrize("machine", ["tiny", "core256"])
def test_quantized_constants(machine: str) -> None:
    """Bits of ONNX Runtime; powers of two."""
    shape, net, rng = (1, 19, 5, 6), Net(), np.random.default_rng(4)
    x = net.dq(net.input("x", "uint8", shape), 0.25, 90, "uint8")
    c = net.dq(net.constant(rng.integers(0, 256, shape).astype(np.uint8)), 0.5, 120, "uint8")
    model = net.model(net.q(net.op("Add", c, x), 0.5, 5, "int8"))
    data = {"x": rng.integers(0, 256, shape).astype(np.uint8)}
    program = compile_model(model, PRESETS[machine])
    got, = Session(program, GoldenDevice(program.config)).run(data).values()
    np.testing.assert_array_equal(got, onnxruntime(model, data)[0])


def test_behind_a_convolution() -> None:
    shape, net, rng = (1, 6, 8, 8), Net(), np.random.default_rng(4)
    w = rng.normal(0, 0.3, (8, 6, 3, 3)).astype(np.float32)
    y = net.op("Conv", net.input("x", "float32", shape), net.constant(w))
    y = net.op("Mul", net.op("Add", y, net.constant(grid((1, 8, 6, 6), "Add"))),
               net.constant(grid((1, 8, 6, 6), "Mul")))
    model = net.model(y, kind="float32")
    program = compile_model(model, PRESETS["tiny_fp"], precision="fp16")
    data = {"x": rng.normal(0, 1, shape).astype(np.float32)}
    got, = Session(program, GoldenDevice(program.config)).run(data).values()
    want, = onnxruntime(model, data)
    assert np.abs(got - want).max() < 1e-3 * np.abs(want).max()
