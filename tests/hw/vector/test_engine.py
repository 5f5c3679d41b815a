# SPDX-License-Identifier: Apache-2.0
"""The vector engine against the golden model: the whole scratchpad afterwards, bit for bit."""

import functools
import itertools

import numpy as np
import pytest

from golden import vector
from golden.fault import MachineFault
from golden.results import Exceptions, known
from hw.vector.engine import VectorEngine
from isa.config import Config
from isa.instructions import DType, Fault, Instruction, Opcode, VectorOp
from tests.e2e.programs import contents, vector as random_vector
from tests.hw.engine.engine_bench import EngineBench

MACHINES = {
    "4 lanes by 1": Config(lanes=4, spm_bytes=8192, spm_banks=4, ppu_lanes=1, weight_words=1,
                           vector_lanes=1),
    "8 lanes by 8": Config(lanes=8, spm_bytes=8192, spm_banks=4, weight_words=1, vector_lanes=8),
    "16 lanes by 4": Config(lanes=16, spm_bytes=8192, spm_banks=4, weight_words=1, vector_lanes=4),
}


def bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


COMMON = dict(nx=3, ny=4, ncb=2, ns=1, nr=1, iw=9, ih=9, o_base=300, o_x=1, o_y=3, o_cb=12, z=5,
              lo=-128, hi=127)
CASES = {
    "add": dict(COMMON, vop=VectorOp.ADD, a_base=8, a_x=1, a_y=9, a_cb=81, ix_x=1, iy_y=1,
                b_base=200, b_x=2, b_y=6, b_cb=24, a_signed=1, a_zp=-7, b_zp=130,
                scale_a=bits(0.37), scale_b=bits(1.41)),
    "max 3x3 stride 2 with padding": dict(
        COMMON, vop=VectorOp.MAX, ns=3, nr=3, a_base=8 - 1, a_row=-9, a_x=2, a_s=1, a_y=18, a_r=9,
        a_cb=81, ix0=-1, ix_x=2, ix_s=1, iy0=-1, iy_y=2, iy_r=1, a_zp=0, z=0, lo=0, hi=255,
        scale_a=bits(1.0)),
    "average 2x4, padding counted": dict(
        COMMON, vop=VectorOp.SUM, ns=4, nr=2, a_base=8, a_x=3, a_s=1, a_y=18, a_r=9, a_cb=81,
        ix_x=3, ix_s=1, iy_y=2, iy_r=1, a_signed=1, a_zp=-128, scale_a=bits(0.125 / 3)),
    "window outside": dict(COMMON, vop=VectorOp.MAX, a_base=8, ix0=50, scale_a=bits(0.01)),
    "requantize on a circle": dict(
        COMMON, vop=VectorOp.SUM, a_base=8, a_row=18, a_y=9, a_x=1, a_cb=81, a_wrap=27, ix_x=1,
        o_row=9, o_wrap=12, a_zp=128, scale_a=bits(0.7), hi=90),
    "sum of rows two thirds of a circle apart": dict(
        COMMON, vop=VectorOp.SUM, nr=6, a_base=8, a_row=18, a_y=9, a_r=18, a_x=1, a_cb=81,
        a_wrap=27, ix_x=1, a_zp=128, scale_a=bits(0.2)),
}


@functools.cache
def bench(config: Config) -> EngineBench:
    return EngineBench(config, "vector", VectorEngine(config), lambda e: ([e.a, e.b], [e.out]))


@pytest.mark.parametrize("rivalry", [0.0, 0.5])
@pytest.mark.parametrize("machine", MACHINES)
def test_operations(machine: str, rivalry: float) -> None:
    """All cases one after another, so that constants change while the pipeline empties."""
    config = MACHINES[machine]
    spm = np.random.default_rng(3).integers(0, 256, (config.spm_words, config.lanes), np.uint8)
    want = spm.copy()
    program = []
    for k, (name, fields) in enumerate(CASES.items()):
        program.append(Instruction(Opcode.VECTOR, dict(fields, o_base=300 + 30 * k)))
        before = want.copy()
        vector.execute(program[-1], k, want, config)
        assert (before != want).any(), name
    got, _, fault = bench(config).run(spm, program, rivalry=rivalry)
    assert fault is None
    assert np.array_equal(got, want)


