# SPDX-License-Identifier: Apache-2.0
"""What has to be complete before an instruction starts: whoever wrote what it reads, and whoever
read or wrote what it writes, by the extents."""

from compiler.machine.steps import Extent, Step
from compiler.order.stretches import TRACKED, Stretches
from isa.instructions import Opcode


def merged(extents: list[Extent]) -> list[Extent]:
    """The same words in as few extents as possible."""
    if len(extents) < 2:
        return extents
    out: list[Extent] = []
    for where, start, end in sorted(extents):
        if out and out[-1][0] == where and start <= out[-1][2]:
            out[-1] = (where, out[-1][1], max(end, out[-1][2]))
        else:
            out.append((where, start, end))
    return out


class _Words(Stretches[tuple[int, list[int]]]):
    """Who wrote each word last, and who has read it since."""

    def __init__(self, space: int):
        super().__init__(space, (-1, []), lambda state: (state[0], state[1][:]))

    def read(self, me: int, start: int, end: int, need: set[int]) -> None:
        """A step reads these words; whom it waits for is added to ``need``."""
        for writer, readers in self.states[self.span(start, end)]:
            need.add(writer)
            readers.append(me)

    def write(self, me: int, start: int, end: int, need: set[int]) -> None:
        """A step writes these words; whom it waits for is added to ``need``."""
        span = self.span(start, end)
        for writer, readers in self.states[span]:
            need.add(writer)
            need.update(readers)
        self.join(span, (me, []))


def dependencies(steps: list[Step]) -> list[set[int]]:
    """For each step the earlier ones that have to be complete before it starts, without those that
    one of the others waits for."""
    spaces = {space: _Words(space) for space in TRACKED}
    result: list[set[int]] = []
    held, tensors = -1, set[int]()
    for me, step in enumerate(steps):
        need: set[int] = set()
        for where, start, end in merged(step.reads):
            if where in spaces:
                spaces[where].read(me, start, end, need)
        for where, start, end in merged(step.writes):
            if where in spaces:
                spaces[where].write(me, start, end, need)
        chain = set[int]()
        if step.opcode is Opcode.TENSOR:
            hold, acc = step.fields.get("hold", 0), step.fields.get("acc", 0)
            if hold and not acc:
                # nothing gets between the parts of a reduction, so nothing may wait for others
                need |= tensors
                tensors = set()
            if acc:
                chain.add(held)
            held = me
            if not hold:
                tensors.add(me)
        need -= {-1, me}
        result.append(need.difference(*(result[o] for o in need)) | chain)
    return result
