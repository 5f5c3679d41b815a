# SPDX-License-Identifier: Apache-2.0
"""Chains in strips: rings of rows where tensors do not fit, and the same bits."""

import numpy as np
import pytest

from compiler import compile_model
from isa.instructions import Opcode
from isa.presets import PRESETS
from tests.compiler.models import Net, execute, onnxruntime
from tests.compiler.test_hazards import check


def chain(seed: int, batch: int) -> tuple:
    """Convolution, depthwise with stride, pointwise, addition, pool, on maps larger than the
    smallest scratchpad; all scales are powers of two, so the float chain is exact."""
    rng = np.random.default_rng(seed)
    net, shape = Net(), (batch, 3, 40, 30)

    def conv(x: str, k: int, c: int, kernel: int, stride: int = 1, group: int = 1) -> str:
        w = rng.integers(-128, 128, (k, c // group, kernel, kernel)).astype(np.int8)
        y = net.op("Conv", net.dq(x, 0.5, 0, "int8"), net.weights(w, 0.25), group=group,
                   strides=[stride, stride], pads=[kernel // 2] * 4)
        size = 2.0 ** np.round(np.log2(w[0].size ** 0.5 * 8))
        return net.q(net.op("Div", y, net.constant(np.float32(size))), 0.5, 0, "int8")

    net.input("x", "int8", shape)
    a = conv("x", 12, 3, 3)
    b = conv(a, 12, 12, 3, group=12)
    c = conv(b, 12, 12, 1)
    d = net.q(net.op("Add", net.dq(a, 0.5, 0, "int8"), net.dq(c, 0.5, 0, "int8")), 1.0, 0, "int8")
    e = net.q(net.op("MaxPool", net.dq(d, 1.0, 0, "int8"), kernel_shape=[3, 3], strides=[2, 2],
                     pads=[1, 1, 1, 1]), 1.0, 0, "int8")
    x = rng.integers(-128, 128, shape).astype(np.int8)
    return net.model(e), x


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("machine", ["tiny", "ecp5", "core1024"])
def test_chains_are_exact(machine: str, batch: int) -> None:
    model, x = chain(3, batch)
    program = compile_model(model, PRESETS[machine])
    (got,) = execute(program, {"x": x}).values()
    (want,) = onnxruntime(model, {"x": x})
    assert np.array_equal(got, want)
    check(program)


def test_rows_that_a_dilated_kernel_reads_are_in_the_ring() -> None:
    rng = np.random.default_rng(6)
    net, shape = Net(), (1, 3, 60, 20)
    net.input("x", "int8", shape)
    y, c = "x", 3
    for step in (1, 3, 2):
        w = rng.integers(-128, 128, (8, c, 3, 1)).astype(np.int8)
        z = net.op("Conv", net.dq(y, 0.5, 0, "int8"), net.weights(w, 2.0 ** -9),
                   dilations=[step, 1], pads=[step, 0, step, 0])
        y, c = net.q(z, 0.5, 0, "int8"), 8
    model = net.model(y)
    x = rng.integers(-128, 128, shape).astype(np.int8)
    program = compile_model(model, PRESETS["tiny"])
    assert any(i.a_wrap and i.o_wrap for i in program.instructions() if i.opcode is Opcode.TENSOR)
    (got,) = execute(program, {"x": x}).values()
    (want,) = onnxruntime(model, {"x": x})
    assert np.array_equal(got, want)
    check(program)


def test_what_does_not_fit_passes_on_in_rings() -> None:
    model, _ = chain(3, 1)
    program = compile_model(model, PRESETS["tiny"])
    rings = {i.opcode for i in program.instructions()
             if i.opcode in (Opcode.TENSOR, Opcode.WINDOW) and i.a_wrap and i.o_wrap}
    assert rings == {Opcode.TENSOR, Opcode.WINDOW}
    stored = sum(i.n0 * i.n1 * i.n2 * i.n3 for i in program.instructions()
                 if i.opcode is Opcode.STORE) * program.config.word_bytes
    one = 12 * 40 * 30  # of the four maps between the layers, the one that is added later at most
    assert stored <= program.outputs[0].size + one


def test_a_reader_behind_a_chain_finds_rows_that_the_chain_does_not_need() -> None:
    rng = np.random.default_rng(5)
    net, shape = Net(), (1, 4, 40, 13)
    net.input("x", "int8", shape)
    y, rows = "x", 4
    for stride in (2, 1, 1):    # of forty rows the first convolution reads all but the last
        w = rng.integers(-128, 128, (16, rows, 1, 1)).astype(np.int8)
        z = net.op("Conv", net.dq(y, 0.5, 0, "int8"), net.weights(w, 2.0 ** -8),
                   strides=[stride, stride])
        y, rows = net.q(z, 0.5, 0, "int8"), 16
    again = net.op("Relu", net.dq("x", 0.5, 0, "int8"))
    model = net.model(y, net.q(again, 0.5, 0, "int8"))
    x = rng.integers(-128, 128, shape).astype(np.int8)
    program = compile_model(model, PRESETS["tiny"])
    got = execute(program, {"x": x})
    for name, want in zip(got, onnxruntime(model, {"x": x}), strict=True):
        assert np.array_equal(got[name], want), name
