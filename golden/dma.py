# SPDX-License-Identifier: Apache-2.0
"""LOAD and STORE: strided copies between a DRAM region and the scratchpad."""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from golden.address import grid
from golden.fault import MachineFault
from isa.instructions import READ_ONLY, Fault, Instruction, Opcode, Region

RUN_WORDS = 1 << 20
"""Words that are copied at once: an instruction may copy 4095**3 runs."""


class Loop(NamedTuple):
    """One level of repetitions: how many, and its steps in words."""

    times: int
    dram: int
    spm: int


def execute(i: Instruction, index: int, spm: np.ndarray, memory: np.ndarray) -> None:
    """Run one LOAD or STORE.

    Parameters
    ----------
    i, index
        The instruction and its position.
    spm : uint8 [words, L]
        The scratchpad.
    memory : uint8 [bytes]
        The region that the instruction names.

    Raises
    ------
    MachineFault
        BAD_FIELD for a count of zero or a misaligned address; DRAM_RANGE or SPM_RANGE, whichever
        the first run that is not legal breaks, DRAM before scratchpad.
    """
    words, size = spm.shape
    steps = [(i.n3, i.dram_stride3, i.spm_stride3), (i.n2, i.dram_stride2, i.spm_stride2),
             (i.n1, i.dram_stride1, i.spm_stride1)]
    if 0 in (i.n0, i.n1, i.n2, i.n3) or any(v % size for v in (i.dram, *(s[1] for s in steps))):
        raise MachineFault(Fault.BAD_FIELD, index)
    if i.opcode is Opcode.STORE and Region(i.region) in READ_ONLY:
        raise MachineFault(Fault.DRAM_RANGE, index)
    lines = memory[:memory.size // size * size].reshape(-1, size)
    loops = [Loop(n, dram // size, at) for n, dram, at in steps]
    wrong = _first_wrong(i.dram // size, i.spm, loops, len(lines) - i.n0, words - i.n0)
    if wrong is not None:
        raise MachineFault(wrong, index)
    # a run that is copied again is the same run
    loops = [loop for loop in loops if loop.dram or loop.spm]
    for dram, at in _runs(i.dram // size, i.spm, loops, RUN_WORDS // i.n0):
        run = np.arange(i.n0)
        dram, at = dram[..., None] + run, at[..., None] + run
        if i.opcode is Opcode.LOAD:
            spm[at] = lines.take(dram, axis=0)
        else:
            lines[dram] = spm.take(at, axis=0)


def _first_wrong(dram: int, at: int, loops: list[Loop], dram_end: int, at_end: int
                 ) -> Fault | None:
    """What the first run breaks that does not begin in [0, end]: level by level, the outer first,
    the first repetition that has one, which its lowest and highest run tell."""
    for level, loop in enumerate(loops):
        inner = loops[level + 1:]
        repetition = np.arange(loop.times)
        outside = _outside(dram + repetition * loop.dram, [(x.times, x.dram) for x in inner],
                           dram_end)
        wrong = outside | _outside(at + repetition * loop.spm, [(x.times, x.spm) for x in inner],
                                   at_end)
        if not wrong.any():
            return None
        first = int(wrong.argmax())
        dram, at = dram + first * loop.dram, at + first * loop.spm
    return Fault.DRAM_RANGE if not 0 <= dram <= dram_end else Fault.SPM_RANGE


def _outside(start: np.ndarray, loops: list[tuple[int, int]], end: int) -> np.ndarray:
    """Whether loops (count, step) from each start reach an address that is not in [0, end]."""
    low = sum(min((count - 1) * step, 0) for count, step in loops)
    high = sum(max((count - 1) * step, 0) for count, step in loops)
    return np.asarray((start + low < 0) | (start + high > end))


def _runs(dram: int, at: int, loops: list[Loop], most: int
          ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Where the runs begin, in their order, in pieces of up to ``most`` of them."""
    cut = 0
    while cut < len(loops) and math.prod(loop.times for loop in loops[cut:]) > most:
        cut += 1
    inner = [grid(0, *((loop.times, step) for loop, step in zip(loops[cut:], steps)))
             for steps in ([x.dram for x in loops[cut:]], [x.spm for x in loops[cut:]])]
    for outer in itertools.product(*(range(loop.times) for loop in loops[:cut])):
        yield (inner[0] + dram + sum(k * x.dram for k, x in zip(outer, loops)),
               inner[1] + at + sum(k * x.spm for k, x in zip(outer, loops)))
