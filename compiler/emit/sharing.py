# SPDX-License-Identifier: Apache-2.0
"""How the ranks of a gang share an operator, and which rows of a tensor each of them has.

An operator is shared by rows of its result, by channels, or by both: the ranks stand in a grid.
Where the channels of a pixel belong together, those that would share them share rows once more.
Where all that touches a tensor is shared by rows, a rank needs no more of it than the rows that it
makes and reads: the tensor may be a slab (:mod:`compiler.machine.slabs`). Then ranks have the same
rows of it whatever box is under way.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

from compiler.ir.graph import Add, Conv, Graph, Op, Pool, Rows, Tensor
from compiler.machine.weights import addends

FEW_ROWS = 2
"""Rows for each rank, of fewer of which operators are shared by channels if they can be."""


class Grid(NamedTuple):
    """Parts of an operator's rows and parts of its channels; ``(1, 1)``: one rank does it,
    ``whole`` says which."""

    rows: int
    channels: int
    whole: int | None = None

    def rank(self, row: int, channel: int) -> int:
        """Whose a part is."""
        return row * self.channels + channel if self.whole is None else self.whole


ALONE = Grid(1, 1)


def rows_read(op: Op, x: Tensor, y0: int, y1: int) -> tuple[int, int]:
    """Rows of an operand that rows ``y0 … y1 - 1`` of an operator's result read."""
    if not isinstance(op, Conv | Pool) or op.x is not x:
        return y0, y1
    h, top, step = x.nchw[2], op.pad[0], op.stride[0]
    reach = (op.kernel[0] - 1) * op.dilation[0] + 1
    low = min(max(0, y0 * step - top), h - 1)
    return low, max(low + 1, min(h, (y1 - 1) * step - top + reach))


