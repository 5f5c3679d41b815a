# SPDX-License-Identifier: Apache-2.0
"""The tensor engine against the golden model: the whole scratchpad afterwards, bit for bit."""

import functools

import numpy as np
import pytest

from golden.fault import MachineFault
from golden.tensor import Tensor
from hw.tensor.engine import TensorEngine
from isa.config import Config
from isa.instructions import Fault, Instruction, Opcode
from isa.presets import PRESETS
from tests.golden.test_tensor import place
from tests.hw.engine.engine_bench import EngineBench

SMALL = {
    "tiny": PRESETS["tiny"],
    "4x4, slice 4": Config(lanes=4, spm_bytes=8192, spm_banks=4, psum_depth=16, ppu_lanes=4,
                           weight_words=1, bus_bytes=8, vector_lanes=4),
    "8x8": Config(lanes=8, spm_bytes=16384, spm_banks=8, psum_depth=16, ppu_lanes=2,
                  weight_words=2, bus_bytes=8, vector_lanes=4),
    "16x16": Config(lanes=16, spm_bytes=32768, spm_banks=8, psum_depth=32, ppu_lanes=8,
                    weight_words=2, vector_lanes=4),
    "4 x 4x4": Config(lanes=4, tiles=4, spm_bytes=8192, spm_banks=8, psum_depth=8, ppu_lanes=1,
                      weight_words=1, bus_bytes=8, vector_lanes=4),
    "2 x 8x8": Config(lanes=8, tiles=2, spm_bytes=32768, spm_banks=16, psum_depth=32, ppu_lanes=8,
                      weight_words=2, bus_bytes=8, vector_lanes=4),
}


@functools.cache
def bench(config: Config) -> EngineBench:
    return EngineBench(config, "tensor", TensorEngine(config), lambda e: (
        [*e.act, *e.weights, *e.residual], [*e.out]))


def check(config: Config, spm: np.ndarray, instructions: list[Instruction],
          **options: float) -> int:
    want = spm.copy()
    golden = Tensor(config)
    for index, i in enumerate(instructions):
        golden.execute(i, index, want)
    got, cycles, fault = bench(config).run(spm, instructions, **options)
    assert fault is None
    different = np.argwhere((got != want).any(axis=1)).ravel()
    assert not different.size, f"words {different[:8]}: {got[different[0]]} {want[different[0]]}"
    return cycles


@pytest.mark.parametrize("name,m_split,rivalry", [
    ("tiny", 0, 0.0), *((n, 0, 0.6) for n in SMALL if n != "2 x 8x8"), ("4 x 4x4", 1, 0.6),
    ("4 x 4x4", 2, 0.0), ("2 x 8x8", 1, 0.6)])
def test_convolution(name: str, m_split: int, rivalry: float) -> None:
    config = SMALL[name]
    spm, fields, _ = place(config, m_split)
    check(config, spm, [Instruction(Opcode.TENSOR, fields)], rivalry=rivalry)


def variations(config: Config) -> tuple[np.ndarray, list[Instruction]]:
    """Instructions that follow one another without waiting: their outputs lie apart."""
    spm, fields, want = place(config, 0)
    size = want.size // config.lanes
    other = dict(fields, z1=-20, lo1=-20, a_zp=11, a_signed=0, w_zp=3, ntx=1, nx=3, nx_last=3,
                 ny=1, nty=4, ny_last=1, o_base=fields["o_base"] + size)
    third = dict(fields, residual=1, r_base=8, r_n=1, scale_a=0x3F000000,
                 scale_r=0x3E800000, z2=4, lo2=-128, hi2=127, o_base=fields["o_base"] + 2 * size)
    return spm, [Instruction(Opcode.TENSOR, f) for f in (fields, other, third)]


@pytest.mark.parametrize("name", ["tiny", pytest.param("4 x 4x4", marks=pytest.mark.long)])
def test_instructions_overlap(name: str) -> None:
    """The weights of the next instruction are loaded, and its vectors fed, while one drains."""
    config = SMALL[name]
    spm, program = variations(config)
    together = check(config, spm, program)
    alone = sum(check(config, spm, [i]) for i in program)
    assert together < alone


