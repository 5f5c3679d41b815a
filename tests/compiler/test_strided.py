# SPDX-License-Identifier: Apache-2.0
"""Strided convolutions of 1 x 1: the bits of ONNX Runtime, and from DRAM the rows that are used."""

import numpy as np
import onnx
import pytest

from compiler import compile_model
from isa.instructions import Opcode, Region
from isa.presets import PRESETS
from isa.program import Program
from runtime.session import Session
from sim.device import RtlDevice
from sim.harness import DramModel
from tests.compiler.models import Net, execute, onnxruntime

MACHINES = ("tiny", "ecp5", "core256", "core1024")


def model(shape: tuple[int, ...], strides: list[int], end: int = 0, twice: bool = False
          ) -> onnx.ModelProto:
    """A strided convolution with ``end`` rows and columns of padding below and to the right;
    ``twice``: of the sum of the input with itself, which another one of 3 x 3 reads, too."""
    rng, net, c = np.random.default_rng(shape[2]), Net(), shape[1]

    def conv(x: str, kernel: int, pads: list[int]) -> str:
        w = rng.integers(-99, 99, (20, c, kernel, kernel)).astype(np.int8)
        y = net.op("Conv", x, net.weights(w, 0.0078125), strides=strides, pads=pads)
        return net.dq(net.q(y, 0.5 * kernel, 3, "int8"), 0.5 * kernel, 3, "int8")
    x = net.dq(net.input("x", "int8", shape), 0.5, 7, "int8")
    if twice:
        x = net.dq(net.q(net.op("Add", x, x), 1.0, -5, "int8"), 1.0, -5, "int8")
    y = conv(x, 1, [0, 0, end, end])
    if twice:
        y = net.op("Add", y, conv(x, 3, [1, 1, 1, 1]))
    return net.model(net.q(y, 1.0, 0, "int8"))


def loaded(program: Program) -> int:
    """Bytes that LOADs take from the network's input."""
    return sum(program.config.lanes * i.fields["n0"] * i.fields["n1"] * i.fields["n2"]
               * i.fields["n3"] for i in program.instructions()
               if i.opcode == Opcode.LOAD and i.fields.get("region") == Region.INPUT)


def values(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("strides,end", [([2, 2], 0), ([2, 1], 0), ([1, 2], 0), ([3, 4], 0),
                                         ([2, 2], 1)])
@pytest.mark.parametrize("shape", [(1, 20, 9, 12), (2, 5, 12, 7), (3, 17, 2, 2)])
def test_bits(shape: tuple[int, ...], strides: list[int], end: int, machine: str) -> None:
    net, data = model(shape, strides, end), values(shape)
    (got,), (want,) = (execute(compile_model(net, PRESETS[machine]), data).values(),
                       onnxruntime(net, data))
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("machine", ["tiny", "core256"])
def test_of_two_readers(machine: str) -> None:
    """On ``tiny`` neither finds the input in the scratchpad."""
    net, data = model((1, 20, 30, 30), [2, 2], twice=True), values((1, 20, 30, 30))
    (got,), (want,) = (execute(compile_model(net, PRESETS[machine]), data).values(),
                       onnxruntime(net, data))
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("strides,share", [([2, 2], 4), ([4, 4], 16)])
def test_what_is_loaded(strides: list[int], share: int) -> None:
    """Where the bus takes a word a cycle, columns as well as rows."""
    shape = (1, 32, 40, 40)
    assert loaded(compile_model(model(shape, strides), PRESETS["core256"])) == \
        32 * 40 * 40 // share


@pytest.mark.parametrize("twice", [False, True])
def test_on_the_rtl(twice: bool) -> None:
    """In one of them the input of both readers does not stay in the scratchpad."""
    shape, config = (1, 20, 30, 30) if twice else (1, 20, 13, 10), PRESETS["tiny"]
    net, data = model(shape, [2, 2], twice=twice), values(shape)
    with RtlDevice(config, dram=DramModel(stall=0.2, seed=4)) as device:
        (got,) = Session(compile_model(net, config), device).run(data).values()
    np.testing.assert_array_equal(got, *onnxruntime(net, data))
