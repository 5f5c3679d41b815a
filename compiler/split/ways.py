# SPDX-License-Identifier: Apache-2.0
"""How each operator is best shared by the ranks of a gang: a dynamic program over the layers.

An operator costs what takes longest of the array, window or vector engine of the rank that has
most, the bus between the cores, and the memory; and some cycles where it waits for other ranks. The
bus carries what a rank reads and another one has made: of the operand all where a rank reads all
channels and has made some, the rows at the edges where it has made the rows that it reads; and some
of the weights that several ranks read. The memory gives weights, and operands and results that are
too large to stay: of those that are shared by rows each rank has a part, of others all. What the
cost of an operator depends on is how it is shared and how those were that made its operands, so the
state is how the last operator was shared, along with what the best way there chose for those before
it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from compiler.emit.boxes import blocks_in
from compiler.emit.pool import split_cycles, vector_work, window_engine
from compiler.emit.rows import PASSES
from compiler.emit.schedule import RESIDENT_SHARE, Schedule
from compiler.emit.sharing import ALONE, Grid
from compiler.emit.window import windowed
from compiler.emit.workers import array_cycles
from compiler.ir.graph import Add, Conv, Op, Pool, Rows, Tensor
from compiler.machine.loops import Shape
from compiler.machine.place import Box

WAITS = 200
"""Cycles that an operator waits for what the last of other ranks has made: its drain, the way over
the bus, and the signal."""

OTHERS = 50
"""Cycles for an operand that is cut into other rows, whose parts go to more ranks and take more
room."""

NOT_HIDDEN, SHORT = 0.3, 10_000
"""Part of the shorter ones that does not hide behind the longest, of up to so many cycles of each:
what is long goes by in many pieces."""

BUSY = 0.7
"""Part of the longest one's time beyond which the others hide no more."""


@dataclass(frozen=True)
class _Way:
    """The best way to some operator: its cost, and how it and those before it are shared."""

    cost: float
    grids: dict[Tensor, Grid]


