# SPDX-License-Identifier: Apache-2.0
"""VECTOR instructions for additions."""

from compiler.emit.boxes import (bands, blocks_in, box_of, boxes, channel_blocks, fetch, output,
                                 ratio, room, words)
from compiler.emit.conv_instructions import bits
from compiler.emit.inplace import overwritten
from compiler.emit.schedule import Schedule
from compiler.ir.floats import bounds
from compiler.ir.graph import DTYPE, Add
from compiler.machine.place import Box, View
from compiler.machine.timing import vector_cycles
from isa.instructions import Opcode, VectorOp


def emit_add(s: Schedule, op: Add) -> None:
    """Append the instructions of an addition.

    Raises
    ------
    CompileError
        If not even the smallest box fits.
    """
    s.bring(op.a)
    s.bring(op.b)
    if not any(s.inherit(x, op.y) for x in overwritten(op)):
        s.settle(op.y)
    pixel = op.b.nchw != op.a.nchw

    def need(blocks: int, rows: int, columns: int) -> int:
        each = rows * columns
        return blocks * sum(0 if s.resident(t) else ratio(op, t) * (n + 8) for t, n in (
            (op.a, each), (op.b, 1 if pixel else each), (op.y, each)))

    size = room(s, op, need, s.follows_blocks(op))
    n, _, h, w = op.y.nchw
    for area in boxes(blocks_in(s, op), h, w, n, size):
        small = box_of(s, op, op.b, _operand(area) if pixel else area)
        mine = box_of(s, op, op.y, area)
        rest = words(s, op.y, mine)
        a, release_a = fetch(s, op.a, box_of(s, op, op.a, area), rest + words(s, op.b, small))
        b, release_b = fetch(s, op.b, small, rest)
        out, done = output(s, op.y, mine)
        for band in s.shared(op, area, lambda part: bands(
                s, part, vector_cycles(s.config, _counts(s, op, part)))):
            add_rows(s, op, band, pixel, a, b, out)
        if done is not None:
            s.store_box(op.y, out)
            s.spm.release(done)
        for at in (release_a, release_b):
            if at is not None:
                s.spm.release(at)


def _operand(area: Box) -> Box:
    """The single pixel that is added to every pixel of a box."""
    return Box(area.n0, area.n1, area.b0, area.b1, 0, 1, 0, 1)


def _counts(s: Schedule, op: Add, area: Box) -> dict[str, int]:
    return {"vop": int(VectorOp.MUL if op.product else VectorOp.ADD),
            "a_type": DTYPE[op.a.dtype], "ns": 1, "nr": 1, "nx": area.x1 - area.x0,
            "ny": area.y1 - area.y0, "ncb": channel_blocks(s, op, area)}


def add_rows(s: Schedule, op: Add, area: Box, pixel: bool, a: View, b: View, out: View) -> None:
    """Append the instruction of a box; ``pixel``: the second operand is one."""
    first, second, mine = (box_of(s, op, t, area) for t in (op.a, op.b, op.y))
    if pixel:
        second = _operand(second)
    a, b, out = (view.of(s.rank) for view in (a, b, out))
    (a_base, a_row), (b_base, b_row), (o_base, o_row) = (
        view.origin(box.n0, box.b0, box.y0, box.x0)
        for view, box in ((a, first), (b, second), (out, mine)))
    f = {**_counts(s, op, area),
         "a_base": a_base, "a_row": a_row, "a_wrap": a.wrap, "a_x": 1, "a_cb": a.block,
         "a_y": a.step(1), "ix_x": 1, "iy_y": 1, "iw": area.x1 - area.x0, "ih": area.y1 - area.y0,
         "b_base": b_base, "b_row": b_row, "b_wrap": b.wrap, "b_x": 0 if pixel else 1,
         "b_cb": b.block, "b_y": 0 if pixel else b.step(1),
         "a_signed": int(op.a.dtype == "int8"), "a_zp": op.a_zp,
         "b_signed": int(op.b.dtype == "int8"), "b_zp": op.b_zp,
         "scale_a": bits(op.scale_a), "scale_b": bits(op.scale_b),
         "o_base": o_base, "o_row": o_row, "o_wrap": out.wrap, "o_x": 1, "o_cb": out.block,
         "o_y": out.step(1), "b_type": DTYPE[op.b.dtype],
         **bounds(op.y, op.clip, ("z", "lo", "hi"))}
    s.emit(Opcode.VECTOR, f, a.extents(first) + b.extents(second), out.extents(mine))
