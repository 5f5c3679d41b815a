# SPDX-License-Identifier: Apache-2.0
"""The waits of the instructions.

:func:`waits` goes through the program once. For every scratchpad word (and every 64 bytes
of DRAM) it knows the last instruction of each queue that read and that wrote it; an instruction
waits for

* the writers of what it reads (read after write),
* the readers and the writers of what it writes (write after read, write after write),

in whichever queue they are, its own included: a queue starts its instructions in order, but one may
start before the one in front has completed. In a gang, where a stream has waits of its own, it also
waits for what :attr:`compiler.machine.steps.Step.after` says. What an earlier instruction of the
same queue has waited for need not be waited for again.
"""

from collections.abc import Iterator

from compiler.machine.steps import Extent, Step
from compiler.order.stretches import TRACKED, Stretches
from isa.instructions import GANG_QUEUES, WAIT_BITS, WAIT_REACH

_State = tuple[list[int], list[int]]


class _Words(Stretches[_State]):
    """The last writer and reader of every word in each queue, as counts of completions."""

    def __init__(self, space: int):
        none = [0] * len(GANG_QUEUES)
        super().__init__(space, (none, none[:]), lambda state: (state[0][:], state[1][:]))

    def write(self, start: int, end: int, writers: list[int]) -> None:
        """These words are written by an instruction that has waited for all that touched them
        before, so that who waits for it waits for those."""
        self.join(self.span(start, end), (writers, [0] * len(writers)))


def waits(steps: list[Step]) -> None:
    """Set ``wait_mask`` and ``wait_<queue>`` of every step."""
    spaces = {space: _Words(space) for space in TRACKED}

    def touched(extents: list[Extent]) -> Iterator[_State]:
        for where, start, end in extents:
            if where in spaces:
                yield from spaces[where].states[spaces[where].span(start, end)]

    issued = [0] * len(GANG_QUEUES)
    reached = [[0] * len(GANG_QUEUES) for _ in GANG_QUEUES]
    number: dict[int, int] = {}
    for step in steps:
        queue = GANG_QUEUES.index(step.queue)
        counts = [of for both in touched(step.writes) for of in both]
        read = list(touched(step.reads))
        counts += [writers for writers, _ in read]
        for other in step.after:
            counts.append([number[id(other)] * (q == other.queue) for q in GANG_QUEUES])
        need = [max(c) for c in zip([0] * len(GANG_QUEUES), *counts)]
        mask = 0
        for at, name in enumerate(GANG_QUEUES):
            if need[at] > reached[queue][at]:
                # a wait for something older is raised: the counters are modular
                count = max(need[at], issued[at] - WAIT_REACH)
                reached[queue][at] = count
                mask |= 1 << at
                step.fields[f"wait_{name}"] = count & ((1 << WAIT_BITS) - 1)
        step.fields["wait_mask"] = mask
        issued[queue] += 1
        number[id(step)] = issued[queue]
        for _, readers in read:
            readers[queue] = issued[queue]
        for where, start, end in step.writes:
            if where in spaces:
                spaces[where].write(start, end, [issued[queue] * (q == step.queue)
                                                 for q in GANG_QUEUES])
