# SPDX-License-Identifier: Apache-2.0
"""Boxes of tensors, where they lie, and the DMA between DRAM and scratchpad.

A box is a range of images, channel blocks, rows and columns. In the scratchpad it is a
:class:`View`: word pitches and the address of its first word. In DRAM a tensor lies whole, in
either layout of :mod:`isa.layout`.
"""

from dataclasses import dataclass, replace

import numpy as np

from compiler.ir.graph import Tensor
from compiler.machine.constants import Stream
from isa.config import GRANULE

RUN_LIMIT, LOOP_LIMIT = 65535, 4095
"""Words of a DMA run and repetitions of a level that fit in the instruction's fields."""


@dataclass(frozen=True)
class Box:
    """Half-open ranges of images, channel blocks, rows, columns."""

    n0: int
    n1: int
    b0: int
    b1: int
    y0: int
    y1: int
    x0: int
    x1: int


@dataclass(frozen=True)
class View:
    """A box in the scratchpad: word address of its first word, word pitches.

    With a ``ring`` only so many rows have a place: row ``y`` lies in place ``y % ring``, and a
    new row takes the place of the one ``ring`` rows above. ``exact``: extents are of these words
    alone, whole rows with the words behind them; otherwise of all from the first to the last row.
    Where ``row`` is more than ``block``, the channel blocks of a row follow one another. ``skips``:
    of a slab (:mod:`compiler.machine.slabs`), whose addresses are names, those of each rank; and
    ``skip`` in a rank's own view, whose addresses are its own and whose extents are of names.
    """

    base: int
    row: int
    block: int
    image: int
    box: Box
    ring: int = 0
    exact: bool = False
    skips: tuple[int, ...] = ()
    skip: int = 0

    def of(self, rank: int) -> "View":
        """As a rank has it."""
        if not self.skips:
            return self
        skip = self.skips[rank]
        return replace(self, base=self.base - skip, skips=(), skip=skip)

    def at(self, n: int, b: int, y: int, x: int) -> int:
        """Word address of a pixel, which may lie outside the box."""
        base, row = self.origin(n, b, y, x)
        return base + row

    def origin(self, n: int, b: int, y: int, x: int) -> tuple[int, int]:
        """Base and row position of a pixel, as instructions take them: on a ring the row position
        wraps, without one it is part of the base."""
        o = self.box
        base = self.base + (n - o.n0) * self.image + (b - o.b0) * self.block + (x - o.x0)
        if self.ring:
            return base, y % self.ring * self.row
        return base + (y - o.y0) * self.row, 0

    @property
    def wrap(self) -> int:
        """Words of the circle of rows; 0: rows do not wrap."""
        return self.ring * self.row

    def step(self, rows: int) -> int:
        """Words from a row to one further down, on the circle if there is one."""
        return (rows % self.ring if self.ring else rows) * self.row

    def runs(self, y0: int, y1: int) -> list[tuple[int, int]]:
        """Rows in pieces that lie in the order of their addresses."""
        if not self.ring:
            return [(y0, y1)]
        cuts = [y0, *range(-(-(y0 + 1) // self.ring) * self.ring, y1, self.ring), y1]
        return list(zip(cuts, cuts[1:]))

    def extents(self, box: Box, space: int = -1) -> list[tuple[int, int, int]]:
        """Words that a box inside this one covers, joined where they touch."""
        if self.row > self.block:
            return self._lines(box, space)
        runs, width = self.runs(box.y0, box.y1), box.x1 - box.x0
        if self.exact and (box.x0, box.x1) == (self.box.x0, self.box.x1):
            width = self.row
        elif self.exact:
            runs = [(y, y + 1) for y in range(box.y0, box.y1)]
        first = [(self.at(box.n0, box.b0, y0, box.x0) + self.skip,
                  self.at(box.n0, box.b0, y1 - 1, box.x0) + self.skip + width) for y0, y1 in runs]
        out: list[tuple[int, int, int]] = []
        last = None
        for n in range(box.n1 - box.n0):
            for b in range(box.b1 - box.b0):
                skip = n * self.image + b * self.block
                for start, end in first:
                    if start + skip == last:
                        out[-1] = (space, out[-1][1], end + skip)
                    else:
                        out.append((space, start + skip, end + skip))
                    last = end + skip
        return out

    def _lines(self, box: Box, space: int) -> list[tuple[int, int, int]]:
        """The same where the channel blocks of a row follow one another."""
        o, count = self.box, box.b1 - box.b0
        first = self.at(box.n0, box.b0, box.y0, box.x0) + self.skip
        starts, width = [first + y * self.row for y in range(box.y1 - box.y0)], box.x1 - box.x0
        if (box.x0, box.x1) == (o.x0, o.x1):
            width = (count - 1) * self.block + width
            if (box.b0, box.b1) == (o.b0, o.b1):
                starts, width = starts[:1], len(starts) * self.row
        else:
            starts = [at + b * self.block for at in starts for b in range(count)]
        return [(space, at, at + width) for at in starts]


@dataclass(frozen=True)
class Layout:
    """Words of a whole tensor: row, block, image pitch and size."""

    packed: bool
    blocks: int
    width: int
    row: int
    block: int
    image: int
    words: int

    @classmethod
    def of(cls, tensor: Tensor, lanes: int, packed: bool = False) -> "Layout":
        """The layout of a tensor for words of ``lanes`` bytes."""
        n, _, h, w = tensor.nchw
        blocks = 1 if packed else tensor.blocks(lanes)
        row = -(-w * GRANULE * tensor.size // lanes) if packed else w
        return cls(packed, blocks, row, row, h * row, blocks * h * row, n * blocks * h * row)

    def image_of(self, tensor: Tensor, values: np.ndarray, lanes: int) -> bytes:
        """The bytes of a tensor that is not packed; ``values`` are its elements in NCHW."""
        n, c, h, w = tensor.nchw
        per = lanes // tensor.size
        words = np.zeros((n, self.blocks * per, h, w), values.dtype)
        words[:, :c] = values
        return (words.reshape(n, self.blocks, per, h, w).transpose(0, 1, 3, 4, 2)
                .tobytes())

    def whole(self, tensor: Tensor) -> Box:
        """The box of everything."""
        n, _, h, _ = tensor.nchw
        return Box(0, n, 0, self.blocks, 0, h, 0, self.width)


@dataclass
class Home:
    """A tensor in DRAM: region and byte offset, in a stream that is a constant; words from one
    column, row, channel block and image to the next, those of its layout unless given."""

    region: int
    offset: int
    stream: Stream | None = None
    pitches: tuple[int, int, int, int] | None = None


Loop = tuple[int, int, int]
"""Repetitions, DRAM step and scratchpad step in words."""


def transfers(dims: list[Loop]) -> list[tuple[int, int, list[Loop]]]:
    """Loops of a DMA, inner first, each ``(count, DRAM step in words, scratchpad step in words)``,
    the innermost contiguous, as instructions: ``(DRAM offset, scratchpad offset, four loops)``."""
    merged = [dims[0]]
    for count, dram, spm in dims[1:]:
        inner = merged[-1]
        limit = RUN_LIMIT if len(merged) == 1 else LOOP_LIMIT
        if count == 1:
            continue
        if inner[0] == 1:
            if len(merged) > 1 or (dram, spm) == (1, 1):
                merged[-1] = (count, dram, spm)
                continue
        if (dram, spm) == (inner[0] * inner[1], inner[0] * inner[2]) and inner[0] * count <= limit:
            merged[-1] = (inner[0] * count, inner[1], inner[2])
        else:
            merged.append((count, dram, spm))
    out: list[tuple[int, int, list[Loop]]] = [(0, 0, merged)]
    for level in range(len(merged)):
        limit = RUN_LIMIT if level == 0 else LOOP_LIMIT
        if level > 3:
            limit = 1
        count, dram, spm = merged[level]
        if count > limit:
            out = [(d + i * dram, s + i * spm,
                    [*loops[:level], (min(limit, count - i), dram, spm), *loops[level + 1:]])
                   for d, s, loops in out for i in range(0, count, limit)]
    return [(d, s, (loops + [(1, 0, 0)] * 4)[:4]) for d, s, loops in out]


def covered(run: int, loops: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Words of one side of a transfer: for each outer repetition the runs of the inner loop, or
    their hull where they are close."""
    (count, step), *rest = loops
    if count > 1 and abs(step) > 4 * run:
        found = [(i * step, i * step + run) for i in range(count)]
    else:
        far = (count - 1) * step
        found = [(min(0, far), max(0, far) + run)]
    for n, s in rest:
        found = [(a + i * s, b + i * s) for a, b in found for i in range(n)]
    return found
