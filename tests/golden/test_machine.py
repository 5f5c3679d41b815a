# SPDX-License-Identifier: Apache-2.0
"""Programs on the golden model: strided copies, order, and every fault of LOAD, STORE and waits."""

import dataclasses

import numpy as np
import pytest

from golden.machine import Machine, MachineFault
from isa.instructions import (WAIT_REACH, DType, Fault, Instruction, Opcode, Region,
                              VectorOp, assembled)
from isa.presets import PRESETS

TINY = PRESETS["tiny"]
ONE = dict(n0=1, n1=1, n2=1, n3=1)
LOAD = Instruction(Opcode.LOAD, dict(ONE, region=Region.INPUT))
STORE = Instruction(Opcode.STORE, dict(ONE, region=Region.OUTPUT, wait_mask=1, wait_load=1))
END = Instruction(Opcode.END)


def run(code: list[Instruction], inputs: np.ndarray, output: int = 512) -> np.ndarray:
    image = assembled(code)
    return Machine(TINY).run(image, inputs, {Region.OUTPUT: output, Region.WORKSPACE: 64})


def test_strided_copy() -> None:
    """A transposition of words by strides, against numpy's."""
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 4), np.uint8)    # words of 4 bytes
    load = Instruction(Opcode.LOAD, dict(
        region=Region.INPUT, n0=1, n1=5, n2=3, n3=2, dram_stride1=4, dram_stride2=20,
        dram_stride3=60, spm=7, spm_stride1=3, spm_stride2=1, spm_stride3=15))
    store = Instruction(Opcode.STORE, dict(
        region=Region.OUTPUT, n0=30, n1=1, n2=1, n3=1, spm=7, wait_mask=1, wait_load=1))
    out = run([load, store, END], x.reshape(-1), 120)
    assert np.array_equal(out.reshape(2, 5, 3, 4), x.transpose(0, 2, 1, 3))


def test_one_machine_runs_program_after_program() -> None:
    """An instruction that was decoded before is the one at its position now."""
    machine, sizes = Machine(TINY), {Region.OUTPUT: 8}
    inputs = np.arange(8, dtype=np.uint8)
    second = Instruction(Opcode.STORE, dict(STORE.fields, dram=4))
    for stores, want in (([STORE], [0, 1, 2, 3, 0, 0, 0, 0]), ([second], [0, 0, 0, 0, 0, 1, 2, 3]),
                         ([STORE, second], [0, 1, 2, 3, 0, 1, 2, 3])):
        image = assembled([LOAD, *stores, END])
        assert machine.run(image, inputs, sizes).tolist() == want


def test_no_bank_is_held_when_a_program_begins() -> None:
    """The program before has ended with its sums in the bank: there is nothing to add to."""
    machine = Machine(TINY)
    counts = dict.fromkeys(("nx", "ny", "ncb", "ns", "nr", "nnb", "ntx", "nty", "nx_last",
                            "ny_last", "m_last", "n_last"), 1)
    hold, acc = (Instruction(Opcode.TENSOR, {**counts, flag: 1}) for flag in ("hold", "acc"))
    both = Instruction(Opcode.TENSOR, {**counts, "hold": 1, "acc": 1})
    for code in ([hold, both, END], [hold, END]):
        machine.run(assembled(code), np.zeros(0, np.uint8), {})
    with pytest.raises(MachineFault) as e:
        machine.run(assembled([acc, END]), np.zeros(0, np.uint8), {})
    assert (e.value.code, e.value.index) == (Fault.BAD_FIELD, 0)


