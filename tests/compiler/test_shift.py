# SPDX-License-Identifier: Apache-2.0
"""Values that are dequantized and quantized again at the same scale: no pass, the same bits."""

import numpy as np
import pytest

from compiler import compile_model
from isa.instructions import Opcode
from isa.presets import PRESETS
from isa.program import Program
from tests.compiler.models import Net, execute, onnxruntime

RNG = np.random.default_rng(3)


def conv(net: Net, x: str, channels: int = 3) -> str:
    """Of an odd kernel, so that padding counts."""
    w = net.weights(RNG.integers(-99, 99, (6, channels, 3, 3)).astype(np.int8), 0.0078125)
    return net.op("Conv", x, w, pads=[1, 1, 1, 1])


def passes(program: Program) -> list[Opcode]:
    """Instructions that compute."""
    return [i.opcode for i in program.instructions()
            if i.opcode in (Opcode.TENSOR, Opcode.WINDOW, Opcode.VECTOR)]


def same(net: Net, y: str, x: np.ndarray, machine: str = "core256") -> Program:
    """The program, whose bits are ONNX Runtime's."""
    model = net.model(y, kind="int8")
    program = compile_model(model, PRESETS[machine])
    (got,), (want,) = execute(program, {"x": x}).values(), onnxruntime(model, {"x": x})
    assert np.array_equal(got, want)
    return program


@pytest.mark.parametrize("machine", ["tiny", "core256"])
@pytest.mark.parametrize("first,second", [
    (("uint8", 5), ("int8", -123)), (("int8", -7), ("uint8", 121)), (("int8", 4), ("int8", 4))])
