# SPDX-License-Identifier: Apache-2.0
"""The waits of the instructions.

:func:`waits` goes through the program once. For every scratchpad word (and every 64 bytes
of DRAM) it knows the last instruction of each queue that read and that wrote it; an instruction
waits for

* the writers of what it reads (read after write),
* the readers and the writers of what it writes (write after read, write after write),

in whichever queue they are, its own included: a queue starts its instructions in order, but one may
start before the one in front has completed. What an earlier instruction of the same queue has
waited for need not be waited for again.
"""

import numpy as np

from compiler.machine.steps import Step
from isa.config import Config
from isa.instructions import QUEUES, WAIT_BITS, WAIT_REACH, Region

DRAM_GRAIN = 64
"""Bytes of DRAM that are tracked as one."""


class _Space:
    """Last reader and writer of every grain, for each queue, as counts of completions."""

    def __init__(self, grains: int, grain: int):
        self.grain = grain
        self.readers = np.zeros((len(QUEUES), grains), np.int32)
        self.writers = np.zeros((len(QUEUES), grains), np.int32)

    def span(self, start: int, end: int) -> slice:
        return slice(start // self.grain, -(-end // self.grain))


def waits(steps: list[Step], config: Config, sizes: dict[int, int]) -> None:
    """Set ``wait_mask`` and ``wait_<queue>`` of every step; ``sizes`` are the regions' bytes."""
    spaces = {-1: _Space(config.spm_words, 1)}
    for region in (Region.WORKSPACE, Region.OUTPUT):
        spaces[region] = _Space(-(-sizes.get(region, 0) // DRAM_GRAIN) + 1, DRAM_GRAIN)
    issued = np.zeros(len(QUEUES), np.int64)
    reached = np.zeros((len(QUEUES), len(QUEUES)), np.int64)
    for step in steps:
        queue = QUEUES.index(step.queue)
        need = np.zeros(len(QUEUES), np.int64)
        for kind, extents in (("r", step.reads), ("w", step.writes)):
            for where, start, end in extents:
                if where not in spaces:
                    continue
                space = spaces[where]
                span = space.span(start, end)
                np.maximum(need, space.writers[:, span].max(1, initial=0), out=need)
                if kind == "w":
                    np.maximum(need, space.readers[:, span].max(1, initial=0), out=need)
        mask = 0
        for other in range(len(QUEUES)):
            if need[other] > reached[queue, other]:
                # a wait for something older is raised: the counters are modular
                count = max(int(need[other]), int(issued[other]) - WAIT_REACH)
                reached[queue, other] = count
                mask |= 1 << other
                step.fields[f"wait_{QUEUES[other]}"] = count & ((1 << WAIT_BITS) - 1)
        step.fields["wait_mask"] = mask
        issued[queue] += 1
        for table, extents in (("readers", step.reads), ("writers", step.writes)):
            for where, start, end in extents:
                if where in spaces:
                    space = spaces[where]
                    getattr(space, table)[queue, space.span(start, end)] = issued[queue]
