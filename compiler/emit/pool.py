# SPDX-License-Identifier: Apache-2.0
"""Pools and depthwise convolutions: boxes, and which engine takes them.

The window engine takes what it can and what it is not slower at than the vector engine, which has
no bound on the window but takes two taps a cycle.
"""

from compiler.emit.boxes import (bands, blocks_in, blocks_of, box_of, boxes, channel_blocks, fetch,
                                 output, ratio, room, words)
from compiler.emit.conv_instructions import bits
from compiler.emit.schedule import Schedule
from compiler.emit.window import (Operands, Taps, depthwise_stream, emit_window, load_operands,
                                  pool_stream, split, taps_of, windowed)
from compiler.ir.floats import SUM_ANCHOR, anchor, bounds
from compiler.ir.graph import DTYPE, Conv, Part, Pool
from compiler.machine.loops import clamp
from compiler.machine.place import Box, View
from compiler.machine.timing import vector_cycles
from compiler.machine.weights import Coding
from isa.instructions import Opcode

WHOLE_MAP = 32
"""Taps from which on a global pool takes an instruction for each channel block."""


FRESH = 1500
"""Cycles of an instruction on what comes from DRAM just in front of it, where there are tokens: the
first ones need not wait for the last."""


def _need(s: Schedule, op: Conv | Pool, weights: int, each: int):
    """Words of a box of blocks, rows and columns, for :func:`compiler.emit.boxes.room`."""
    (kr, ks), (sy, sx), (dy, dx) = op.kernel, op.stride, op.dilation
    _, _, h, w = op.x.nchw

    def need(blocks: int, rows: int, columns: int) -> int:
        inside = (min(h, (rows - 1) * sy + (kr - 1) * dy + 1)
                  * min(w, (columns - 1) * sx + (ks - 1) * dx + 1))
        return weights + blocks * (each + sum(
            0 if s.resident(t) else ratio(op, t) * (n + 8)
            for t, n in ((op.x, inside), (op.y, rows * columns))))
    return need


def _source(s: Schedule, op: Conv | Pool, area: Box) -> Box:
    """The input of a box of the operator."""
    (kr, ks), (sy, sx), (dy, dx) = op.kernel, op.stride, op.dilation
    ya, yb = clamp(area.y0 * sy - op.pad[0],
                   (area.y1 - 1) * sy - op.pad[0] + (kr - 1) * dy + 1, op.x.nchw[2])
    xa, xb = clamp(area.x0 * sx - op.pad[1],
                   (area.x1 - 1) * sx - op.pad[1] + (ks - 1) * dx + 1, op.x.nchw[3])
    mine = box_of(s, op, op.x, area)
    return Box(mine.n0, mine.n1, mine.b0, mine.b1, ya, yb, xa, xb)


