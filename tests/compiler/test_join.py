# SPDX-License-Identifier: Apache-2.0
"""Operands of a concatenation that are made in its result: the bits of ONNX Runtime, wherever the
result is, and no pass of their own."""

from collections.abc import Callable
from functools import partialmethod
from inspect import signature

import numpy as np
import onnx
import pytest

from compiler import compile_model
from compiler.emit.schedule import Schedule
from isa.instructions import Opcode
from isa.presets import PRESETS
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from sim.device import RtlDevice
from sim.harness import DramModel
from tests.compiler.models import Net, execute, onnxruntime


def fire(size: int, zero: int = -3, channels: tuple[int, ...] = (32, 16, 8), images: int = 1,
         conv_behind: bool = True) -> onnx.ModelProto:
    """Three branches side by side, of convolutions and a pool, the last one's channels not of a
    whole word; ``zero``: the zero point of the first."""
    rng, net = np.random.default_rng(size), Net()

    def conv(x: str, c: int, k: int, kernel: int, zero: int = -3) -> str:
        w = rng.integers(-60, 60, (k, c, kernel, kernel)).astype(np.int8)
        y = net.op("Conv", x, net.weights(w, 0.0078125), pads=[kernel // 2] * 4)
        return net.dq(net.q(y, 0.5, zero, "int8"), 0.5, zero, "int8")
    a, b, c = channels
    x = conv(net.dq(net.input("x", "int8", (images, 8, size, size)), 0.5, 0, "int8"), 8, c, 1)
    pool = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    parts = [conv(x, c, a, 1, zero), conv(x, c, b, 3),
             net.dq(net.q(pool, 0.5, -3, "int8"), 0.5, -3, "int8")]
    y = net.dq(net.q(net.op("Concat", *parts, axis=1), 0.5, -3, "int8"), 0.5, -3, "int8")
    y = conv(y, sum(channels), 24, 3) if conv_behind else net.op("Relu", y)
    return net.model(net.q(y, 0.5, -3, "int8"))


def forced(monkeypatch: pytest.MonkeyPatch, joins: bool) -> None:
    """All attempts of the back end join, or none."""
    monkeypatch.setattr(Schedule, "__init__", partialmethod(_with, Schedule.__init__, joins))


def _with(self: Schedule, whole: Callable[..., None], joins: bool, *args, **kwargs) -> None:
    call = signature(whole).bind(self, *args, **kwargs)
    call.arguments["joins"] = joins
    whole(*call.args, **call.kwargs)


def data(size: int, images: int = 1) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).integers(-128, 128, (images, 8, size, size))
            .astype(np.int8)}


@pytest.mark.parametrize("machine", ["tiny", "ecp5", "core256", "core1024"])
@pytest.mark.parametrize("size,zero,images,conv_behind", [
    (6, -3, 1, True), (24, -3, 1, True), (24, 9, 1, True), (40, -3, 1, True), (9, -3, 3, True),
    (24, -3, 1, False)])
def test_bits(size: int, zero: int, images: int, conv_behind: bool, machine: str,
              monkeypatch: pytest.MonkeyPatch) -> None:
    model = fire(size, zero, images=images, conv_behind=conv_behind)
    forced(monkeypatch, True)
    program = compile_model(model, PRESETS[machine])
    (got,), (want,) = (execute(program, data(size, images)).values(),
                       onnxruntime(model, data(size, images)))
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("zero,channels,kept", [
    (-3, (32, 16, 8), False), (9, (32, 16, 8), True), (-3, (9, 16, 8), False)])
def test_no_pass_of_its_own(zero: int, channels: tuple[int, ...], kept: bool,
                            monkeypatch: pytest.MonkeyPatch) -> None:
    """On ``core256`` whatever is not copied: all parts, all but one with a zero point of its own,
    and none where the first one ends inside a word, which the array shifts."""
    counts = []
    for joins in (True, False):
        with monkeypatch.context() as patch:
            forced(patch, joins)
            program = compile_model(fire(6, zero, channels), PRESETS["core256"])
        opcodes = [i.opcode for i in program.instructions()]
        counts.append((opcodes.count(Opcode.VECTOR), len(opcodes)))
    (few, less), (many, more) = counts
    assert (few > 0) == kept
    assert (many > few and more > less) == (channels[0] == 32)


@pytest.mark.parametrize("machine", ["tiny_fp", "core256_fp"])
@pytest.mark.parametrize("size", [5, 16])
def test_floats(size: int, machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bits as by copies."""
    rng, net, shape = np.random.default_rng(size), Net(), (1, 4, size, size)
    x = net.input("x", "float32", shape)
    parts = [net.op("Conv", x, net.constant(rng.normal(0, 1, (16, 4, k, k)).astype(np.float32)),
                    pads=[k // 2] * 4) for k in (1, 3)]
    model = net.model(net.op("Relu", net.op("MaxPool", net.op("Concat", *parts, axis=1),
                                            kernel_shape=[2, 2])), kind="float32")
    value, found = {"x": rng.normal(0, 1, shape).astype(np.float32)}, []
    for joins in (True, False):
        with monkeypatch.context() as patch:
            forced(patch, joins)
            program = compile_model(model, PRESETS[machine], precision="fp16")
        found.append(Session(program, GoldenDevice(program.config)).run(value))
    (a,), (b,) = (f.values() for f in found)
    np.testing.assert_array_equal(a, b)
    assert len(np.unique(a)) > 20


def test_on_the_rtl(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result does not stay in the scratchpad of ``tiny``."""
    model, config = fire(24), PRESETS["tiny"]
    forced(monkeypatch, True)
    with RtlDevice(config, dram=DramModel(stall=0.2, seed=6)) as device:
        (got,) = Session(compile_model(model, config), device).run(data(24)).values()
    np.testing.assert_array_equal(got, *onnxruntime(model, data(24)))