def test_an_input_that_is_quantized_twice(first: tuple[str, int], second: tuple[str, int],
                                          machine: str) -> None:
    """One reader is a convolution with padding, another a pool, another an addition."""
    shape, (kind, zero), (other, other_zero) = (1, 3, 12, 12), first, second
    net = Net()
    x = net.dq(net.input("x", kind, shape), 0.5, zero, kind)
    x = net.dq(net.q(x, 0.5, other_zero, other), 0.5, other_zero, other)
    a = net.dq(net.q(conv(net, x), 0.5, 3, "int8"), 0.5, 3, "int8")
    b = net.op("MaxPool", net.dq(net.q(net.op("Add", x, x), 1.0, 0, "int8"), 1.0, 0, "int8"),
               kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    y = net.q(net.op("Concat", a, b, axis=1), 0.5, 3, "int8")
    low = 0 if kind == "uint8" else -128
    same(net, y, RNG.integers(low, low + 256, shape).astype(kind), machine)


def test_the_stem_stays_packed() -> None:
    """An image that is shifted costs as much as one that is not."""
    shape, cycles = (1, 3, 32, 32), []
    for twice in (False, True):
        net = Net()
        x = net.dq(net.input("x", "uint8", shape), 0.5, 0, "uint8")
        if twice:
            x = net.dq(net.q(x, 0.5, -128, "int8"), 0.5, -128, "int8")
        program = same(net, net.q(conv(net, x), 0.5, 3, "int8"),
                       RNG.integers(0, 256, shape).astype(np.uint8))
        assert set(passes(program)) == {Opcode.TENSOR}
        cycles.append(sum(program.predicted_cycles))
    assert cycles[0] == cycles[1]


def test_what_would_be_clipped_stays() -> None:
    net = Net()
    x = net.dq(net.input("x", "int8", (1, 3, 8, 8)), 0.5, 0, "int8")
    x = net.dq(net.q(x, 0.5, 50, "int8"), 0.5, 50, "int8")
    program = same(net, net.q(conv(net, x), 0.5, 3, "int8"),
                   RNG.integers(-128, 128, (1, 3, 8, 8)).astype(np.int8))
    assert Opcode.VECTOR in passes(program)


@pytest.mark.parametrize("kind,zero", [("int8", 10), ("uint8", 138), ("int8", -128)])
@pytest.mark.parametrize("clip", ["Relu", "Clip"])
@pytest.mark.parametrize("again", [True, False])
def test_a_clamp_behind_integers(again: bool, clip: str, kind: str, zero: int) -> None:
    """Between a convolution and its clamp the value is quantized; behind it perhaps not."""
    net = Net()
    y = conv(net, net.dq(net.input("x", "int8", (1, 3, 8, 8)), 0.5, 0, "int8"))
    y = net.dq(net.q(y, 0.25, 10, "int8"), 0.25, 10, "int8")
    bounds = [net.constant(np.float32(v)) for v in (0, 6)] if clip == "Clip" else []
    y = net.op(clip, y, *bounds)
    if again:
        y = net.dq(net.q(y, 0.25, zero, kind), 0.25, zero, kind)
    y = net.q(conv(net, y, 6), 0.5, 3, "int8")
    program = same(net, y, RNG.integers(-128, 128, (1, 3, 8, 8)).astype(np.int8))
    assert set(passes(program)) == {Opcode.TENSOR}


def test_a_clamp_of_a_residual() -> None:
    net = Net()
    x = net.dq(net.input("x", "int8", (1, 6, 8, 8)), 0.5, 0, "int8")
    a = net.dq(net.q(conv(net, x, 6), 0.25, 10, "int8"), 0.25, 10, "int8")
    y = net.dq(net.q(net.op("Add", a, x), 0.25, 7, "int8"), 0.25, 7, "int8")
    y = net.q(net.op("Relu", y), 0.25, -128, "int8")
    program = same(net, y, RNG.integers(-128, 128, (1, 6, 8, 8)).astype(np.int8))
    assert set(passes(program)) == {Opcode.TENSOR}


@pytest.mark.parametrize("machine", ["tiny", "core256"])
@pytest.mark.parametrize("maker", ["depthwise", "MaxPool", "AveragePool", "Add", "Concat"])
def test_who_takes_over(maker: str, machine: str) -> None:
    """Each operator of either engine, to the other type and clipped."""
    shape, net = (1, 6, 8, 8), Net()
    x = net.dq(net.input("x", "int8", shape), 0.5, 3, "int8")
    if maker == "depthwise":
        w = net.weights(RNG.integers(-99, 99, (6, 1, 3, 3)).astype(np.int8), 0.0078125)
        y = net.op("Conv", x, w, group=6, pads=[1, 1, 1, 1])
    elif maker == "Add":
        y = net.op("Add", x, x)
    elif maker == "Concat":
        y = net.op("Concat", x, net.dq(net.input("b", "int8", shape), 0.25, 0, "int8"), axis=1)
    else:
        y = net.op(maker, x, kernel_shape=[3, 3] if maker == "MaxPool" else [2, 2])
    y = net.dq(net.q(y, 1.0, -20, "int8"), 1.0, -20, "int8")
    model = net.model(net.q(net.op("Relu", y), 1.0, 100, "uint8"), kind="uint8")
    program = compile_model(model, PRESETS[machine])
    assert not any(row["op"] == "Relu" and row["engine"] != "none" for row in program.placement)
    data = {i.name: RNG.integers(-128, 128, shape).astype(np.int8) for i in model.graph.input}
    (got,), (want,) = execute(program, data).values(), onnxruntime(model, data)
    wrong = np.abs(got.astype(int) - want.astype(int))
    assert wrong.max() <= (maker == "AveragePool") and len(np.unique(want)) > 20


@pytest.mark.parametrize("machine", ["tiny", "core256"])
def test_tables_of_maps_that_are_quantized_twice(machine: str) -> None:
    """What moves bytes reads the first of the values, and its zero point."""
    net = Net()
    y = net.op("MaxPool", net.dq(net.input("x", "int8", (1, 3, 8, 8)), 0.5, 0, "int8"),
               kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = net.dq(net.q(y, 0.5, 0, "int8"), 0.5, 0, "int8")
    again = net.dq(net.q(y, 0.5, 128, "uint8"), 0.5, 128, "uint8")
    parts = [net.op("Reshape", net.op("Transpose", v, perm=[0, 2, 3, 1]),
                    net.constant(np.array([1, -1, 3]))) for v in (y, again)]
    same(net, net.q(net.op("Concat", *parts, axis=1), 1.0, 5, "int8"),
         RNG.integers(-30, 30, (1, 3, 8, 8)).astype(np.int8), machine)
