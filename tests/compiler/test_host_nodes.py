# SPDX-License-Identifier: Apache-2.0
"""Nodes that the machine does not run, in front of it and behind it: results, and who runs what."""

import numpy as np
import onnx
import pytest

from compiler import compile_model
from compiler.ir.errors import CompileError
from isa.presets import PRESETS
from isa.program import Program
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from tests.compiler.models import Net, onnxruntime

RNG = np.random.default_rng(5)
NET_MACS = 6 * 6 * 8 * 8 * 9


def conv(net: Net, x: str, integers: bool, channels: int = 8) -> str:
    """A convolution of 3 x 3 on 8 channels."""
    if not integers:
        w = RNG.normal(0, 0.1, (channels, 8, 3, 3)).astype(np.float32)
        return net.op("Conv", x, net.constant(w))
    x = net.dq(net.q(x, 0.05, 3, "uint8"), 0.05, 3, "uint8")
    w = net.weights(RNG.integers(-99, 99, (channels, 8, 3, 3)).astype(np.int8), 0.002)
    return net.dq(net.q(net.op("Conv", x, w), 0.05, 7, "int8"), 0.05, 7, "int8")


def sine(net: Net, x: str) -> str:
    """What no engine runs."""
    return net.op("Sin", x)


def engines(program: Program, op: str) -> list[str]:
    return [row["engine"] for row in program.placement if row["op"] == op]


def close(model: onnx.ModelProto, program: Program, x: dict[str, np.ndarray], slack: float
          ) -> None:
    got = list(Session(program, GoldenDevice(program.config)).run(x).values())
    for mine, want in zip(got, onnxruntime(model, x), strict=True):
        assert np.abs(mine - want).max() <= slack * np.abs(want).max()


KINDS = [(True, "tiny"), (False, "tiny_fp")]


def compiled(model: onnx.ModelProto, machine: str, integers: bool, **options) -> Program:
    return compile_model(model, PRESETS[machine], allow_host=options.pop("allow_host", ["all"]),
                         precision="int8" if integers else "fp16", **options)


@pytest.mark.parametrize("integers,machine", KINDS)
def test_in_front(integers: bool, machine: str) -> None:
    """A function of the input leaves the convolution behind it to the machine."""
    net = Net()
    y = conv(net, sine(net, net.input("x", "float32", (1, 8, 8, 8))), integers)
    model = net.model(y, kind="float32")
    program = compiled(model, machine, integers)
    assert engines(program, "Conv") == ["array"] and program.macs == NET_MACS
    assert engines(program, "Sin") == ["host"]
    close(model, program, {"x": RNG.normal(2, 3, (1, 8, 8, 8)).astype(np.float32)}, 0.03)


@pytest.mark.parametrize("integers,machine", KINDS)
def test_bytes_of_an_image(integers: bool, machine: str) -> None:
    """The host makes floats of an image's bytes."""
    net = Net()
    x = net.op("Cast", net.input("x", "uint8", (1, 8, 8, 8)), to=1)
    y = conv(net, net.op("Div", x, net.constant(np.float32(64))), integers)
    model = net.model(y, kind="float32")
    program = compiled(model, machine, integers)
    assert engines(program, "Cast") == ["host"] and program.macs == NET_MACS
    close(model, program, {"x": RNG.integers(0, 256, (1, 8, 8, 8)).astype(np.uint8)}, 0.05)


@pytest.mark.parametrize("integers,machine", KINDS)
@pytest.mark.parametrize("before,behind", [(1, 2), (2, 1)])
def test_in_the_middle(before: int, behind: int, integers: bool, machine: str) -> None:
    """The machine gets the side with more multiply-accumulates, and the host the other."""
    net = Net()
    y = net.input("x", "float32", (1, 8, 12, 12))
    for _ in range(before):
        y = conv(net, y, integers)
    y = sine(net, y)
    for _ in range(behind):
        y = conv(net, y, integers)
    model = net.model(y, kind="float32")
    program = compiled(model, machine, integers)
    more = (10 * 10 + 8 * 8) if before > behind else (8 * 8 + 6 * 6)
    assert program.macs == more * 8 * 8 * 9
    assert sorted(engines(program, "Conv")) == ["array", "array", "host"]
    close(model, program, {"x": RNG.normal(1, 3, (1, 8, 12, 12)).astype(np.float32)}, 0.06)


