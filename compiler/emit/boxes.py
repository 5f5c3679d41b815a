# SPDX-License-Identifier: Apache-2.0
"""Boxes of operators that work channel block by channel block: pools, additions, depthwise
convolutions. What is not resident is loaded and stored box by box; a box goes to its engine in
bands of rows, so that the reader of the first band need not wait for the last.

Where an operator's tensors have types of several sizes, the channel blocks of its boxes are those
of the smallest; another tensor has several blocks for each."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from compiler.emit.schedule import Schedule
from compiler.ir.graph import Add, Conv, Pool, Rows, Tensor
from compiler.machine.place import Box, View
from compiler.machine.spm import ALIGN

SEVERAL = 8
"""Boxes that there is room for where they follow those of the operator before."""

SLACK = 32
"""Words that rounding may cost the allocations of a box."""


def _halvings(blocks: int, rows: int, columns: int, by_blocks: bool
              ) -> Iterator[tuple[int, int, int]]:
    """Sizes of boxes, the largest first: rows are halved down to one, then blocks, then columns;
    ``by_blocks``: blocks before rows."""
    now = {"rows": rows, "blocks": blocks, "columns": columns}
    if by_blocks:
        now = {"blocks": blocks, "rows": rows, "columns": columns}
    yield blocks, rows, columns
    for name in now:
        while now[name] > 1:
            now[name] = -(-now[name] // 2)
            yield now["blocks"], now["rows"], now["columns"]


def tensors(op: Conv | Pool | Add | Rows) -> list[Tensor]:
    """What an operator reads and writes."""
    return [*op.inputs, op.y]


def ratio(op: Conv | Pool | Add | Rows, t: Tensor) -> int:
    """Channel blocks of one of the operator's tensors in one of its boxes' blocks."""
    return t.size // min(x.size for x in tensors(op))


def blocks_in(s: Schedule, op: Conv | Pool | Add | Rows) -> int:
    """Channel blocks of the operator's boxes."""
    return min(t.blocks(s.lanes) for t in tensors(op))


def box_of(s: Schedule, op: Conv | Pool | Add | Rows, t: Tensor, area: Box) -> Box:
    """A box of the operator in terms of one of its tensors."""
    k = ratio(op, t)
    return replace(area, b0=area.b0 * k, b1=min(area.b1 * k, t.blocks(s.lanes)))


def channel_blocks(s: Schedule, op: Conv | Pool | Add, area: Box) -> int:
    """Channel blocks of the largest type in a box, as a VECTOR counts them."""
    parts = (box_of(s, op, t, area) for t in tensors(op))
    return max(box.b1 - box.b0 for box in parts)


def room(s: Schedule, op: Conv | Pool | Add | Rows, need: Callable[[int, int, int], int],
         by_blocks: bool = False) -> tuple[int, int, int]:
    """Blocks, rows and columns of a box that fits, after evicting what must go; ``by_blocks``:
    small in channel blocks rather than rows, so that there is room for several."""
    blocks = blocks_in(s, op)
    while True:
        for size in _halvings(blocks, op.y.nchw[2], op.y.nchw[3], by_blocks):
            words = need(*size)
            if words == 0 or (SEVERAL if by_blocks and size[0] > 1 else 1) * words + SLACK <= (
                    s.spm.largest):
                return size
        s.make_room(op.node, op.y, op.inputs)


def words(s: Schedule, t: Tensor, area: Box) -> int:
    """Words to allocate for ``area`` of a tensor, rounding included: none if it is resident."""
    if s.resident(t) is not None:
        return 0
    return ((area.x1 - area.x0) * (area.y1 - area.y0) * (area.b1 - area.b0)) + ALIGN


def fetch(s: Schedule, t: Tensor, area: Box, then: int) -> tuple[View, int | None]:
    """A view with ``area`` of a tensor, and what to release; ``then`` words are still to come."""
    view = s.resident(t)
    if view is not None:
        return view, None
    view, at = _new(s, area, then)
    s.load_box(t, view)
    return view, at


def output(s: Schedule, t: Tensor, area: Box, then: int = 0) -> tuple[View, int | None]:
    """A view for ``area`` of a tensor that is to be written, and what to store and release;
    ``then`` words are still to come."""
    view = s.resident(t)
    return (view, None) if view is not None else _new(s, area, then)


def _new(s: Schedule, area: Box, then: int) -> tuple[View, int]:
    row = area.x1 - area.x0
    block = row * (area.y1 - area.y0)
    at = s.spm.rotating(block * (area.b1 - area.b0), then)
    assert at is not None, "the box fits"
    return View(at, row, block, block * (area.b1 - area.b0), area), at


def boxes(blocks: int, height: int, width: int, n: int, size: tuple[int, ...]) -> Iterator[Box]:
    """All boxes of up to ``size`` blocks, rows and columns; images, then blocks, outermost."""
    for i in range(n):
        for b in range(0, blocks, size[0]):
            for y in range(0, height, size[1]):
                for x in range(0, width, size[2]):
                    yield Box(i, i + 1, b, min(b + size[0], blocks), y, min(y + size[1], height),
                              x, min(x + size[2], width))


def bands(s: Schedule, area: Box, cycles: int, least: int = 1, most: int | None = None
          ) -> list[Box]:
    """A box in bands of rows of about the schedule's grain, or of ``most`` cycles if that is less,
    but no less than ``least``; ``cycles``: what the whole takes."""
    rows = area.y1 - area.y0
    count = max(1, min(s.pieces(cycles, rows, most), cycles // least))
    step = -(-rows // count)
    return [Box(area.n0, area.n1, area.b0, area.b1, y, min(y + step, area.y1), area.x0, area.x1)
            for y in range(area.y0, area.y1, step)]


def blocks_of(area: Box) -> list[Box]:
    """A box channel block by channel block."""
    return [replace(area, b0=b, b1=b + 1) for b in range(area.b0, area.b1)]
