# SPDX-License-Identifier: Apache-2.0
"""The compiler predicts the cycles of single layers, and the RTL counts them.

A guard for the shapes that the model of time gets right; docs/performance.md names those that it
gets wrong."""

import functools

import numpy as np
import onnx
import pytest

from compiler import compile_model
from isa.presets import PRESETS
from makalu.measure.samples import random_inputs
from runtime.session import Session
from sim.device import RtlDevice
from tests.compiler.models import Net

BOUND = 0.025
"""How far a prediction may be off, as a share."""

DEPTHWISE = [(5, 1, 64, 28), (7, 1, 64, 28), (5, 1, 32, 56), (7, 1, 128, 14), (5, 2, 64, 28)]
"""Kernel, stride, channels, rows and columns."""

CONVOLUTIONS = [(1, 64, 64, 14), (3, 32, 32, 16), (3, 64, 64, 7), (5, 16, 32, 14)]
"""Kernel, channels in and out, rows and columns."""


def layer(kernel: int, stride: int, c: int, k: int, size: int, groups: int = 1
          ) -> onnx.ModelProto:
    net = Net()
    weight = np.random.default_rng(0).integers(-8, 8, (k, c // groups, kernel, kernel))
    x = net.dq(net.input("x", "int8", (1, c, size, size)), 0.5, 0, "int8")
    y = net.op("Conv", x, net.weights(weight.astype(np.int8), 0.01), group=groups,
               pads=[kernel // 2] * 4, strides=[stride, stride])
    return net.model(net.q(y, 0.5, 0, "int8"))


@functools.cache
def device(machine: str) -> RtlDevice:
    return RtlDevice(PRESETS[machine])


def holds(machine: str, model: onnx.ModelProto) -> None:
    program = compile_model(model, PRESETS[machine])
    session = Session(program, device(machine))
    session.run(random_inputs(session.inputs))
    assert sum(program.predicted_cycles) == pytest.approx(session.counters[0]["CYCLES"], rel=BOUND)


MACHINES = pytest.mark.parametrize("machine", [
    "core256", pytest.param("core1024", marks=pytest.mark.long)])


@MACHINES
@pytest.mark.parametrize(("kernel", "stride", "channels", "size"), DEPTHWISE)
def test_depthwise(machine: str, kernel: int, stride: int, channels: int, size: int) -> None:
    holds(machine, layer(kernel, stride, channels, channels, size, channels))


@MACHINES
@pytest.mark.parametrize(("kernel", "channels", "outputs", "size"), CONVOLUTIONS)
def test_convolution(machine: str, kernel: int, channels: int, outputs: int, size: int) -> None:
    holds(machine, layer(kernel, 1, channels, outputs, size))


@pytest.mark.parametrize(("channels", "size"), [(64, 28), (32, 28), (128, 14)])
def test_windows_whose_words_take_one_step(channels: int, size: int) -> None:
    """The array, which would take words from them, has no work."""
    holds("core256", layer(3, 1, channels, channels, size, channels))