def split_cycles(s: Schedule, op: Conv | Pool, taps: Taps, area: Box) -> int:
    """Cycles of a box in the window engine."""
    return taps.phases * split(s.config, taps, area.b1 - area.b0, area.y1 - area.y0,
                               -(-(area.x1 - area.x0) // taps.phases),
                               area.x0 * op.stride[1] - op.pad[1], op.x.nchw[3], taps.unit)[1]


def emit_depthwise(s: Schedule, op: Conv) -> None:
    """Append the instructions of a depthwise convolution that the window engine takes.

    Raises
    ------
    CompileError
        If not even the smallest box fits.
    """
    taps = windowed(op, s.config)
    assert taps is not None
    s.bring(op.x)
    s.settle(op.y)
    each = taps.words(s.config)
    size = room(s, op, _need(s, op, 0, each))
    most = _need(s, op, 0, 0)(*size)  # the first box may have fewer rows of input than others
    blocks, operands, loaded = op.y.blocks(s.lanes), None, None
    for area in boxes(blocks, *op.y.nchw[2:], op.y.nchw[0], size):
        source, rest = _source(s, op, area), words(s, op.y, area)
        if loaded != (area.b0, area.b1):
            if operands is not None:
                s.spm.release(operands.at)
            loaded = area.b0, area.b1
            mine = range(area.b0, area.b1)
            operands = load_operands(s, *depthwise_stream(op, taps, s.config, mine), mine, most)
        assert operands is not None
        x, release = fetch(s, op.x, source, rest)
        out, done = output(s, op.y, area)
        least = (area.b1 - area.b0) * each  # each instruction loads the weights

        def pieces(part: Box, least: int = least) -> list[Box]:
            return (blocks_of(part) if s.by_channel(op.y) else
                    bands(s, part, split_cycles(s, op, taps, part), least))
        for band in s.shared(op, area, pieces):
            emit_window(s, op, taps, band, x, out, operands)
        _finish(s, op, out, done, release)
    if operands is not None:
        s.spm.release(operands.at)


def emit_pool(s: Schedule, op: Pool) -> None:
    """Append the instructions of a pool.

    Raises
    ------
    CompileError
        If not even the smallest box fits.
    """
    fresh = s.tokens and s.resident(op.x) is None
    s.bring(op.x)
    s.settle(op.y)
    taps = window_engine(s, op)
    weights = len(op.parts) * taps.words(s.config) + 8 if taps else 0
    need = _need(s, op, weights, 0)
    size = room(s, op, need, op.function is not None and s.follows_blocks(op))
    operands: list[Operands] = []
    if taps is not None:
        for part in op.parts:
            ones = pool_stream(op, taps, s.config, part.scale)
            operands.append(load_operands(s, ones, Coding(True, 0), None, need(*size) - weights))
    for area in boxes(blocks_in(s, op), *op.y.nchw[2:], op.y.nchw[0], size):
        mine = box_of(s, op, op.y, area)
        x, release = fetch(s, op.x, _source(s, op, area), words(s, op.y, mine))
        out, done = output(s, op.y, mine)
        for piece in s.shared(op, area, lambda part: _pieces(s, op, part, fresh) if taps is None
                              else bands(s, part, split_cycles(s, op, taps, part))):
            pool_rows(s, op, taps, piece, x, out, operands)
        _finish(s, op, out, done, release)
    for o in operands:
        s.spm.release(o.at)


def pool_rows(s: Schedule, op: Pool, taps: Taps | None, area: Box, x: View, out: View,
              operands: list[Operands]) -> None:
    """Append the instructions of a box, part by part; ``operands``: the weights of each part, if
    the window engine is to take it."""
    for k, part in enumerate(op.parts):
        mine = _inside(area, part)
        if mine is not None and taps is not None:
            emit_window(s, op, taps, mine, x, out, operands[k])
        elif mine is not None:
            _vector(s, op, part, mine, x, out)


def _finish(s: Schedule, op: Conv | Pool, out: View, done: int | None, release: int | None
            ) -> None:
    if done is not None:
        s.store_box(op.y, out)
        s.spm.release(done)
    if release is not None:
        s.spm.release(release)


def _inside(area: Box, part: Part) -> Box | None:
    """The box's outputs with a part's factor."""
    y0, y1 = max(area.y0, part.y0), min(area.y1, part.y1)
    x0, x1 = max(area.x0, part.x0), min(area.x1, part.x1)
    if y0 >= y1 or x0 >= x1:
        return None
    return Box(area.n0, area.n1, area.b0, area.b1, y0, y1, x0, x1)


def window_engine(s: Schedule, op: Pool) -> Taps | None:
    """How the window engine takes the pool, if it is to."""
    taps = taps_of(op, s.config)
    # sums of BF16 have the same window whatever the machine: the vector engine's
    if taps is None or op.kernel == (1, 1) or op.x.dtype == "bfloat16" and not op.maximum:
        return None
    whole = Box(0, 1, 0, blocks_in(s, op), 0, op.y.nchw[2], 0, op.y.nchw[3])
    return taps if split_cycles(s, op, taps, whole) <= vector_work(s, op, whole) else None


def vector_work(s: Schedule, op: Pool, area: Box) -> int:
    """Cycles of a box in the vector engine."""
    return vector_cycles(s.config, {
        "vop": int(op.vop), "a_type": DTYPE[op.x.dtype],
        "nx": area.x1 - area.x0, "ny": area.y1 - area.y0, "ncb": channel_blocks(s, op, area),
        "nr": op.kernel[0], "ns": op.kernel[1]})


def _pieces(s: Schedule, op: Pool, area: Box, fresh: bool) -> list[Box]:
    """A pool of whole maps goes block by block: the producer finishes them one after another."""
    if op.y.nchw[2:] != (1, 1) or op.kernel[0] * op.kernel[1] < WHOLE_MAP:
        return bands(s, area, vector_work(s, op, area), most=FRESH if fresh else None)
    return blocks_of(area)


def _vector(s: Schedule, op: Pool, part: Part, area: Box, x: View, out: View) -> None:
    (kr, ks), (sy, sx), (dy, dx) = op.kernel, op.stride, op.dilation
    iy, ix = area.y0 * sy - op.pad[0], area.x0 * sx - op.pad[1]
    source, mine = _source(s, op, area), box_of(s, op, op.y, area)
    x, out = x.of(s.rank), out.of(s.rank)
    a_base, a_row = x.origin(source.n0, source.b0, iy, ix)
    o_base, o_row = out.origin(mine.n0, mine.b0, mine.y0, mine.x0)
    f = {"vop": int(op.vop), "ns": ks, "nr": kr,
         "a_base": a_base, "a_row": a_row, "a_wrap": x.wrap, "a_x": sx, "a_s": dx,
         "a_cb": x.block, "a_y": x.step(sy), "a_r": x.step(dy), "ix0": ix, "ix_x": sx, "ix_s": dx,
         "iy0": iy, "iy_y": sy, "iy_r": dy, "iw": op.x.nchw[3], "ih": op.x.nchw[2],
         "a_signed": int(op.x.dtype == "int8"), "a_zp": op.a_zp, "scale_a": bits(part.scale),
         "scale_b": bits(op.factor), "nx": area.x1 - area.x0, "ny": area.y1 - area.y0,
         "ncb": channel_blocks(s, op, area), "o_base": o_base, "o_row": o_row, "o_wrap": out.wrap,
         "o_x": 1, "o_cb": out.block, "o_y": out.step(1), "a_type": DTYPE[op.x.dtype],
         "anchor": anchor(op.x, SUM_ANCHOR), **bounds(op.y, op.clip, ("z", "lo", "hi"))}
    s.emit(Opcode.VECTOR, f, x.extents(source), out.extents(mine))
