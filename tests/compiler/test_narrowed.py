# SPDX-License-Identifier: Apache-2.0
"""Products that are split by their channels: as many products, and nothing is moved."""

import numpy as np
import pytest

from compiler import compile_model
from isa.instructions import Opcode
from isa.presets import PRESETS
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from tests.compiler.models import Net, onnxruntime, run


@pytest.mark.parametrize("sizes", [[8, 8, 8, 8], [5, 20, 7]])
def test_gates(sizes: list[int]) -> None:
    """The gates of a recurrent cell, as TensorFlow writes them."""
    rng, net = np.random.default_rng(1), Net()
    w, b = (rng.normal(0, 0.5, s).astype(np.float32) for s in ((6, 32), (32,)))
    y = net.op("MatMul", net.input("x", "float32", (3, 6)), net.constant(w))
    net.op("Split", net.op("Add", y, net.constant(b)), net.constant(np.array(sizes)),
           outputs=len(sizes), axis=1)
    parts = [net.op("Sigmoid", name) for name in list(net.nodes[-1].output)]
    model = net.model(*parts, kind="float32")
    program = compile_model(model, PRESETS["tiny_fp"], precision="fp16")
    assert program.macs == 3 * 6 * 32
    assert all(i.opcode is not Opcode.TENSOR or program.node_name(k).startswith("matmul")
               for k, i in enumerate(program.instructions()))
    data = {"x": rng.normal(0, 1, (3, 6)).astype(np.float32)}
    got = Session(program, GoldenDevice(program.config)).run(data).values()
    for mine, want in zip(got, onnxruntime(model, data), strict=True):
        assert np.abs(mine - want).max() < 1e-3


@pytest.mark.parametrize("axis", [1, 2])
def test_of_integers(axis: int) -> None:
    """Before they are quantized, each at its scale; by rows, nothing is narrowed."""
    rng, net = np.random.default_rng(1), Net()
    w = net.weights(rng.integers(-99, 99, (8, 6, 3, 3)).astype(np.int8), 0.0078125)
    y = net.op("Conv", net.dq(net.input("x", "int8", (1, 6, 8, 8)), 0.5, 3, "int8"), w,
               pads=[1] * 4)
    net.op("Split", y, net.constant(np.array([3, 5])), outputs=2, axis=axis)
    first, second = list(net.nodes[-1].output)
    model = net.model(net.q(first, 0.25, 3, "int8"), net.q(second, 0.5, -3, "int8"))
    data = {"x": rng.integers(-128, 128, (1, 6, 8, 8)).astype(np.int8)}
    for mine, want in zip(run(model, PRESETS["core256"], data), onnxruntime(model, data),
                          strict=True):
        np.testing.assert_array_equal(mine, want)