@pytest.mark.parametrize("change, legal", [
    ({}, True), ({"nx": 4}, True), ({"nx_last": 3}, False), ({"ny_last": 2, "ny": 2}, False),
    ({"nx_last": 1}, False), ({"m_last": 2, "m_split": 1}, False), ({"n_last": 2}, False)])
def test_acc_takes_the_sums_that_are_held(change, legal):
    """As many of them as there are, or the fault of the golden model."""
    config = SMALL["4 x 4x4"]
    spm, fields, _ = place(config, 0)
    fields |= dict(nnb=1, ntx=1, nty=1, nx=2, nx_last=2, ny=1, ny_last=1, n_last=1, m_last=1)
    if "nx_last" in change:
        fields["nx"] = 3
    program = [Instruction(Opcode.TENSOR, dict(fields, hold=1)),
               Instruction(Opcode.TENSOR, {**fields, "acc": 1, **change})]
    if legal:
        check(config, spm, program)
        return
    golden = Tensor(config)
    golden.execute(program[0], 0, spm.copy())
    with pytest.raises(MachineFault) as e:
        golden.execute(program[1], 1, spm.copy())
    assert e.value.code == Fault.BAD_FIELD
    assert bench(config).run(spm, program)[2] == (Fault.BAD_FIELD, 1)


def test_no_bank_is_held_when_a_program_begins() -> None:
    """Behind one that has ended with its sums in a bank, the next may not add to them, and its own
    sums begin anew."""
    config = SMALL["tiny"]
    spm, fields, _ = place(config, 0)
    one = dict(nnb=1, ntx=1, nty=1, nx=2, nx_last=2, ny=1, ny_last=1)
    hold, acc, whole = (Instruction(Opcode.TENSOR, {**fields, **one, **more})
                        for more in ({"hold": 1}, {"acc": 1}, {}))
    _, _, fault = bench(config).run(spm, [hold, acc], begins=[1])
    assert fault == (Fault.BAD_FIELD, 1)
    alone, _, _ = bench(config).run(spm, [whole])
    behind, _, fault = bench(config).run(spm, [hold, whole, whole], begins=[1])
    assert fault is None and np.array_equal(behind, alone) and not np.array_equal(alone, spm)


@pytest.mark.parametrize("change,code", [
    ({"nx": 0}, Fault.BAD_FIELD), ({"nx": 9, "ny": 2}, Fault.BAD_FIELD),
    ({"nx_last": 3}, Fault.BAD_FIELD), ({"m_split": 1}, Fault.BAD_FIELD),
    ({"acc": 1, "nnb": 1, "ntx": 1, "nty": 1}, Fault.BAD_FIELD),
    ({"o_wrap": 3}, Fault.BAD_FIELD), ({"a_wrap": 20, "a_row": 25}, Fault.BAD_FIELD),
    ({"a_base": 2040}, Fault.SPM_RANGE), ({"o_base": -10}, Fault.SPM_RANGE),
    ({"w_base": 2040}, Fault.SPM_RANGE), ({"residual": 1, "r_base": 2046}, Fault.SPM_RANGE)])
def test_faults(change: dict[str, int], code: Fault) -> None:
    """Code and position are those of the golden model."""
    config = SMALL["tiny"]
    spm, fields, _ = place(config, 0)
    fields |= {"scale_a": 0x3F800000, "scale_r": 0x3F800000}
    good = Instruction(Opcode.TENSOR, fields)
    bad = Instruction(Opcode.TENSOR, {**fields, **change})
    golden = Tensor(config)
    golden.execute(good, 0, spm.copy())
    with pytest.raises(MachineFault) as e:
        golden.execute(bad, 1, spm.copy())
    assert e.value.code == code
    _, _, fault = bench(config).run(spm, [good, bad, good])
    assert fault == (code, 1)
