# SPDX-License-Identifier: Apache-2.0
"""Transposed convolutions, resizing, constants between elements, roots and normalizations on the
simulated hardware: the golden model's bits, whatever the memory does."""

import numpy as np
import onnx
import pytest

from compiler import compile_model
from isa.presets import PRESETS
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from sim.device import RtlDevice
from sim.harness import DramModel
from tests.compiler.models import Net

SHAPE = (1, 6, 5, 4)


def integers() -> onnx.ModelProto:
    """A decoder's layers in INT8."""
    rng = np.random.default_rng(1)
    net = Net()
    w = net.weights(rng.integers(-128, 128, (6, 4, 3, 3)).astype(np.int8), np.float32(0.01))
    y = net.op("ConvTranspose", net.dq(net.input("x", "int8", SHAPE), 0.02, 3, "int8"), w,
               strides=[2, 2], pads=[1, 1, 0, 0])
    y = net.dq(net.q(y, 0.3, -4, "int8"), 0.3, -4, "int8")
    y = net.op("Resize", y, "", net.constant(np.array([1, 1, 2, 2], np.float32)), mode="linear")
    y = net.dq(net.q(y, 0.25, 0, "int8"), 0.25, 0, "int8")
    y = net.op("Pad", y, net.constant(np.array([0, 0, 1, 0, 0, 0, 0, 2])),
               net.constant(np.float32(1.5)))
    return net.model(net.q(y, 0.25, 0, "int8"))


def floats() -> onnx.ModelProto:
    """The same in floats, and what is made of roots and powers."""
    rng = np.random.default_rng(2)
    net = Net()
    w = net.constant(rng.standard_normal((6, 3, 2, 3)).astype(np.float32))
    y = net.op("ConvTranspose", net.input("x", "float32", SHAPE), w, strides=[2, 1])
    y = net.op("InstanceNormalization", y, *(net.constant(
        rng.standard_normal(3).astype(np.float32)) for _ in range(2)))
    y = net.op("Resize", net.op("Softplus", y), "", net.constant(
        np.array([1, 1, 1.5, 2], np.float32)), mode="cubic")
    y = net.op("Max", net.op("Mish", y), net.op("Shrink", y))
    return net.model(net.op("LRN", y, size=3), kind="float32")


@pytest.mark.parametrize("machine,make,precision", [
    ("tiny", integers, "int8"), ("tiny_fp", floats, "fp16"), ("tiny_fp", floats, "bf16")])
def test_same_bits(machine: str, make, precision: str) -> None:
    program = compile_model(make(), PRESETS[machine], precision=precision)
    rng = np.random.default_rng(3)
    x = rng.integers(-128, 128, SHAPE).astype(np.int8) if machine == "tiny" else \
        rng.standard_normal(SHAPE).astype(np.float32)
    want, = Session(program, GoldenDevice(program.config)).run({"x": x}).values()
    assert len(np.unique(want)) > 40
    for dram in (DramModel(), DramModel(stall=0.3, seed=5)):
        got, = Session(program, RtlDevice(program.config, dram=dram)).run({"x": x}).values()
        np.testing.assert_array_equal(got, want)
