# SPDX-License-Identifier: Apache-2.0
"""The chunks of a convolution's weights in turns, and what of the map goes by how many of them."""

from collections.abc import Sequence

from compiler.emit.rows import rows_cycles
from compiler.emit.schedule import Schedule
from compiler.emit.sharing import portions
from compiler.ir.graph import Conv, Rows
from compiler.machine.loops import Run

BEHIND = 1.35
"""By how much longer than its words take an operator of whole pixels is at work on them beside the
array: each instruction waits for the one before, and loses banks."""

Turn = list[tuple[int, Run]]
"""A chunk of each part of the channels that has one, with the number of the part: their weights lie
in the same words of their ranks' scratchpads."""

Area = tuple[int, int, int, int, int]
"""A box of the map: image, first and last row, first and last column."""


def turns_of(runs: Sequence[Run], size: int, parts: int) -> list[Turn]:
    """All chunks, of up to ``size`` groups, where ``parts`` share the channels."""
    if parts == 1:
        return [[(0, chunk)] for run in runs for chunk in run.cut(size)]
    mine = [[(part, chunk) for run in runs if max(a, run.first) < min(b, run.last)
             for chunk in run.part(max(a, run.first), min(b, run.last)).cut(size)]
            for part, a, b in portions(parts, 0, runs[-1].last)]
    return [[chunks[k] for chunks in mine if k < len(chunks)] for k in range(max(map(len, mine)))]


class Halves:
    """Turns of a gang's convolution that stay together while the map goes by half by half.

    An operator of whole pixels can begin when all ranks have made all channels of its first pixels,
    and what reads its result when all pixels are through it. Both come twice as early with half of
    the map by the last turns of what is ``behind``, or by the ``first`` ones of what is in
    ``front``: as many turns as take so much of the array's time as the operator of the vector
    engine's, in front of it :data:`BEHIND` times that.

    Parameters
    ----------
    s : Schedule
    op : Conv
    turns : int
    compute : int
        Cycles that all turns take.
    """

    def __init__(self, s: Schedule, op: Conv, turns: int, compute: int):
        self._s, self._op, self._turns, self._compute = s, op, turns, compute
        near = [other for other in s.graph.ops if isinstance(other, Rows)]
        if s.ranks == 1 or op.y.nchw[2] == 1:
            near = []
        self.front = next((rows for rows in near if rows.y is op.x), None)
        self.behind = next((rows for rows in near if rows.x is op.y), None)
        self.first, self.last = self._count(self.front, 1), self._count(self.behind, BEHIND)

    def _count(self, rows: Rows | None, longer: float) -> int:
        if rows is None:
            return 0
        cycles = longer * rows_cycles(self._s, rows) / self._s.ranks
        return max(1, min(self._turns, round(self._turns * cycles / self._compute)))

    def areas(self, rows: Rows, boxes: Sequence[Area]) -> list[Area]:
        """The boxes in halves as ``rows``, one of the two operators, has them."""
        halves = self._s.sharing.halves(rows, 0, self._op.y.nchw[2])
        return [(n, max(a, y0), min(b, y1), x0, x1) for n, y0, y1, x0, x1 in boxes
                for a, b in halves if a < y1 and b > y0]
