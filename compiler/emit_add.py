# SPDX-License-Identifier: Apache-2.0
"""VECTOR instructions for additions."""

from compiler.boxes import bands, boxes, fetch, output, room, words
from compiler.conv_instructions import bits
from compiler.floats import bounds
from compiler.ir import DTYPE, Add
from compiler.place import Box, View
from compiler.schedule import Schedule
from compiler.timing import vector_cycles
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
    s.settle(op.y)
    pixel = op.b.nchw != op.a.nchw

    def need(blocks: int, rows: int, columns: int) -> int:
        each = rows * columns
        return blocks * ((0 if s.resident(op.a) else each + 8)
                         + (0 if s.resident(op.b) else (1 if pixel else each) + 8)
                         + (0 if s.resident(op.y) else each + 8))

    size = room(s, op, need)
    n, _, h, w = op.y.nchw
    for area in boxes(op.y.blocks(s.lanes), h, w, n, size):
        small = _operand(area) if pixel else area
        rest = words(s, op.y, area)
        a, release_a = fetch(s, op.a, area, rest + words(s, op.b, small))
        b, release_b = fetch(s, op.b, small, rest)
        out, done = output(s, op.y, area)
        for band in bands(s, area, vector_cycles(s.config, _counts(op, area))):
            add_rows(s, op, band, _operand(band) if pixel else band, a, b, out)
        if done is not None:
            s.store_box(op.y, out)
            s.spm.release(done)
        for at in (release_a, release_b):
            if at is not None:
                s.spm.release(at)


def _operand(area: Box) -> Box:
    """The single pixel that is added to every pixel of a box."""
    return Box(area.n0, area.n1, area.b0, area.b1, 0, 1, 0, 1)


def _counts(op: Add, area: Box) -> dict[str, int]:
    return {"vop": int(VectorOp.MUL if op.product else VectorOp.ADD),
            "a_type": DTYPE[op.a.dtype], "ns": 1, "nr": 1, "nx": area.x1 - area.x0,
            "ny": area.y1 - area.y0, "ncb": area.b1 - area.b0}


def add_rows(s: Schedule, op: Add, area: Box, small: Box, a: View, b: View, out: View) -> None:
    """Append the instruction of a box; ``small`` is the second operand's."""
    pixel = small is not area
    a_base, a_row = a.origin(area.n0, area.b0, area.y0, area.x0)
    b_base, b_row = b.origin(small.n0, small.b0, small.y0, small.x0)
    o_base, o_row = out.origin(area.n0, area.b0, area.y0, area.x0)
    f = {**_counts(op, area),
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
    s.emit(Opcode.VECTOR, f, a.extents(area) + b.extents(small), out.extents(area))
