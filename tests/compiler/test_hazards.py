# SPDX-License-Identifier: Apache-2.0
"""The waits of compiled programs are enough: every word that an instruction reads was written by an
instruction whose completion its waits guarantee, and nobody still reads or writes a word that is
overwritten. The words are enumerated from the decoded fields, by the definitions of the
instruction set, not from what the compiler believes."""

from collections.abc import Callable

import numpy as np
import pytest

from compiler import compile_model
from isa.config import FLOAT_PARAM_WORDS, PARAM_WORDS
from isa.instructions import (QUEUES, QUEUE_OF, DType, Instruction, Opcode, VectorOp,
                              assembled)
from isa.presets import PRESETS
from isa.program import Program
from tests.compiler.models import Net
from tests.compiler.test_floats import MACHINES, Network, residual, separable


def grid(*terms: tuple[int, int]) -> np.ndarray:
    """All sums of ``index * step`` over loops (count, step)."""
    out = np.zeros(1, np.int64)
    for count, step in terms:
        out = (out[:, None] + np.arange(count) * step).ravel()
    return out


def dma(i: Instruction, lanes: int) -> tuple[set, set]:
    spm = grid((i.n0, 1), *((getattr(i, f"n{k}"), getattr(i, f"spm_stride{k}")) for k in (1, 2, 3)))
    ram = grid((i.n0, lanes), *((getattr(i, f"n{k}"), getattr(i, f"dram_stride{k}"))
                                for k in (1, 2, 3)))
    inside = {(-1, int(v) + i.spm) for v in spm}
    outside = {(i.region, int(v) + i.dram) for v in ram}
    return (outside, inside) if i.opcode == Opcode.LOAD else (inside, outside)


def circle(row: np.ndarray, size: int) -> np.ndarray:
    """Row positions, modulo the size of their circle if there is one."""
    return row % size if size else row