def random_window(rng: np.random.Generator, o_base: int) -> Instruction:
    """A window over a small image in words 40 to 39 + 2 * 64, on a circle of rows or not."""
    ih, iw, pitch = int(rng.integers(3, 8)), int(rng.integers(3, 8)), 8
    dilation, stride, iy0, ix0 = (int(rng.integers(low, 3)) for low in (1, 1, -2, -2))
    a_wrap = int(rng.choice([0, 5, 8])) * pitch
    rows = {"a_row": iy0 * pitch, "a_y": stride * pitch, "a_r": dilation * pitch}
    a_signed = int(rng.integers(2))
    return Instruction(Opcode.VECTOR, dict(
        {name: row % a_wrap if a_wrap else row for name, row in rows.items()}, a_wrap=a_wrap,
        vop=VectorOp.MAX if rng.integers(2) else VectorOp.SUM, nx=2, ny=int(rng.integers(1, 4)),
        ncb=2, ns=int(rng.integers(1, 4)), nr=int(rng.integers(1, 7)), a_base=40 + ix0, a_x=stride,
        a_s=1, a_cb=64, ix0=ix0, ix_x=stride, ix_s=1, iy0=iy0, iy_y=stride, iy_r=dilation, iw=iw,
        ih=ih, a_signed=a_signed, a_zp=int(rng.integers(256)) - 128 * a_signed, o_base=o_base,
        o_x=1, o_y=2, o_cb=6, scale_a=bits(rng.uniform(0.05, 1)), z=3, lo=-128, hi=127))


@pytest.mark.parametrize("rivalry", [0.0, 0.5])
@pytest.mark.parametrize("machine", MACHINES)
def test_windows(machine: str, rivalry: float) -> None:
    """Pairs of rows: odd and even windows, each tap of a pair in padding or not."""
    config = MACHINES[machine]
    rng = np.random.default_rng(len(machine))
    spm = rng.integers(0, 256, (config.spm_words, config.lanes), np.uint8)
    want = spm.copy()
    program = [random_window(rng, 200 + 12 * k) for k in range(20)]
    for k, i in enumerate(program):
        vector.execute(i, k, want, config)
    got, _, fault = bench(config).run(spm, program, rivalry=rivalry)
    assert fault is None
    assert np.array_equal(got, want)


@pytest.mark.parametrize("fields,faulty", [
    (dict(nr=2, ih=2), True), (dict(nr=2, ih=1), False), (dict(nr=1, ih=2), False),
    (dict(nr=3, ih=4, a_base=501), False), (dict(nr=3, ih=4, a_base=502), True),
    (dict(nr=2, ih=2, a_r=-508), True), (dict(nr=2, ih=2, a_r=-507), False)])
def test_rows_outside(fields: dict[str, int], faulty: bool) -> None:
    """The upper and the lower row of a pair at an end of the scratchpad; the row behind an odd
    window is not read."""
    config = MACHINES["16 lanes by 4"]
    spm = np.random.default_rng(1).integers(0, 256, (config.spm_words, config.lanes), np.uint8)
    i = Instruction(Opcode.VECTOR, dict(
        dict(vop=VectorOp.SUM, nx=1, ny=1, ncb=1, ns=1, a_base=507, a_r=5, iy_r=1, iw=1,
             scale_a=bits(0.25), lo=-128, hi=127), **fields))
    want = spm.copy()
    if faulty:
        with pytest.raises(MachineFault):
            vector.execute(i, 0, want, config)
    else:
        vector.execute(i, 0, want, config)
    got, _, fault = bench(config).run(spm, [i])
    assert fault == ((Fault.SPM_RANGE, 0) if faulty else None)
    assert np.array_equal(got, want)


