# SPDX-License-Identifier: Apache-2.0
"""Tensors joined in another order than they lie in: detectors' heads, concatenations along every
axis. The expected bytes are numpy's."""

import numpy as np
import onnx
import pytest

from compiler import compile_model
from isa.config import Config
from isa.presets import PRESETS
from isa.program import Program
from runtime.session import Session
from sim.device import RtlDevice
from sim.harness import DramModel
from tests.compiler.models import Net, execute

MACHINES = ("tiny", "ecp5", "core256", "core1024", "tiny_fp")
MAPS = ((30, 40, 3), (15, 20, 2), (8, 10, 2), (4, 5, 3))
"""Rows, columns and anchors of the feature maps of a detector with 4,420 anchors."""


def heads(maps: tuple[tuple[int, int, int], ...], values: int, channels: int = 16
          ) -> tuple[onnx.ModelProto, dict[str, np.ndarray], np.ndarray]:
    """A 1 x 1 convolution of each feature map that repeats input channels, its ``values`` numbers
    of each anchor in rows of one table: model, inputs and output. Every other map is doubled."""
    rng, net = np.random.default_rng(values), Net()
    parts, inputs, rows = [], {}, []
    for k, (h, w, anchors) in enumerate(maps):
        x, scale = net.input(f"x{k}", "int8", (1, channels, h, w)), (1, 2)[k % 2]
        inputs[x] = rng.integers(-60, 60, (1, channels, h, w)).astype(np.int8)
        pick = rng.integers(0, channels, anchors * values)
        weight = np.zeros((anchors * values, channels, 1, 1), np.int8)
        weight[np.arange(anchors * values), pick] = 1
        y = net.op("Conv", net.dq(x, scale, 0, "int8"), net.weights(weight, 1.0))
        y = net.op("Transpose", net.dq(net.q(y, scale, 0, "int8"), scale, 0, "int8"),
                   perm=[0, 2, 3, 1])
        parts.append(net.op("Reshape", y, net.constant(np.array([1, -1, values]))))
        rows.append(inputs[x][0, pick].transpose(1, 2, 0).reshape(-1, values) * np.int8(scale))
    y = net.q(net.op("Concat", *parts, axis=1), 1.0, 0, "int8")
    return net.model(y), inputs, np.concatenate(rows)[None]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("values", [2, 4, 21])
def test_heads(machine: str, values: int) -> None:
    model, inputs, want = heads(((5, 7, 3), (4, 4, 2), (1, 3, 5)), values)
    (got,) = execute(compile_model(model, PRESETS[machine]), inputs).values()
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_every_axis(machine: str, axis: int) -> None:
    """Of parts with scales of their own, transposed, so that no layout fits."""
    rng, net = np.random.default_rng(axis), Net()
    parts, values = [], []
    for k, size in enumerate((3, 9, 1)):
        shape = [2, 6, 5, 7]
        shape[axis] = size
        given = [shape[0], shape[3], shape[1], shape[2]]
        x = net.input(f"x{k}", "int8", given)
        values.append(rng.integers(-60, 60, given).astype(np.int8))
        kept = net.dq(net.q(net.op("Relu", net.dq(x, k + 1, 0, "int8")), k + 1, 0, "int8"), k + 1,
                      0, "int8")
        parts.append(net.op("Transpose", kept, perm=[0, 2, 3, 1]))
    y = net.q(net.op("Concat", *parts, axis=axis), 1.0, -7, "int8")
    program = compile_model(net.model(y), PRESETS[machine])
    (got,) = execute(program, {f"x{k}": v for k, v in enumerate(values)}).values()
    want = np.concatenate([(k + 1) * np.maximum(v, 0).astype(int).transpose(0, 2, 3, 1)
                           for k, v in enumerate(values)], axis)
    np.testing.assert_array_equal(got, np.clip(want - 7, -128, 127))


def test_heads_on_the_rtl() -> None:
    """Boxes from and to DRAM, words of two sources, chains of instructions."""
    model, inputs, want = heads(((3, 5, 3), (2, 2, 2)), 9)
    config = PRESETS["tiny"]
    with RtlDevice(config, dram=DramModel(stall=0.1, seed=2)) as device:
        (got,) = Session(compile_model(model, config), device).run(inputs).values()
    np.testing.assert_array_equal(got, want)


def program(config: Config, values: int) -> Program:
    return compile_model(heads(MAPS, values)[0], config)


@pytest.mark.parametrize(("values", "most"), [(2, 9_100), (4, 14_000)])
def test_heads_take_what_their_words_take(values: int, most: int) -> None:
    """Each of 4,420 / 16 words of a value is gathered from six or eight others; the rest are the
    feature maps. One-hot convolutions of 4,420 channels took five million cycles."""
    assert sum(program(PRESETS["core256"], values).predicted_cycles) <= most
