# SPDX-License-Identifier: Apache-2.0
"""A chunk of weights and a box of the map as instructions that complete one after another, so that
a reader can start early, and start themselves before all of their operand is there."""

from compiler.emit.conv_instructions import ConvInstructions, Cut
from compiler.emit.rectangles import bands, rectangles
from compiler.emit.schedule import Schedule
from compiler.emit.turns import Area
from compiler.ir.graph import Conv
from compiler.machine.loops import Run, Shape
from isa.config import PARAM_WORDS

SHORTEST = 100
"""Cycles of a gang's instruction for some output groups, at least: one after another takes a dozen
more."""


class Pieces:
    """Those of one convolution."""

    def __init__(self, s: Schedule, op: Conv, shape: Shape, make: ConvInstructions):
        self.s, self.op, self.shape, self.make = s, op, shape, make
        self.begun: set[int] = set()    # ranks that have instructions

    def instructions(self, chunk: Run, box: Area) -> list[tuple[Run, Area, int]]:
        """Bands of rows, or some output groups at a time in front of a global pool or of what
        reads channel block by channel block. Each with where its weights start in the chunk's."""
        n, y0, y1, x0, x1 = box
        s, make, count = self.s, self.make, chunk.last - chunk.first
        passes, units = make.passes(chunk), -(-(y1 - y0) // make.gm)
        if count > 1 and (s.feeds_global_pool(self.op.y) or s.by_channel(self.op.y)):
            cycles = rectangles(s.config, units, x1 - x0, passes, make.gn)[1]
            size = 1 if s.ranks == 1 else -(-SHORTEST // cycles)
            each = make.gn * (passes * self.shape.tile_words + PARAM_WORDS)
            return [(piece, box, i * size * each) for i, piece in enumerate(chunk.cut(size))]
        size, _ = bands(s.config, units, x1 - x0, passes, make.gn, count, s.grain)
        step = size * make.gm
        return [(chunk, (n, y, min(y + step, y1), x0, x1), 0) for y in range(y0, y1, step)]

    def reductions(self, chunk: Run, box: Area) -> list[Cut | None]:
        """The whole reduction; or its halves, for the first instruction of a rank of a gang whose
        operand comes channel block by channel block: it sums those that are there while the others
        are being made. A core alone has other rows to go on with."""
        s, op, half = self.s, self.op, chunk.ncb // 2
        new = s.rank not in self.begun
        self.begun.add(s.rank)
        if not (new and s.ranks > 1 and half and op.kernel == (1, 1) and not op.narrow
                and chunk.last - chunk.first == 1 and op.matrix is None
                and len(self.make.addends) == 1 and s.by_channel(op.x) and s.is_made(op.x)):
            return [None]
        cuts: list[Cut | None] = [((a, b), (0, 1), (0, 1))
                                  for a, b in ((0, half), (half, chunk.ncb))]
        return cuts if all(self._held(chunk, box, cut) for cut in cuts) else [None]

    def _held(self, chunk: Run, box: Area, cut: Cut | None) -> bool:
        """Whether a PSUM bank holds the sums of a box."""
        _, y0, y1, x0, x1 = box
        rect, _ = rectangles(self.s.config, -(-(y1 - y0) // self.make.gm), x1 - x0,
                             self.make.passes(chunk, cut), self.make.gn)
        return rect.ntx == rect.nty == 1