class Ways:
    """The dynamic program.

    Parameters
    ----------
    s : Schedule
        A fresh one of the graph.
    memory : float
        Bytes a cycle that the memory of all ranks moves.
    fixed : dict of Grid
        How some operators are shared, by their results.
    """

    def __init__(self, s: Schedule, memory: float, fixed: Mapping[Tensor, Grid]):
        self.s, self.config, self.fixed = s, s.config, fixed
        self.bus = s.config.word_bytes / s.config.bus_bytes     # cycles a word
        self.dram = s.config.word_bytes / memory
        self.over = self._living(s.graph.ops)

    @staticmethod
    def _living(ops: Sequence[Op]) -> dict[Op, dict[Tensor, None]]:
        """For each operator what was made before it and is read behind it."""
        last = {x: k for k, op in enumerate(ops) for x in op.inputs}
        return {op: {other.y: None for other in ops[:k] if last.get(other.y, 0) > k}
                for k, op in enumerate(ops)}

    def best(self) -> dict[Tensor, Grid]:
        """How each operator is shared, by its result."""
        ways = {ALONE: _Way(0, {})}
        for op in self.s.graph.ops:
            reached: dict[Grid, _Way] = {}
            for way in ways.values():
                for grid in self._grids(op, way):
                    cost = way.cost + self.cost(op, grid, way.grids)
                    if grid not in reached or cost < reached[grid].cost:
                        reached[grid] = _Way(cost, {**way.grids, op.y: grid})
            ways = reached
        return min(ways.values(), key=lambda way: way.cost).grids

    def _grids(self, op: Op, way: _Way) -> Iterator[Grid]:
        """How an operator may be shared; a function of each element as what it is a function of,
        which may have it made in its place."""
        rows, blocks, n = op.y.nchw[2], self._blocks(op), self.s.ranks
        if op.y in self.fixed:
            yield self.fixed[op.y]
        elif not isinstance(op, Conv | Pool | Add | Rows) or max(rows, blocks) == 1:
            yield ALONE
        elif isinstance(op, Pool) and op.kernel == (1, 1) and way.grids.get(op.x, ALONE) != ALONE:
            yield way.grids[op.x]
        else:
            found = [Grid(r, n // r) for r in range(1, n + 1) if n % r == 0 and r <= rows
                     and n // r <= (rows // r if isinstance(op, Rows) else blocks)]
            yield from found or [Grid(n, 1) if rows > blocks else Grid(1, n)]

    def _blocks(self, op: Op) -> int:
        return 1 if isinstance(op, Rows) else op.y.blocks(self.s.lanes)

    # -- costs ----------------------------------------------------------------------------------

    def cost(self, op: Op, grid: Grid, made: dict[Tensor, Grid]) -> float:
        """Cycles of an operator that is shared so, where others were shared as ``made``."""
        weights = op.weight.size * op.x.size / self.s.lanes if isinstance(op, Conv) else 0
        bus = self.bus * sum(
            self._gathered(op, x, grid, made[x]) for x in op.inputs if x in made)
        dram = (self._spilled(op, grid, made) + self._again(op, grid, made)) * self.dram
        shared = self._brought(weights, grid.rows, bus, dram)
        longest, *shorter = sorted((self._compute(op, grid), *shared), reverse=True)
        seen = sum(NOT_HIDDEN * min(other, SHORT) + max(0, other - BUSY * longest)
                   for other in shorter)
        others = sum(made[x].rows != grid.rows and (
            made[x] if isinstance(op, Rows) else grid).rows > 1 for x in op.inputs if x in made)
        return longest + seen + WAITS * (shared[0] > 0) + OTHERS * others

    def _brought(self, weights: float, ranks: int, bus: float, dram: float
                 ) -> tuple[float, float]:
        """Cycles of the bus and of the memory with weights that several ranks read: some come once
        and go over the bus, each rank reads the others, so that the two take as long."""
        if ranks == 1:
            return bus, dram + weights * self.dram
        each = weights * ranks * self.dram
        longer = weights * (self.bus + (ranks - 1) * self.dram)     # by one that all come once
        once = min(1.0, max(0.0, (dram + each - bus) / longer)) if longer else 0.0
        return (bus + once * weights * self.bus,
                dram + each - once * weights * (ranks - 1) * self.dram)

    def _spilled(self, op: Op, grid: Grid, made: dict[Tensor, Grid]) -> float:
        """Words of operands and result, if these do not fit in the scratchpads together."""
        mine = dict.fromkeys([*op.inputs, op.y])
        held = sum(self._words(t) / min(grid.rows if t in mine else self.s.ranks,
                                        made.get(t, grid).rows) for t in {**mine, **self.over[op]})
        return sum(map(self._words, mine)) * (held > RESIDENT_SHARE * self.config.spm_words)

    def _again(self, op: Op, grid: Grid, made: dict[Tensor, Grid]) -> float:
        """Words of weights that come once more for each part of an operand that is too large to
        stay beside those of two blocks of channels."""
        if not isinstance(op, Conv) or windowed(op, self.config):
            return 0
        weights = op.weight.size * op.x.size / self.s.lanes
        mine = self._words(op.x) / min(grid.rows, made.get(op.x, grid).rows)
        room = RESIDENT_SHARE * self.config.spm_words - 2 * weights / self._blocks(op)
        return weights * (math.ceil(mine / max(1, room)) - 1)

    def _words(self, t: Tensor) -> int:
        return t.nchw[0] * t.blocks(self.s.lanes) * math.prod(t.nchw[2:])

    def _gathered(self, op: Op, x: Tensor, grid: Grid, made: Grid) -> float:
        """Words of an operand that go from rank to rank."""
        words = self._words(x)
        mixes = isinstance(op, Rows) or isinstance(op, Conv) and (
            op.x is x and not windowed(op, self.config))
        if made.rows != grid.rows or mixes and made.channels > 1 or (
                not mixes and made.channels != grid.channels):
            return words * (1 - 1 / made.channels if isinstance(op, Rows) else 1)
        edges = op.kernel[0] - 1 if isinstance(op, Conv | Pool) and op.x is x else 0
        return words * min(1.0, edges * (grid.rows - 1) / x.nchw[2])

    def _compute(self, op: Op, grid: Grid) -> float:
        """Cycles of the engine of the rank that has most."""
        _, _, h, w = op.y.nchw
        if isinstance(op, Rows):
            return -(-h // (grid.rows * grid.channels)) * w * op.y.blocks(self.s.lanes) * PASSES
        rows, blocks = -(-h // grid.rows), -(-self._blocks(op) // grid.channels)
        area = Box(0, 1, 0, blocks, 0, rows, 0, w)
        if isinstance(op, Conv) and (taps := windowed(op, self.config)):
            return split_cycles(self.s, op, taps, area)
        if isinstance(op, Conv):
            shape = Shape(op, self.s.lanes, self.config.tiles, op.x in self.s.dram.packed)
            return shape.images * array_cycles(self.s, shape, shape.out[0], grid)[0]
        if isinstance(op, Pool):
            area = Box(0, 1, 0, -(-blocks_in(self.s, op) // grid.channels), 0, rows, 0, w)
            taps = window_engine(self.s, op)
            return split_cycles(self.s, op, taps, area) if taps else vector_work(self.s, op, area)
        return rows * w * blocks
