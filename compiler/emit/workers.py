# SPDX-License-Identifier: Apache-2.0
"""Operators row by row: what an operator of a chain needs in the scratchpad, which rows of its
inputs a row of its output needs, and its instructions for some rows.

A worker is made when a chain is tried; it allocates nothing until :meth:`Worker.load`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from compiler.emit.add import add_rows
from compiler.emit.boxes import blocks_in
from compiler.emit.conv_instructions import ConvInstructions
from compiler.emit.pool import pool_rows, split_cycles, window_engine
from compiler.emit.rectangles import rectangles
from compiler.emit.schedule import Schedule
from compiler.emit.sharing import Grid, portions, rows_read
from compiler.emit.tiling import KERNEL_MAX
from compiler.emit.window import Operands, depthwise_stream, emit_window, pool_stream, windowed
from compiler.ir.graph import Add, Conv, Op, Pool, Tensor
from compiler.machine.loops import Run, Shape
from compiler.machine.place import Box, View
from compiler.machine.steps import SPM
from compiler.machine.weights import Coding, addends
from isa.config import PARAM_WORDS

Views = dict[Tensor, View]
"""Where each tensor lies, by identity."""


def whole(area: Box) -> list[Box]:
    """A box in one piece."""
    return [area]


class Worker(ABC):
    """One operator.

    Attributes
    ----------
    words : int
        Scratchpad words of its weights.
    """

    words = 0

    def __init__(self, s: Schedule, op: Op):
        self.s, self.op = s, op

    def needs(self, x: Tensor, y0: int, y1: int) -> tuple[int, int]:
        """Rows of ``x`` that output rows ``y0 … y1 - 1`` read."""
        return rows_read(self.op, x, y0, y1)

    def plan(self, rows: int) -> int:
        """Settle how strips of ``rows`` rows are done; returns the cycles of one."""
        return 0

    def load(self, at: int) -> None:
        """LOAD the weights to an allocation of :attr:`words` words, if there are any."""
        assert not self.words

    @abstractmethod
    def rows(self, n: int, y0: int, y1: int, views: Views) -> None:
        """Append the instructions for rows of image ``n``."""


class _Windowed(Worker):
    """An operator with a kernel."""

    op: Conv | Pool

    def area(self, n: int, y0: int, y1: int) -> Box:
        """Rows of the output, all channels."""
        w = self.op.y.nchw[3]
        return Box(n, n + 1, 0, blocks_in(self.s, self.op), y0, y1, 0, w)


def array_cycles(s: Schedule, shape: Shape, rows: int, grid: Grid) -> tuple[int, int]:
    """Cycles of the array for some rows of a convolution, of the rank that has most, and log2 of
    the pixel streams that take fewest."""
    (r, steps), width = shape.kernel, shape.out[1]
    lines, found = -(-rows // grid.rows), []
    for m in range(s.config.tiles.bit_length()):
        found.append((sum(
            -(-(run.last - run.first) // grid.channels)
            * rectangles(s.config, -(-lines // (1 << m)), width, run.ncb * r * steps,
                         s.config.tiles >> m)[1] for run in shape.runs(m)), m))
    return min(found)


class ConvWorker(_Windowed):
    """A convolution on the array: the whole reduction, all output channels."""

    op: Conv

    def __init__(self, s: Schedule, op: Conv):
        super().__init__(s, op)
        self._shape = Shape(op, s.lanes, s.config.tiles, op.x in s.dram.packed)
        self.plan(op.y.nchw[2])

    def plan(self, rows: int) -> int:
        r, steps = self._shape.kernel
        cycles, m_split = array_cycles(self.s, self._shape, rows,
                                       self.s.sharing.grid(self.op, rows))
        self._make = ConvInstructions(self.s, self.op, self._shape, m_split)
        self._chunks = [(run, self._make.gn * (run.last - run.first)
                         * (run.ncb * r * steps * self._shape.tile_words + PARAM_WORDS))
                        for run in self._shape.runs(m_split)]
        self.words = sum(self.s.spm.rounded(words) for _, words in self._chunks)
        return cycles

    def load(self, at: int) -> None:
        self._places = []
        for run, words in self._chunks:
            self._places.append((at, self._make.load(run, at)))
            at += self.s.spm.rounded(words)

    def rows(self, n: int, y0: int, y1: int, views: Views) -> None:
        s, res = self.s, views[self.op.residual.x] if self.op.residual else None
        grid, before = s.sharing.grid(self.op, y1 - y0), s.rank
        for (run, _), (at, extent) in zip(self._chunks, self._places):
            for channel, piece, skip, words in self._pieces(run, grid):
                mine = [(SPM, at + skip, at + skip + words)] if grid.channels > 1 else extent
                for row, a, b in s.sharing.rows(self.op, grid, y0, y1):
                    s.rank = grid.rank(row, channel)
                    self._make.emit(piece, (n, a, b, 0, self.op.y.nchw[3]), views[self.op.x],
                                    views[self.op.y], res, at + skip, mine)
        s.rank = before

    def _pieces(self, run: Run, grid: Grid) -> Iterator[tuple[int, Run, int, int]]:
        """A run in parts of the channels, each with its number, with where its weights start in the
        run's and with how many words they are."""
        each = self._make.words(run) // (run.last - run.first)
        for channel, a, b in portions(grid.channels, run.first, run.last):
            yield channel, run.part(a, b), (a - run.first) * each, (b - a) * each


