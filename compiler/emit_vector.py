# SPDX-License-Identifier: Apache-2.0
"""VECTOR instructions for pools, requantizations and additions."""

from collections.abc import Iterator

from compiler.emit_conv import bits
from compiler.ir import Add, Part, Pool, Tensor
from compiler.place import Box, View
from compiler.schedule import Schedule
from compiler.spm import ALIGN
from compiler.shape import clamp
from isa.instructions import Opcode, VectorOp


WHOLE_MAP = 32
"""Taps from which on a global pool takes an instruction for each channel block."""


def _halvings(*sizes: int) -> Iterator[tuple[int, ...]]:
    """``sizes`` and what is left when the first, then the next … is halved down to one."""
    now = list(sizes)
    yield tuple(now)
    for i in range(len(now)):
        while now[i] > 1:
            now[i] = -(-now[i] // 2)
            yield tuple(now)


def _room(s: Schedule, op: Pool | Add, need) -> tuple[int, ...]:
    """Blocks, rows and columns of a tile that fits, after evicting what must go."""
    blocks = -(-op.y.nchw[1] // s.lanes)
    while True:
        for size in _halvings(blocks, op.y.nchw[2], op.y.nchw[3]):
            if need(*size) + 32 <= s.spm.largest or need(*size) == 0:
                return size
        if s.resident(op.y):
            s.give_up(op.y)
        elif (other := s.evictable(op.inputs)) is not None:
            s.evict(other)
        elif (mine := s.evictable([])) is not None:
            s.evict(mine)
        else:
            raise s.too_small(op.node)


def _words(s: Schedule, t: Tensor, area: Box) -> int:
    """Words to allocate for ``area`` of a tensor, rounding included: none if it is resident."""
    if s.resident(t) is not None:
        return 0
    return ((area.x1 - area.x0) * (area.y1 - area.y0) * (area.b1 - area.b0)) + ALIGN


def _fetch(s: Schedule, t: Tensor, area: Box, then: int) -> tuple[View, int | None]:
    """A view with ``area`` of a tensor, and what to release; ``then`` words are still to come."""
    view = s.resident(t)
    if view is not None:
        return view, None
    view, at = _new(s, area, then)
    s.load_box(t, view)
    return view, at


def _new(s: Schedule, area: Box, then: int) -> tuple[View, int]:
    row = area.x1 - area.x0
    block = row * (area.y1 - area.y0)
    at = s.spm.rotating(block * (area.b1 - area.b0), then)
    assert at is not None, "the tile fits"
    return View(at, row, block, block * (area.b1 - area.b0), area), at


def _boxes(blocks: int, height: int, width: int, n: int, size: tuple[int, ...]) -> Iterator[Box]:
    for i in range(n):
        for b in range(0, blocks, size[0]):
            for y in range(0, height, size[1]):
                for x in range(0, width, size[2]):
                    yield Box(i, i + 1, b, min(b + size[0], blocks), y, min(y + size[1], height),
                              x, min(x + size[2], width))


def _output(s: Schedule, op: Pool | Add, area: Box) -> tuple[View, int | None]:
    view = s.resident(op.y)
    return (view, None) if view is not None else _new(s, area, 0)


def _out_fields(op: Pool | Add, out: View, area: Box) -> dict[str, int]:
    return {"nx": area.x1 - area.x0, "ny": area.y1 - area.y0, "ncb": area.b1 - area.b0,
            "o_base": out.at(area.n0, area.b0, area.y0, area.x0), "o_x": 1, "o_cb": out.block,
            "o_y": out.row, "z": op.clip.z, "lo": op.clip.lo, "hi": op.clip.hi}


def emit_pool(s: Schedule, op: Pool) -> None:
    """Append the instructions of a pool.

    Raises
    ------
    CompileError
        If not even the smallest tile fits.
    """
    s.bring(op.x)
    s.settle(op.y)
    (kr, ks), (sy, sx), (dy, dx) = op.kernel, op.stride, op.dilation
    n, _, h, w = op.x.nchw

    def need(blocks: int, rows: int, columns: int) -> int:
        inside = (min(h, (rows - 1) * sy + (kr - 1) * dy + 1)
                  * min(w, (columns - 1) * sx + (ks - 1) * dx + 1))
        return blocks * ((0 if s.resident(op.x) else inside + 8)
                         + (0 if s.resident(op.y) else rows * columns + 8))

    size = _room(s, op, need)
    blocks = -(-op.y.nchw[1] // s.lanes)
    for area in _boxes(blocks, op.y.nchw[2], op.y.nchw[3], n, size):
        ya, yb = clamp(area.y0 * sy - op.pad[0],
                       (area.y1 - 1) * sy - op.pad[0] + (kr - 1) * dy + 1, h)
        xa, xb = clamp(area.x0 * sx - op.pad[1],
                       (area.x1 - 1) * sx - op.pad[1] + (ks - 1) * dx + 1, w)
        source = Box(area.n0, area.n1, area.b0, area.b1, ya, yb, xa, xb)
        x, release = _fetch(s, op.x, source, _words(s, op.y, area))
        out, done = _output(s, op, area)
        for piece in _pieces(op, area):
            for part in op.parts:
                _pool_part(s, op, part, piece, x, out)
        if done is not None:
            s.store_box(op.y, out)
            s.spm.release(done)
        if release is not None:
            s.spm.release(release)


def _pieces(op: Pool, area: Box) -> list[Box]:
    """A pool of whole maps goes block by block: the producer finishes them one after another."""
    if op.y.nchw[2:] != (1, 1) or op.kernel[0] * op.kernel[1] < WHOLE_MAP:
        return [area]
    return [Box(area.n0, area.n1, b, b + 1, area.y0, area.y1, area.x0, area.x1)
            for b in range(area.b0, area.b1)]


def _pool_part(s: Schedule, op: Pool, part: Part, area: Box, x: View, out: View) -> None:
    y0, y1 = max(area.y0, part.y0), min(area.y1, part.y1)
    x0, x1 = max(area.x0, part.x0), min(area.x1, part.x1)
    if y0 >= y1 or x0 >= x1:
        return
    (kr, ks), (sy, sx), (dy, dx) = op.kernel, op.stride, op.dilation
    mine = Box(area.n0, area.n1, area.b0, area.b1, y0, y1, x0, x1)
    iy, ix = y0 * sy - op.pad[0], x0 * sx - op.pad[1]
    f = {"vop": int(VectorOp.MAX if op.maximum else VectorOp.SUM), "ns": ks, "nr": kr,
         "a_base": x.at(area.n0, area.b0, iy, ix), "a_x": sx, "a_s": dx, "a_cb": x.block,
         "a_y": sy * x.row, "a_r": dy * x.row, "ix0": ix, "ix_x": sx, "ix_s": dx, "iy0": iy,
         "iy_y": sy, "iy_r": dy, "iw": op.x.nchw[3], "ih": op.x.nchw[2],
         "a_signed": int(op.x.dtype == "int8"), "a_zp": op.a_zp, "scale_a": bits(part.scale),
         "scale_b": bits(part.scale), **_out_fields(op, out, mine)}
    ya, yb = clamp(iy, (y1 - 1) * sy - op.pad[0] + (kr - 1) * dy + 1, op.x.nchw[2])
    xa, xb = clamp(ix, (x1 - 1) * sx - op.pad[1] + (ks - 1) * dx + 1, op.x.nchw[3])
    s.emit(Opcode.VECTOR, f,
           x.extents(Box(area.n0, area.n1, area.b0, area.b1, ya, yb, xa, xb)), out.extents(mine))


def emit_add(s: Schedule, op: Add) -> None:
    """Append the instructions of an addition.

    Raises
    ------
    CompileError
        If not even the smallest tile fits.
    """
    s.bring(op.a)
    s.bring(op.b)
    s.settle(op.y)
    pixel = op.b.nchw != op.a.nchw

    def need(blocks: int, rows: int, columns: int) -> int:
        each = rows * columns
        return blocks * ((0 if s.resident(op.a) else each + 8)
                         + (0 if s.resident(op.b) else (1 if pixel else each) + 8)
                         + (0 if s.resident(op.y) else each + 8))

    size = _room(s, op, need)
    n, _, h, w = op.y.nchw
    for area in _boxes(-(-op.y.nchw[1] // s.lanes), h, w, n, size):
        small = Box(area.n0, area.n1, area.b0, area.b1, 0, 1, 0, 1) if pixel else area
        rest = _words(s, op.y, area)
        a, release_a = _fetch(s, op.a, area, rest + _words(s, op.b, small))
        b, release_b = _fetch(s, op.b, small, rest)
        out, done = _output(s, op, area)
        f = {"vop": int(VectorOp.ADD), "ns": 1, "nr": 1,
             "a_base": a.at(area.n0, area.b0, area.y0, area.x0), "a_x": 1, "a_cb": a.block,
             "a_y": a.row, "ix_x": 1, "iy_y": 1, "iw": area.x1 - area.x0, "ih": area.y1 - area.y0,
             "b_base": b.at(small.n0, small.b0, small.y0, small.x0), "b_x": 0 if pixel else 1,
             "b_cb": b.block, "b_y": 0 if pixel else b.row,
             "a_signed": int(op.a.dtype == "int8"), "a_zp": op.a_zp,
             "b_signed": int(op.b.dtype == "int8"), "b_zp": op.b_zp,
             "scale_a": bits(op.scale_a), "scale_b": bits(op.scale_b),
             **_out_fields(op, out, area)}
        s.emit(Opcode.VECTOR, f, a.extents(area) + b.extents(small), out.extents(area))
        if done is not None:
            s.store_box(op.y, out)
            s.spm.release(done)
        for at in (release_a, release_b):
            if at is not None:
                s.spm.release(at)
