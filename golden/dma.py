# SPDX-License-Identifier: Apache-2.0
"""LOAD, STORE and XFER: strided copies between a DRAM region and the scratchpad, and from
scratchpad to scratchpad."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from golden.address import grid
from golden.fault import MachineFault
from isa.instructions import READ_ONLY, Fault, Instruction, Opcode, Region

RUN_WORDS = 1 << 20
"""Words that are copied at once: an instruction may copy 4095**3 runs."""


class Loop(NamedTuple):
    """One level of repetitions: how many, and its steps in words, on the far side and in the own
    scratchpad."""

    times: int
    far: int
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
    far = _first_wrong(i.dram // size, i.spm, loops, len(lines) - i.n0, words - i.n0)
    if far is not None:
        raise MachineFault(Fault.DRAM_RANGE if far else Fault.SPM_RANGE, index)
    for dram, at in _words(i.dram // size, i, loops):
        if i.opcode is Opcode.LOAD:
            spm[at] = lines.take(dram, axis=0)
        else:
            lines[dram] = spm.take(at, axis=0)


def send(i: Instruction, index: int, spm: np.ndarray, receivers: Sequence[np.ndarray]) -> None:
    """Run one XFER.

    Parameters
    ----------
    i, index
        The instruction and its position.
    spm : uint8 [words, L]
        The own scratchpad.
    receivers : sequence of uint8 [words, L]
        Those of the ranks in ``to``.

    Raises
    ------
    MachineFault
        BAD_FIELD for a count of zero, SPM_RANGE for a run that leaves a scratchpad.
    """
    loops = [Loop(i.n3, i.peer_stride3, i.spm_stride3), Loop(i.n2, i.peer_stride2, i.spm_stride2),
             Loop(i.n1, i.peer_stride1, i.spm_stride1)]
    if 0 in (i.n0, i.n1, i.n2, i.n3):
        raise MachineFault(Fault.BAD_FIELD, index)
    end = len(spm) - i.n0
    if _first_wrong(i.peer, i.spm, loops, end, end) is not None:
        raise MachineFault(Fault.SPM_RANGE, index)
    for far, at in _words(i.peer, i, loops):
        for receiver in receivers:
            receiver[far] = spm.take(at, axis=0)


def _words(far: int, i: Instruction, loops: list[Loop]
           ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The words of all runs on both sides, in their order, piece by piece."""
    # a run that is copied again is the same run
    loops = [loop for loop in loops if loop.far or loop.spm]
    run = np.arange(i.n0)
    for there, here in _runs(far, i.spm, loops, RUN_WORDS // i.n0):
        yield there[..., None] + run, here[..., None] + run


def _first_wrong(far: int, at: int, loops: list[Loop], far_end: int, at_end: int) -> bool | None:
    """Whether the first run that does not begin in [0, end] does so on the far side; None: all
    do. Level by level, the outer first, the first repetition that has one, which its lowest and
    highest run tell."""
    for level, loop in enumerate(loops):
        inner = loops[level + 1:]
        repetition = np.arange(loop.times)
        outside = _outside(far + repetition * loop.far, [(x.times, x.far) for x in inner],
                           far_end)
        wrong = outside | _outside(at + repetition * loop.spm, [(x.times, x.spm) for x in inner],
                                   at_end)
        if not wrong.any():
            return None
        first = int(wrong.argmax())
        far, at = far + first * loop.far, at + first * loop.spm
    return not 0 <= far <= far_end


def _outside(start: np.ndarray, loops: list[tuple[int, int]], end: int) -> np.ndarray:
    """Whether loops (count, step) from each start reach an address that is not in [0, end]."""
    low = sum(min((count - 1) * step, 0) for count, step in loops)
    high = sum(max((count - 1) * step, 0) for count, step in loops)
    return np.asarray((start + low < 0) | (start + high > end))


def _runs(far: int, at: int, loops: list[Loop], most: int
          ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Where the runs begin, in their order, in pieces of up to ``most`` of them."""
    cut = 0
    while cut < len(loops) and math.prod(loop.times for loop in loops[cut:]) > most:
        cut += 1
    inner = [grid(0, *((loop.times, step) for loop, step in zip(loops[cut:], steps)))
             for steps in ([x.far for x in loops[cut:]], [x.spm for x in loops[cut:]])]
    for outer in itertools.product(*(range(loop.times) for loop in loops[:cut])):
        yield (inner[0] + far + sum(k * x.far for k, x in zip(outer, loops)),
               inner[1] + at + sum(k * x.spm for k, x in zip(outer, loops)))