@pytest.mark.parametrize("change,code", [
    ({"nr": 0}, Fault.BAD_FIELD), ({"vop": 3}, Fault.BAD_FIELD),
    ({"vop": 4}, Fault.BAD_FIELD), ({"vop": 9}, Fault.BAD_FIELD), ({"vop": 15}, Fault.BAD_FIELD),
    ({"ns": 2}, Fault.BAD_FIELD), ({"o_wrap": 5}, Fault.BAD_FIELD),
    ({"a_base": 510}, Fault.SPM_RANGE), ({"b_base": -2}, Fault.SPM_RANGE),
    ({"o_base": 490}, Fault.SPM_RANGE)])
def test_faults(change: dict[str, int], code: Fault) -> None:
    config = MACHINES["16 lanes by 4"]
    spm = np.zeros((config.spm_words, config.lanes), np.uint8)
    fields = dict(CASES["add"], o_row=6)
    good = Instruction(Opcode.VECTOR, fields)
    bad = Instruction(Opcode.VECTOR, {**fields, **change})
    with pytest.raises(MachineFault) as e:
        vector.execute(bad, 1, spm.copy(), config)
    assert e.value.code == code
    _, _, fault = bench(config).run(spm, [good, bad, good])
    assert fault == (code, 1)


def test_throughput() -> None:
    """Element-wise work is bound by the lanes: L / vector_lanes cycles a word."""
    config = MACHINES["16 lanes by 4"]
    spm = np.zeros((config.spm_words, config.lanes), np.uint8)
    fields = dict(CASES["add"], nx=6, ny=4, ncb=4, a_cb=3, b_cb=2, o_cb=24, o_y=6)
    _, cycles, _ = bench(config).run(spm, [Instruction(Opcode.VECTOR, fields)])
    words, latency = 6 * 4 * 4, 63
    assert cycles <= words * 4 + latency


FLOATS = {
    "4 lanes by 1, FP16": Config(lanes=4, spm_bytes=8192, spm_banks=4, ppu_lanes=1, weight_words=1,
                                 vector_lanes=1, dtypes=("int8", "fp16")),
    "8 lanes by 8": Config(lanes=8, spm_bytes=16384, spm_banks=4, weight_words=1, vector_lanes=8,
                           dtypes=("int8", "fp16", "bf16")),
    "16 lanes by 4": Config(lanes=16, spm_bytes=32768, spm_banks=4, weight_words=1, vector_lanes=4,
                            dtypes=("int8", "fp16", "bf16")),
}


@pytest.mark.parametrize("machine", FLOATS)
def test_types(machine: str) -> None:
    """A random instruction of every operation, with a second operand and folded where it can be."""
    config = FLOATS[machine]
    rng = np.random.default_rng(len(machine))
    found: dict[tuple[int, ...], Instruction] = {}
    while len(found) < len(VectorOp) + sum(op.function for op in VectorOp) + 2:
        i = random_vector(rng, config)
        if known(config, i.a_type, i.b_type, i.o_type) and (i.a_type or i.o_type):
            found.setdefault((i.vop, i.plus, i.fold), i)
    program = list(found.values())
    spm = contents(rng, config, program)
    want, counts = spm.copy(), Exceptions()
    for k, i in enumerate(program):
        vector.execute(i, k, want, config, counts)
    machine_bench = bench(config)
    got, _, fault = machine_bench.run(spm, program, rivalry=0.3)
    assert fault is None
    assert np.array_equal(got, want)
    assert machine_bench.kinds == {"nan": counts.nan, "infinite": counts.infinite,
                                   "overflow": counts.overflow}


def small(config: Config, k: int, **fields: int) -> Instruction:
    """Instruction ``k`` of a program of them: two columns of four blocks, from words below 200 to
    8 of its own."""
    return Instruction(Opcode.VECTOR, dict(dict(
        nx=2, ny=1, ncb=4, ns=1, nr=1, a_base=7 * k % 150, a_x=1, a_cb=3, ix_x=1, iw=2, ih=1,
        b_base=5 * k % 150, b_x=1, b_cb=k % 2, o_base=200 + 8 * k, o_x=4, o_cb=1, a_signed=1,
        a_zp=3, b_zp=128, scale_a=bits(0.3), scale_b=bits(-0.05), z=-3, lo=-128, hi=127,
        anchor=-20, lo_f=0xFC00, hi_f=0x7C00), **fields))