class DepthwiseWorker(_Windowed):
    """A depthwise convolution on the window engine."""

    op: Conv

    def __init__(self, s: Schedule, op: Conv):
        super().__init__(s, op)
        taps = windowed(op, s.config)
        assert taps is not None
        self._taps = taps
        self.words = op.y.blocks(s.lanes) * taps.words(s.config)

    def plan(self, rows: int) -> int:
        return split_cycles(self.s, self.op, self._taps, self.area(0, 0, rows))

    def load(self, at: int) -> None:
        stream, coding = depthwise_stream(self.op, self._taps, self.s.config,
                                          range(self.op.y.blocks(self.s.lanes)))
        self.s.load_weights(stream, at)
        each = self._taps.words(self.s.config)
        self._operands = Operands(at, 0, each, each, coding)

    def rows(self, n: int, y0: int, y1: int, views: Views) -> None:
        for part in self.s.shared(self.op, self.area(n, y0, y1), whole):
            emit_window(self.s, self.op, self._taps, part, views[self.op.x], views[self.op.y],
                        self._operands)


class PoolWorker(_Windowed):
    """A pool, on the window or the vector engine."""

    op: Pool

    def __init__(self, s: Schedule, op: Pool):
        super().__init__(s, op)
        self._taps = window_engine(s, op)
        if self._taps is not None:
            self._each = s.spm.rounded(self._taps.words(s.config))
            self.words = self._each * len(op.parts)

    def load(self, at: int) -> None:
        self._operands = []
        if self._taps is None:
            return
        for k, part in enumerate(self.op.parts):
            ones = pool_stream(self.op, self._taps, self.s.config, part.scale)
            self.s.load_weights(ones, at + k * self._each)
            self._operands.append(Operands(at + k * self._each, 0, ones.words, 0,
                                           Coding(True, 0)))

    def rows(self, n: int, y0: int, y1: int, views: Views) -> None:
        for part in self.s.shared(self.op, self.area(n, y0, y1), whole):
            pool_rows(self.s, self.op, self._taps, part, views[self.op.x], views[self.op.y],
                      self._operands)


class AddWorker(Worker):
    """An addition of two tensors of one shape."""

    op: Add

    def rows(self, n: int, y0: int, y1: int, views: Views) -> None:
        w = self.op.y.nchw[3]
        area = Box(n, n + 1, 0, blocks_in(self.s, self.op), y0, y1, 0, w)
        for part in self.s.shared(self.op, area, whole):
            add_rows(self.s, self.op, part, False, views[self.op.a], views[self.op.b],
                     views[self.op.y])


def worker(s: Schedule, op: Op) -> Worker | None:
    """The operator's worker, or None if it cannot go row by row."""
    if isinstance(op, Add):
        return AddWorker(s, op) if op.a.nchw == op.b.nchw and not op.a.parent and not op.b.parent \
            else None
    if isinstance(op, Pool):
        return PoolWorker(s, op) if op.y.nchw[2] > 1 else None
    if not isinstance(op, Conv) or op.y.nchw[2] == 1:
        return None
    if windowed(op, s.config):
        return DepthwiseWorker(s, op)
    if op.matrix or op.x.parent or len(addends(op.weight)) > 1 or max(op.kernel) > KERNEL_MAX:
        return None
    return ConvWorker(s, op)
