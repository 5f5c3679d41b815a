# SPDX-License-Identifier: Apache-2.0
"""What has to be complete before an instruction starts: whoever wrote what it reads, and whoever
read or wrote what it writes, by the extents."""

from collections import defaultdict

from compiler.machine.steps import SPM, Extent, Step
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


class _Spaces:
    """All memories, that of each rank among them."""

    def __init__(self) -> None:
        self._spaces: dict[int, _Words] = {}

    def _words(self, where: int, rank: int) -> _Words:
        space = where - rank if where == SPM else where
        if space not in self._spaces:
            self._spaces[space] = _Words(space)
        return self._spaces[space]

    def touch(self, me: int, step: Step, need: set[int]) -> None:
        """A step reads and writes; whom it waits for is added to ``need``."""
        for where, start, end in merged(step.reads):
            if where in TRACKED:
                self._words(where, step.rank).read(me, start, end, need)
        for where, start, end in merged(step.writes):
            if where in TRACKED:
                self._words(where, step.rank).write(me, start, end, need)
        for rank in step.receivers:
            for where, start, end in merged(step.lands):
                self._words(where, rank).write(me, start, end, need)


def dependencies(steps: list[Step]) -> list[set[int]]:
    """For each step the earlier ones that have to be complete before it starts, without those that
    one of the others waits for, unless they send to several ranks: who waits for such a one knows
    that it has come where that matters to itself."""
    spaces = _Spaces()
    result: list[set[int]] = []
    held = dict[int, int]()
    tensors = defaultdict[int, set[int]](set)
    for me, step in enumerate(steps):
        need: set[int] = set()
        spaces.touch(me, step, need)
        chain = set[int]()
        if step.opcode is Opcode.TENSOR:
            hold, acc = step.fields.get("hold", 0), step.fields.get("acc", 0)
            if hold and not acc:
                # nothing gets between the parts of a reduction, so nothing may wait for others
                need |= tensors.pop(step.rank, set())
            if acc:
                chain.add(held[step.rank])
            held[step.rank] = me
            if not hold:
                tensors[step.rank].add(me)
        need -= {-1, me}
        several = {o for o in need if steps[o].to.bit_count() > 1}
        result.append(need.difference(*(result[o] for o in need)) | several | chain)
    return result