def portions(parts: int, low: int, high: int) -> list[tuple[int, int, int]]:
    """A range in parts ``(number, low, high)``, those that have something."""
    ends = [low + (high - low) * k // parts for k in range(parts + 1)]
    return [(k, a, b) for k, (a, b) in enumerate(zip(ends, ends[1:])) if a < b]


class Sharing:
    """How ``ranks`` share the operators of a graph.

    Parameters
    ----------
    graph : Graph
    lanes : int
        Bytes of a word.
    ranks : int
    maps : int
        Pixels up to which a map is shared by channels instead of rows.
    planned : dict of Grid
        Of operators, by their results, which are shared another way.
    slabs : bool
        Whether tensors may be slabs.
    """

    def __init__(self, graph: Graph, lanes: int, ranks: int, maps: int,
                 planned: Mapping[Tensor, Grid], slabs: bool):
        self.ranks, self._lanes, self._maps, self._planned = ranks, lanes, maps, planned
        self._makers = {op.y: op for op in graph.ops}
        self._readers: defaultdict[Tensor, list[Op]] = defaultdict(list)
        for op in graph.ops:
            for x in op.inputs:
                self._readers[x].append(op)
        self._alike = self._of_one_pitch(graph.ops)
        self.part = cache(self._part if slabs and ranks > 1 else lambda t: None)

    # -- operators ------------------------------------------------------------------------------

    def grid(self, op: Op, rows: int) -> Grid:
        """How the ranks share so many rows of an operator's result: always in the same way what
        touches a slab."""
        return self._grid(op, op.y.nchw[2] if self._slabs(op) else rows)

    def _slabs(self, op: Op, *more: Tensor) -> bool:
        return any(self.part(t) for t in (*op.inputs, op.y, *more))

    def _grid(self, op: Op, rows: int) -> Grid:
        _, _, h, w = op.y.nchw
        blocks = 1 if isinstance(op, Rows) else op.y.blocks(self._lanes)
        planned = self._planned.get(op.y)
        if planned and planned.whole is not None:
            return planned
        if self.ranks == 1 or max(h, blocks) == 1:
            return ALONE
        if planned and rows >= planned.rows and planned.channels <= (
                rows // planned.rows if isinstance(op, Rows) else blocks):
            return planned
        if blocks >= self.ranks and (h * w <= self._maps or rows < FEW_ROWS * self.ranks) or (
                blocks > rows and rows < self.ranks):
            return Grid(1, self.ranks)
        return Grid(self.ranks, 1)

    def rows(self, op: Op, grid: Grid, y0: int, y1: int, *more: Tensor
             ) -> list[tuple[int, int, int]]:
        """Rows of an operator's result in parts, as :func:`portions`; ``more``: other tensors that
        it touches. Unless one of these is a slab, the larger parts of boxes of equal rows are those
        of one after another, and so are boxes that have fewer rows than there are parts."""
        if self._slabs(op, *more):
            return [(k, max(a, y0), min(b, y1)) for k, a, b in portions(grid.rows, 0, op.y.nchw[2])
                    if max(a, y0) < min(b, y1)]
        turn = y0 // (y1 - y0)
        if y1 - y0 < grid.rows:
            return [(turn % grid.rows, y0, y1)]
        return [((k + turn) % grid.rows, a, b) for k, a, b in portions(grid.rows, y0, y1)]

    def halves(self, op: Op, y0: int, y1: int) -> list[tuple[int, int]]:
        """Rows of an operator's result in two steps, in each of which all parts have some: what
        is behind the operator goes on with those of the first one while the second is made. Every
        other part begins with its last rows: those at equal distances from the first rows of
        their parts may all be in one channel of the memory."""
        parts = [(y0, y1)]
        if self._slabs(op):
            parts = [(a, b) for _, a, b in self.rows(op, self.grid(op, y1 - y0), y0, y1)]
        found = [portions(2, a, b)[::-1 if k % 2 else 1] for k, (a, b) in enumerate(parts)]
        return [half[k][1:] for k in (0, 1) for half in found if k < len(half)]

    # -- tensors --------------------------------------------------------------------------------

    def _part(self, t: Tensor) -> tuple[tuple[int, ...], int] | None:
        """The first row of a tensor that each rank has, and the rows of the largest part; None if
        it is no slab."""
        alike = self._alike.get(t, [t])
        if len({x.size for x in alike}) > 1 or not all(self._by_rows(x) for x in alike):
            return None
        ranges = [[rows_read(op, t, *self._mine(op, rank)) for op in self._readers[t]]
                  for rank in range(self.ranks)]
        if t in self._makers:
            for rank, found in enumerate(ranges):
                found.append(self._mine(self._makers[t], rank))
        first = tuple(min(a for a, _ in found) for found in ranges)
        most = max(max(b for _, b in found) - low for found, low in zip(ranges, first))
        return (first, most) if most < t.nchw[2] else None

    def _mine(self, op: Op, rank: int) -> tuple[int, int]:
        """Rows of an operator's result that a rank makes."""
        grid, height = self._grid(op, op.y.nchw[2]), op.y.nchw[2]
        _, a, b = portions(grid.rows, 0, height)[rank // grid.channels]
        return a, b

    def _by_rows(self, t: Tensor) -> bool:
        """Whether all that touches a tensor is shared by rows."""
        maker = self._makers.get(t)
        touch = [*self._readers[t], *([maker] if maker else [])]
        if isinstance(maker, Pool) and maker.kernel == (1, 1) and maker.x in self._makers:
            touch.append(self._makers[maker.x])     # which may make what the function makes of it
        return t.nchw[0] == 1 and bool(touch) and all(map(self._shares, touch))

    def _shares(self, op: Op) -> bool:
        rows = op.y.nchw[2]
        if not 1 < self._grid(op, rows).rows <= rows or any(x.parent for x in (op.y, *op.inputs)):
            return False
        if isinstance(op, Conv):
            return op.matrix is None and op.x.parent is None and len(addends(op.weight)) == 1
        if isinstance(op, Rows):
            return op.groups == 1
        return isinstance(op, Pool) or isinstance(op, Add) and op.a.nchw == op.b.nchw

    @staticmethod
    def _of_one_pitch(ops: Iterable[Op]) -> dict[Tensor, list[Tensor]]:
        """Of each tensor those that have its row pitch: a convolution walks its result and what it
        adds to it with the same steps."""
        found: dict[Tensor, list[Tensor]] = {}
        made = {op.x: op.y for op in ops if isinstance(op, Pool) and op.kernel == (1, 1)}
        for op in ops:
            if isinstance(op, Conv) and op.residual:
                alike = [op.residual.x, op.y, *([made[op.y]] if op.y in made else [])]
                group = list(dict.fromkeys(t for one in alike for t in found.get(one, [one])))
                for t in group:
                    found[t] = group
        return found
