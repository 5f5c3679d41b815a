# SPDX-License-Identifier: Apache-2.0
"""LOAD and STORE: strided copies between a DRAM region and the scratchpad."""

import numpy as np

from golden.address import grid
from golden.fault import MachineFault
from isa.instructions import READ_ONLY, Fault, Instruction, Opcode, Region


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
    counts = (i.n3, i.n2, i.n1, i.n0)
    if 0 in counts or any(v % size for v in (i.dram, i.dram_stride1, i.dram_stride2,
                                             i.dram_stride3)):
        raise MachineFault(Fault.BAD_FIELD, index)
    if i.opcode is Opcode.STORE and Region(i.region) in READ_ONLY:
        raise MachineFault(Fault.DRAM_RANGE, index)
    # where each run begins, in words
    dram = grid(i.dram // size, (i.n3, i.dram_stride3 // size), (i.n2, i.dram_stride2 // size),
                (i.n1, i.dram_stride1 // size))
    at = grid(i.spm, (i.n3, i.spm_stride3), (i.n2, i.spm_stride2), (i.n1, i.spm_stride1))
    outside = (dram < 0) | (dram + i.n0 > memory.size // size)
    wrong = outside | (at < 0) | (at + i.n0 > words)
    if wrong.any():
        first = np.unravel_index(wrong.argmax(), wrong.shape)
        raise MachineFault(Fault.DRAM_RANGE if outside[first] else Fault.SPM_RANGE, index)
    run = np.arange(i.n0)
    dram, at = dram[..., None] + run, at[..., None] + run
    lines = memory[:memory.size // size * size].reshape(-1, size)
    if i.opcode is Opcode.LOAD:
        spm[at] = lines.take(dram, axis=0)
    else:
        lines[dram] = spm.take(at, axis=0)