def check(config: Config, program: list[Instruction]) -> None:
    """Golden model and RTL, with another reader on the scratchpad."""
    spm = contents(np.random.default_rng(1), config, program)
    want = spm.copy()
    for k, i in enumerate(program):
        vector.execute(i, k, want, config)
    got, _, fault = bench(config).run(spm, program, rivalry=0.3)
    assert fault is None
    assert np.array_equal(got, want)


@pytest.mark.parametrize("machine", FLOATS)
def test_folds(machine: str) -> None:
    """Maxima and sums of two rows of blocks, of every type into every type."""
    config = FLOATS[machine]
    floats = [t for t in DType if t and known(config, t)]
    kinds = [(vop, a, o) for vop in (VectorOp.MAX, VectorOp.SUM) for a in floats for o in floats
             if (vop, a) != (VectorOp.SUM, DType.FP32)]
    check(config, [small(config, k, vop=vop, fold=1, a_type=a, o_type=o, nr=3, a_r=5)
                   for k, (vop, a, o) in enumerate(kinds)])


def test_two_operands() -> None:
    """Functions of sums of two operands of every type into every type."""
    functions = [op for op in VectorOp if op.function]
    kinds = [t for t in itertools.product(DType, repeat=3) if any(t)]
    config = FLOATS["8 lanes by 8"]
    check(config, [small(config, k, vop=functions[k % len(functions)], plus=1, a_type=a, b_type=b,
                         o_type=o) for k, (a, b, o) in enumerate(kinds)])


def test_fold_throughput() -> None:
    """A fold takes as long as its pairs of rows, and the tree's levels."""
    config = FLOATS["16 lanes by 4"]
    spm = np.zeros((config.spm_words, config.lanes), np.uint8)
    fields = dict(vop=VectorOp.SUM, fold=1, nx=5, ny=1, ncb=1, ns=1, nr=13, iw=5, ih=1, a_x=1,
                  a_r=5, ix_x=1, o_base=400, o_x=1, a_type=DType.FP16, o_type=DType.FP16,
                  scale_a=bits(0.01), lo_f=0xFC00, hi_f=0x7C00)
    folded, plain = (bench(config).run(spm, [Instruction(Opcode.VECTOR, {**fields, **change})])[1]
                     for change in ({}, {"fold": 0}))
    assert folded == plain + 3
    assert plain <= 5 * 7 + 75


@pytest.mark.parametrize("o_type,slices", [(DType.FP16, 4), (DType.FP32, 2)])
def test_float_throughput(o_type: DType, slices: int) -> None:
    """A unit takes as many cycles as it has slices."""
    config = FLOATS["16 lanes by 4"]
    spm = np.zeros((config.spm_words, config.lanes), np.uint8)
    fields = dict(CASES["add"], nx=6, ny=4, ncb=4, a_cb=3, b_cb=2, o_cb=24, o_y=6, o_base=600,
                  a_type=DType.FP16, b_type=DType.FP16, o_type=o_type, lo_f=0xFC00, hi_f=0x7C00)
    _, cycles, _ = bench(config).run(spm, [Instruction(Opcode.VECTOR, fields)])
    assert cycles <= 6 * 4 * 4 * slices + 85


@pytest.mark.parametrize("nr,ns,words,taps,fill", [
    (25, 5, 2, 13 * 5, 42), (8, 8, 4, 4 * 8, 43), (1, 16, 8, 16, 42)])
def test_window_throughput(nr: int, ns: int, words: int, taps: int, fill: int) -> None:
    """Windows are bound by their pairs of rows, also where both rows of a pair lie in one bank."""
    config = MACHINES["16 lanes by 4"]
    spm = np.zeros((config.spm_words, config.lanes), np.uint8)
    fields = dict(vop=VectorOp.SUM, nx=1, ny=1, ncb=words, ns=ns, nr=nr, iw=ns, ih=nr, a_s=1,
                  a_r=ns, a_cb=nr * ns, ix_s=1, iy_r=1, o_base=400, o_cb=1, scale_a=bits(0.01))
    _, cycles, _ = bench(config).run(spm, [Instruction(Opcode.VECTOR, fields)])
    assert cycles == words * taps + fill