def tensor(i: Instruction, program: Program) -> tuple[set, set, set]:
    """Words read as activations or residual, read as weights, and written."""
    c = program.config
    gm, gn = 1 << i.m_split, c.tiles >> i.m_split
    xs = np.arange((i.ntx - 1) * i.nx + i.nx_last)
    ys = np.arange((i.nty - 1) * i.ny + i.ny_last)
    reads, writes = set(), set()
    g = c.granules
    for m in range(gm):
        mine = ys if m < i.m_last else ys[:-1]
        for r in range(i.nr):
            for s in range(i.ns):
                rows = circle(i.a_row + mine * i.a_y + r * i.a_r + m * i.a_m, i.a_wrap)
                iy = i.iy0 + mine * i.iy_y + r * i.iy_r + m * i.iy_m
                ix = i.ix0 + xs * i.ix_x + s * i.ix_s
                at = i.a_base + rows[:, None] + xs[None] * i.a_x + s * i.a_s
                for granule in range(g):  # what is read but outside the image has no effect
                    column = ix + (0, granule, granule // 2)[i.lane_dx]
                    ok = (((iy >= 0) & (iy < i.ih))[:, None]
                          & ((column >= 0) & (column < i.iw))[None])
                    for blocks in grid((i.ncb, i.a_cb), (i.nnb, i.a_nb)):
                        reads.update((-1, int(v)) for v in (at[ok] + blocks + granule) // g)
        o_size, r_size = DType(i.o_type).size, DType(i.r_type).size
        blocks = (i.nnb - 1) * gn + i.n_last

        def spot(row: int, size: int, base: int, mine=mine, m=m) -> list:
            rows = circle(row + mine * i.o_y + m * i.o_m, size)
            return [(-1, int(v) + base) for v in (rows[:, None] + xs[None] * i.o_x).ravel()]
        for word in range(0 if i.hold else blocks * o_size - i.w_skip):
            writes.update(spot(i.o_row, i.o_wrap, i.o_base + word * i.o_n))
        for word in range(blocks * r_size - i.w_skip * r_size // o_size if i.residual else 0):
            reads.update(spot(i.r_row, i.r_wrap, i.r_base + word * i.r_n))
    size = i.nnb * gn * (i.nr * i.ns * i.ncb * c.lanes + (0 if i.hold else PARAM_WORDS))
    return reads, {(-1, i.w_base + k) for k in range(size)}, writes


def window(i: Instruction, program: Program) -> tuple[set, set, set]:
    """Words read as activations, read as weights and parameters, and written."""
    c = program.config
    gm, gn = 1 << i.m_split, c.tiles >> i.m_split
    x, y = np.arange(i.nx), np.arange(i.ny)
    reads, weights, writes = set(), set(), set()
    each = i.stride * i.nr * i.ng * c.window_taps + (FLOAT_PARAM_WORDS if i.dtype else PARAM_WORDS)
    for block in range((i.nnb - 1) * gn + i.n_last):
        weights.update((-1, i.w_base + block * i.w_n + k) for k in range(each))
        for m in range(gm):
            mine = y if m < i.m_last else y[:-1]
            for r in range(i.nr):
                for s in range(i.ns):
                    column = x * i.stride + s
                    iy = i.iy0 + mine * i.iy_y + r * i.iy_r + m * i.iy_m
                    ix = i.ix0 + column * i.ix_x
                    ok = ((iy >= 0) & (iy < i.ih))[:, None] & ((ix >= 0) & (ix < i.iw))[None]
                    rows = circle(i.a_row + mine * i.a_y + r * i.a_r + m * i.a_m, i.a_wrap)
                    at = i.a_base + block * i.a_n + rows[:, None] + column[None] * i.a_x
                    reads.update((-1, int(v)) for v in at[ok])
            rows = circle(i.o_row + mine * i.o_y + m * i.o_m, i.o_wrap)
            writes.update((-1, int(v) + i.o_base + block * i.o_n)
                          for v in (rows[:, None] + x[None] * i.o_x).ravel())
    return reads, weights, writes


def vector(i: Instruction) -> tuple[set, set]:
    x, y = np.arange(i.nx), np.arange(i.ny)
    reads, writes = set(), set()
    two = i.vop in (VectorOp.ADD, VectorOp.MUL) or i.plus
    largest = max(DType(t).size for t in (i.a_type, i.o_type, *((i.b_type,) if two else ())))

    def words(blocks: int, dtype: int) -> range:
        """Of so many blocks, with several of a smaller type in a word."""
        return range(blocks if i.fold else -(-blocks * DType(dtype).size // largest))
    for r in range(i.nr):
        for s in range(i.ns):
            ok = (((i.iy0 + y * i.iy_y + r * i.iy_r) >= 0)
                  & ((i.iy0 + y * i.iy_y + r * i.iy_r) < i.ih))[:, None] & (
                ((i.ix0 + x * i.ix_x + s * i.ix_s) >= 0)
                & ((i.ix0 + x * i.ix_x + s * i.ix_s) < i.iw))[None]
            rows = circle(i.a_row + y * i.a_y + r * i.a_r, i.a_wrap)
            at = (i.a_base + x[None] * i.a_x + s * i.a_s + rows[:, None])[ok]
            reads.update((-1, int(v) + cb * i.a_cb) for cb in words(i.ncb, i.a_type) for v in at)
    if two:
        rows = circle(i.b_row + y * i.b_y, i.b_wrap)
        at = i.b_base + x[None] * i.b_x + rows[:, None]
        reads.update((-1, int(v) + cb * i.b_cb) for cb in words(i.ncb, i.b_type)
                     for v in at.ravel())
    rows = circle(i.o_row + y * i.o_y, i.o_wrap)
    at = i.o_base + x[None] * i.o_x + rows[:, None]
    writes.update((-1, int(v) + cb * i.o_cb) for cb in words(i.ncb, i.o_type) for v in at.ravel())
    return reads, writes


def check(program: Program) -> None:
    """Raise AssertionError at the first instruction whose waits are not enough."""
    issued = dict.fromkeys(QUEUES, 0)
    promised: list[dict[str, int]] = []  # what has completed before each instruction starts
    by_count: dict[tuple[str, int], int] = {}
    last: dict[str, dict[str, int]] = {q: dict.fromkeys(QUEUES, 0) for q in QUEUES}
    writer: dict = {}
    readers: dict = {}
    for at, i in enumerate(program.instructions()[:-1]):
        queue = QUEUE_OF[i.opcode]
        known = dict(last[queue])
        loads = known["load"]
        for k, q in enumerate(QUEUES):
            if i.wait_mask >> k & 1:
                want = getattr(i, f"wait_{q}")
                assert want <= issued[q], f"{at} waits for an instruction that comes later"
                known[q] = max(known[q], want)
                if q == "load":
                    loads = max(loads, want)
        for q in QUEUES:
            for count in range(last[queue][q] + 1, known[q] + 1):
                for p, v in promised[by_count[q, count]].items():
                    known[p] = max(known[p], v)
        last[queue] = known
        promised.append(known)
        issued[queue] += 1
        by_count[queue, issued[queue]] = at
        weights: set = set()
        if i.opcode in (Opcode.LOAD, Opcode.STORE):
            reads, writes = dma(i, program.config.lanes)
        elif i.opcode == Opcode.TENSOR:
            reads, weights, writes = tensor(i, program)
        elif i.opcode == Opcode.WINDOW:
            reads, weights, writes = window(i, program)
        else:
            reads, writes = vector(i)
        for word in reads | weights:
            if word in writer:
                q, count = writer[word]
                assert count <= known[q], f"{at} reads {word} of {q} {count}"
        for word in weights:  # fetched as soon as the loads that it waits for are complete
            q, count = writer[word]
            assert q == "load" and count <= loads, f"{at} weights {word}"
        for word in writes:
            for q, count in [*readers.pop(word, {}).items(), *([writer[word]]
                                                                if word in writer else [])]:
                assert count <= known[q], f"{at} overwrites {word} of {q} {count}"
            writer[word] = (queue, issued[queue])
        for word in reads | weights:
            readers.setdefault(word, {})[queue] = issued[queue]


def network() -> Net:
    """Stem, residual block with a strided branch, depthwise, pools, matrix product; two outputs."""
    rng = np.random.default_rng(0)
    net = Net()

    def w(*shape: int) -> str:
        return net.weights(rng.integers(-128, 128, shape).astype(np.int8), 0.01)

    def q(x: str) -> str:
        return net.dq(net.q(x, 0.5, 0, "int8"), 0.5, 0, "int8")
    x = net.dq(net.input("x", "int8", (1, 3, 20, 18)), 0.5, 0, "int8")
    a = q(net.op("Conv", x, w(20, 3, 3, 3), pads=[1] * 4))
    b = q(net.op("Conv", a, w(36, 20, 3, 3), pads=[1] * 4, strides=[2, 2]))
    c = q(net.op("Conv", a, w(36, 20, 1, 1), strides=[2, 2]))
    d = q(net.op("Conv", b, w(36, 1, 3, 3), pads=[1] * 4, group=36))
    e = q(net.op("Add", c, q(net.op("Conv", d, w(36, 36, 1, 1)))))
    f = q(net.op("Add", e, q(net.op("MaxPool", e, kernel_shape=[3, 3], pads=[1] * 4))))
    g = q(net.op("AveragePool", f, kernel_shape=[2, 3], strides=[2, 3]))
    h = net.q(net.op("MatMul", net.op("Flatten", g), w(36 * 5 * 3, 30)), 0.5, 0, "int8")
    net.result = net.nodes[-1].output[0]
    assert h == net.result
    return net


@pytest.mark.parametrize("machine", ["tiny", "ecp5", "core256", "core1024"])
def test_waits_are_enough(machine: str) -> None:
    net = network()
    check(compile_model(net.model(net.result), PRESETS[machine]))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("make", [residual, separable])
def test_waits_of_floats_are_enough(machine: str, make: Callable[[str, int], Network]) -> None:
    program = compile_model(make("fp16", 2).model(), MACHINES[machine], precision="fp16")
    assert any(i.fields.get("o_type") for i in program.instructions())
    check(program)


def floats() -> Program:
    return compile_model(separable("fp16", 1).model(), PRESETS["core256_fp"], precision="fp16")


def integers() -> Program:
    net = network()
    return compile_model(net.model(net.result), PRESETS["core256"])


@pytest.mark.parametrize("make", [integers, floats])
def test_the_checker_sees_a_missing_wait(make: Callable[[], Program]) -> None:
    program = make()
    instructions = program.instructions()
    seen = 0
    for at, i in enumerate(instructions[:-1]):
        for k in range(len(QUEUES)):
            if i.wait_mask >> k & 1:
                cut = Instruction(i.opcode, {**i.fields, "wait_mask": i.wait_mask & ~(1 << k)})
                image = assembled([*instructions[:at], cut, *instructions[at + 1:]])
                broken = Program(**{**program.__dict__, "image": image})
                try:
                    check(broken)
                except AssertionError:
                    seen += 1
    assert seen > 5
