# SPDX-License-Identifier: Apache-2.0
"""Softmax and normalization over the channels of each pixel, as VECTOR instructions, box by box of
the map. What belongs to a pixel alone, its largest channel for instance, is a word with the number
in every element, from the engine's ``fold``::

    softmax           m = max(x)            norm    m = sum(x) / C      (if it is centered)
                      y = exp(x - m)                y = x - m
                      t = sum(y)                    s = y * y
                      r = 1 / t                     t = sum(s) / C
                      y = y * r                     r = 1 / sqrt(t + epsilon)
                                                    y = y * r

``t`` is in binary32, the others in the type of the network; squares in BF16 where the machine has
it, whose range is that of binary32.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from compiler.emit.boxes import boxes, fetch, output, room, words
from compiler.emit.conv_instructions import bits
from compiler.emit.schedule import Schedule
from compiler.ir.errors import CompileError
from compiler.ir.floats import SUM_ANCHOR, bounds
from compiler.ir.graph import DTYPE, INF, Clip, Rows, Tensor
from compiler.machine.constants import Stream
from compiler.machine.place import Box, View
from compiler.machine.spm import ALIGN
from compiler.machine.steps import SPM
from isa.instructions import VECTOR_FIELDS, DType, Opcode, VectorOp

SQUARES_ANCHOR = -24
"""Exponent of the lowest bit of a sum of squares in BF16, which may be up to 2^24 each."""

TAPS = {f.name: (1 << f.width) - 1 for f in VECTOR_FIELDS}["nr"]
"""Most rows of a window."""


def emit_rows(s: Schedule, op: Rows) -> None:
    """Append the instructions.

    Raises
    ------
    CompileError
        If not even a pixel fits.
    """
    s.bring(op.x)
    s.settle(op.y)
    blocks, (_, _, h, w) = op.y.blocks(s.lanes), op.y.nchw

    def need(_: int, rows: int, columns: int) -> int:
        boxes = sum(s.resident(t) is None for t in (op.x, op.y)) + op.norm / op.groups
        return round(rows * columns * (blocks * boxes + 2)) + 5 * ALIGN

    size = room(s, op, need)
    epsilon = _epsilon(s, op, need(*size)) if op.norm else 0
    for area in boxes(blocks, h, w, 1, (blocks, *size[1:])):
        rest = words(s, op.y, area)
        own = _room(s, op, area, rest + words(s, op.x, area))
        x, release = fetch(s, op.x, area, rest)
        out, done = output(s, op.y, area)
        box = _Box(s, op, area, x, out, own, epsilon)
        for group in range(op.groups):
            box.emit(group)
        s.spm.release(own)
        if done is not None:
            s.store_box(op.y, out)
            s.spm.release(done)
        if release is not None:
            s.spm.release(release)
    if op.norm:
        s.spm.release(epsilon)


def _room(s: Schedule, op: Rows, area: Box, then: int) -> int:
    """The address of two numbers of each pixel of a box, and of squares of a group's channels."""
    pixels = (area.y1 - area.y0) * (area.x1 - area.x0)
    at = s.spm.rotating(pixels * (2 + op.norm * op.y.blocks(s.lanes) // op.groups), then)
    assert at is not None, "the box fits"
    return at


def _epsilon(s: Schedule, op: Rows, then: int) -> int:
    """The address of a word of it, in binary32."""
    data = np.full(s.lanes // 4, op.epsilon, "<f4").tobytes()
    at = s.spm.rotating(1, then)
    assert at is not None, "the box fits"
    s.load_weights(s.streams.setdefault(("word", data), Stream(1, partial(bytes, data))), at)
    return at


class _Box:
    """The instructions of a box of pixels; ``own``: where :func:`_room` is."""

    def __init__(self, s: Schedule, op: Rows, area: Box, x: View, y: View, own: int, epsilon: int):
        self.s, self.op, self.area, self.x, self.y, self.epsilon = s, op, area, x, y, epsilon
        self.columns, self.rows = area.x1 - area.x0, area.y1 - area.y0
        self.blocks = op.y.blocks(s.lanes) // op.groups
        pixels = self.columns * self.rows
        self.number, self.total, self.squares = (
            View(own + k * pixels, self.columns, pixels, pixels, replace(area, b0=0))
            for k in range(3))
        self.type = DTYPE[op.x.dtype]
        self.square = DType.BF16 if "bf16" in s.config.dtypes else self.type

    def emit(self, group: int) -> None:
        """The instructions of a group of channels."""
        op, low = self.op, group * self.blocks
        x, y = (self.x, low), (self.y, low)
        if op.norm:
            squares, source = (self.squares, 0), x
            if op.centered:
                self._over(VectorOp.SUM, x, self.number, self.type, 1 / op.depth)
                self._each(VectorOp.ADD, x, (self.number, None), y, scale_b=bits(np.float32(-1)))
                source = y
            self._each(VectorOp.MUL, source, source, squares, o_type=self.square)
            self._over(VectorOp.SUM, squares, self.total, DType.FP32, 1 / op.depth,
                       a_type=self.square, anchor=SQUARES_ANCHOR)
            self._numbers(VectorOp.RSQRT, plus=1, b_base=self.epsilon, b_x=0, b_y=0,
                          b_type=DType.FP32)
            self._each(VectorOp.MUL, source, (self.number, None), y)
            return
        scale = op.scale
        self._over(VectorOp.MAX, x, self.number, self.type)
        self._each(VectorOp.EXP, x, (self.number, None), y, plus=1, scale_a=bits(scale),
                   scale_b=bits(np.float32(-scale)))
        self._over(VectorOp.SUM, y, self.total, DType.FP32)
        self._numbers(VectorOp.RECIPROCAL)
        self._each(VectorOp.MUL, y, (self.number, None), y)

    def _over(self, vop: VectorOp, a: tuple[View, int], out: View, o_type: DType,
              scale: float = 1.0, **fields: int) -> None:
        """A maximum or sum over the channels of each pixel."""
        high = next(n for n in range(min(self.blocks, TAPS), 0, -1) if self.blocks % n == 0)
        if self.blocks // high > TAPS:
            raise CompileError(self.s.graph.where(self.op.node),
                               f"{self.op.depth} channels are too many for a pixel's sum",
                               "use fewer, or a product of small numbers")
        view, columns = a[0], self.blocks // high
        self._vector(vop, a, self.blocks, (out, 0), 1, {
            "ncb": 1, "nr": high, "ns": columns, "a_r": view.block, "a_s": high * view.block,
            "fold": 1, "o_type": o_type, "scale_a": bits(np.float32(scale)), **fields})

    def _each(self, vop: VectorOp, a: tuple[View, int], b: tuple[View, int | None],
              out: tuple[View, int], **fields: int) -> None:
        """An operation on every channel; ``b`` without a block is a number of each pixel."""
        view, low = b
        base = view.at(0, low or 0, self.area.y0, self.area.x0)
        reads = self._words(view, low or 0, self.blocks if low is not None else 1)
        self._vector(vop, a, self.blocks, out, self.blocks, {
            "ncb": self.blocks, "b_base": base, "b_x": 1, "b_y": view.row,
            "b_cb": view.block if low is not None else 0, "b_type": self.type, **fields}, reads)

    def _numbers(self, vop: VectorOp, **fields: int) -> None:
        """A function of each pixel's total: its word is read twice for one of the result."""
        reads = [(SPM, self.epsilon, self.epsilon + 1)] if self.op.norm else []
        self._vector(vop, (self.total, 0), 1, (self.number, 0), 1, {
            "ncb": 2, "a_cb": 0, "a_type": DType.FP32, **fields}, reads)

    def _vector(self, vop: VectorOp, a: tuple[View, int], a_blocks: int, out: tuple[View, int],
                o_blocks: int, fields: dict[str, int], reads: list | None = None) -> None:
        (view, low), (target, first) = a, out
        area, one = self.area, bits(np.float32(1))
        f = {"vop": int(vop), "nx": self.columns, "ny": self.rows, "ns": 1, "nr": 1,
             "a_base": view.at(0, low, area.y0, area.x0), "a_x": 1, "a_cb": view.block,
             "a_y": view.row, "ix_x": 1, "iy_y": 1, "iw": self.columns, "ih": self.rows,
             "o_base": target.at(0, first, area.y0, area.x0), "o_x": 1, "o_cb": target.block,
             "o_y": target.row, "scale_a": one, "scale_b": one, "a_type": self.type,
             "anchor": SUM_ANCHOR if self.type == DType.BF16 else 0,
             **bounds(Tensor("", (1, 1, 1, 1), self.op.x.dtype),
                      Clip(0, -INF, INF), ("z", "lo", "hi")), **fields}
        self.s.emit(Opcode.VECTOR, f, self._words(view, low, a_blocks) + (reads or []),
                    self._words(target, first, o_blocks))

    def _words(self, view: View, low: int, count: int) -> list[tuple[int, int, int]]:
        a = self.area
        return view.extents(Box(0, 1, low, low + count, a.y0, a.y1, a.x0, a.x1))