@pytest.mark.parametrize("integers,machine", KINDS)
def test_two_inputs_and_two_outputs(integers: bool, machine: str) -> None:
    """One branch's host node is in front, another's behind; a third leaves the machine out and
    adds what was in front to what comes behind."""
    net = Net()
    a = sine(net, net.input("a", "float32", (1, 8, 8, 8)))
    first, second = conv(net, a, integers), conv(net, net.input("b", "float32", (1, 8, 8, 8)),
                                                 integers)
    front = net.op("ReduceL2", a, net.constant(np.array([2, 3])), keepdims=1)
    late = net.op("Mul", sine(net, second), front)
    model = net.model(first, late, kind="float32")
    program = compiled(model, machine, integers)
    assert program.macs == 2 * NET_MACS
    assert engines(program, "Sin") == ["host", "host"]
    x = {n: RNG.normal(1, 2, (1, 8, 8, 8)).astype(np.float32) for n in ("a", "b")}
    close(model, program, x, 0.06)


def test_an_input_passes_by() -> None:
    """The host reads an input behind the machine alone; nothing is in front."""
    net = Net()
    y = conv(net, net.input("x", "float32", (1, 8, 8, 8)), integers=False)
    y = net.op("Mul", sine(net, y), net.op("Floor", net.input("k", "float32", (1,))))
    model = net.model(y, kind="float32")
    program = compiled(model, "tiny_fp", integers=False)
    assert program.macs == NET_MACS
    x = RNG.normal(1, 2, (1, 8, 8, 8)).astype(np.float32)
    close(model, program, {"x": x, "k": np.array([2.5], np.float32)}, 0.01)


def test_a_float_result_of_integers() -> None:
    """A last product that is not quantized is the host's, and what is before it the machine's."""
    net = Net()
    y = conv(net, net.input("x", "float32", (1, 8, 8, 8)), integers=True)
    w = net.weights(RNG.integers(-99, 99, (4, 8, 1, 1)).astype(np.int8), 0.02)
    model = net.model(net.op("Relu", net.op("Conv", y, w)), kind="float32")
    program = compiled(model, "tiny", integers=True)
    assert engines(program, "Conv") == ["array", "host"]
    close(model, program, {"x": RNG.normal(0, 3, (1, 8, 8, 8)).astype(np.float32)}, 0.03)
    with pytest.raises(CompileError, match="relu.*quantize it"):
        compiled(model, "tiny", True, allow_host=["QuantizeLinear"])


def test_half_precision() -> None:
    """A model whose values are FP16: the host's nodes get and give what they declare."""
    net = Net()
    x = net.op("Cast", net.input("x", "float32", (1, 8, 8, 8)), to=10)
    x = net.op("Sin", x)
    w = RNG.normal(0, 0.1, (8, 8, 3, 3)).astype(np.float16)
    y = net.op("Floor", net.op("Conv", x, net.constant(w)))
    model = net.model(net.op("Cast", y, to=1), kind="float32")
    program = compiled(model, "tiny_fp", integers=False)
    assert engines(program, "Conv") == ["array"] and engines(program, "Floor") == ["host"]
    given = {"x": RNG.normal(2, 3, (1, 8, 8, 8)).astype(np.float32)}
    got, = Session(program, GoldenDevice(program.config)).run(given).values()
    assert (got != onnxruntime(model, given)[0]).mean() < 0.02


def test_scales_of_each_channel() -> None:
    """What the machine does not dequantize the host does, with what is behind it."""
    net = Net()
    y = conv(net, net.input("x", "float32", (1, 8, 8, 8)), integers=True)
    q = net.nodes[-1].input[0]
    y = net.op("DequantizeLinear", q, net.constant(np.linspace(0.1, 0.5, 8).astype(np.float32)),
               net.constant(np.zeros(8, np.int8)), axis=1)
    model = net.model(net.op("Relu", y), kind="float32")
    program = compiled(model, "tiny", integers=True)
    assert engines(program, "Conv") == ["array"] and engines(program, "Relu") == ["host"]
    close(model, program, {"x": RNG.normal(0, 3, (1, 8, 8, 8)).astype(np.float32)}, 0.02)