def test_exceptions_are_counted_anew_in_each_program() -> None:
    """1/0 is infinite: a word of elements in each program that has it, and none in the next."""
    config = PRESETS["tiny_fp"]
    machine = Machine(config)
    one = int(np.float32(1).view(np.uint32))
    half = dict.fromkeys(("a_type", "b_type", "o_type"), DType.FP16)
    counts = dict.fromkeys(("nx", "ny", "ncb", "ns", "nr", "iw", "ih"), 1)
    inverse = Instruction(Opcode.VECTOR, {**counts, **half, "vop": VectorOp.RECIPROCAL,
                                          "scale_a": one, "scale_b": one, "hi_f": 0x7C00,
                                          "lo_f": 0xFC00, "o_base": 1})
    for code, want in (([inverse, END], config.lanes // 2), ([inverse, END], config.lanes // 2),
                       ([END], 0)):
        machine.run(assembled(code), np.zeros(0, np.uint8), {})
        assert (machine.exceptions.nan, machine.exceptions.infinite) == (0, want)


@pytest.mark.parametrize("code,want,index", [
    ([LOAD, Instruction(Opcode.LOAD, dict(LOAD.fields, n2=0)), END], Fault.BAD_FIELD, 1),
    ([Instruction(Opcode.LOAD, dict(LOAD.fields, dram=2)), END], Fault.BAD_FIELD, 0),
    ([Instruction(Opcode.LOAD, dict(LOAD.fields, dram=64)), END], Fault.DRAM_RANGE, 0),
    ([Instruction(Opcode.LOAD, dict(LOAD.fields, n1=2, dram_stride1=-4)), END],
     Fault.DRAM_RANGE, 0),
    ([Instruction(Opcode.LOAD, dict(LOAD.fields, spm=2048)), END], Fault.SPM_RANGE, 0),
    # the first run that is wrong decides: run 1 leaves the scratchpad, run 9 its region
    ([Instruction(Opcode.LOAD, dict(LOAD.fields, n1=10, dram_stride1=8, spm=2047, spm_stride1=1)),
      END], Fault.SPM_RANGE, 0),
    ([Instruction(Opcode.LOAD, dict(LOAD.fields, n1=2, spm_stride1=-1)), END],
     Fault.SPM_RANGE, 0),
    ([LOAD, Instruction(Opcode.STORE, dict(STORE.fields, region=Region.PROGRAM)), END],
     Fault.DRAM_RANGE, 1),
    ([LOAD, Instruction(Opcode.STORE, dict(STORE.fields, region=Region.INPUT)), END],
     Fault.DRAM_RANGE, 1),
    ([STORE, LOAD, END], Fault.WATCHDOG, 0),
    ([LOAD, Instruction(Opcode.WINDOW), END], Fault.BAD_FIELD, 1),
    ([LOAD, STORE], Fault.ILLEGAL_OPCODE, 2),
    ([LOAD, STORE, LOAD, STORE], Fault.DRAM_RANGE, 4)])
def test_faults(code: list[Instruction], want: Fault, index: int) -> None:
    with pytest.raises(MachineFault) as e:
        run(code, np.zeros(64, np.uint8))
    assert (e.value.code, e.value.index) == (want, index)


def test_many_runs() -> None:
    """Neither the first of 4095**3 runs that is wrong, nor copying a word as often, takes memory or
    time; a copy in several pieces is that of all its runs in their order."""
    many = dict(LOAD.fields, n1=4095, n2=4095, n3=4095)
    assert run([Instruction(Opcode.LOAD, many), STORE, END], np.full(64, 7, np.uint8))[:4].all()
    for name, want in (("spm_stride1", Fault.SPM_RANGE), ("dram_stride3", Fault.DRAM_RANGE)):
        with pytest.raises(MachineFault) as e:
            run([Instruction(Opcode.LOAD, {**many, name: 4}), END], np.zeros(64, np.uint8))
        assert e.value.code is want
    # 2,047 words, each time from one further on, to the same place: the last time stays
    slide = Instruction(Opcode.LOAD, dict(LOAD.fields, n0=2047, n1=1000, dram_stride1=4))
    x = np.random.default_rng(2).integers(0, 256, (3046, 4), np.uint8)
    out = run([slide, Instruction(Opcode.STORE, dict(STORE.fields, n0=2047)), END], x.reshape(-1),
              4 * 2047)
    assert np.array_equal(out.reshape(-1, 4), x[999:])


def test_window_without_its_engine() -> None:
    machine = Machine(dataclasses.replace(TINY, window_taps=0))
    with pytest.raises(MachineFault) as e:
        machine.run(assembled([Instruction(Opcode.WINDOW), END]),
                    np.zeros(0, np.uint8), {})
    assert (e.value.code, e.value.index) == (Fault.ILLEGAL_OPCODE, 0)


def test_empty_memory_is_no_program() -> None:
    with pytest.raises(MachineFault) as e:
        Machine(TINY).run(bytes(256), np.zeros(0, np.uint8), {})
    assert (e.value.code, e.value.index) == (Fault.ILLEGAL_OPCODE, 0)


@pytest.mark.parametrize("back, legal", [(0, True), (WAIT_REACH, True), (WAIT_REACH + 1, False)])
def test_a_wait_reaches_so_far_back(back: int, legal: bool) -> None:
    """``back`` LOADs lie between the one that is waited for and the STORE."""
    store = Instruction(Opcode.STORE, dict(STORE.fields, wait_load=1))
    code = [*[LOAD] * (back + 1), store, END]
    if legal:
        run(code, np.zeros(64, np.uint8))
        return
    with pytest.raises(MachineFault) as e:
        run(code, np.zeros(64, np.uint8))
    assert (e.value.code, e.value.index) == (Fault.WATCHDOG, back + 1)
