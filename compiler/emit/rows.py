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

Of softmax, ``m`` is finite and ``r`` at most 1, which it is unless all scores are minus infinity:
then the results are zeros. ``t`` is in binary32, the others in the type of the network; squares in
BF16 where the machine has it, whose range is that of binary32.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from compiler.emit.boxes import SEVERAL, bands, boxes, fetch, output, room, words
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

PASSES, LEAST = 6, 5000
"""Instructions that go over all words of a box, about; and cycles of the shortest band that is cut
off, since each of these takes a hundred more before the next one may start."""

LOW, ONE = (int(np.float16(v).view(np.uint16)) for v in (-65504, 1))
"""Bounds of results."""

TAPS = {f.name: (1 << f.width) - 1 for f in VECTOR_FIELDS}["nr"]
"""Most rows of a window."""


class RowsEmitter:
    """The instructions of one operator, some rows of the map at a time.

    ``early``: its operand is still being written, and :meth:`rows` is called with rows as soon as
    they are complete.

    Raises
    ------
    CompileError
        If not even a pixel fits.
    """

    def __init__(self, s: Schedule, op: Rows, early: bool = False):
        self.s, self.op, self.early, self.source = s, op, early, op.x
        node, s.node = s.node, op.node
        if not early:
            s.bring(op.x)
        if s.take_over(op.x, op.y, early):
            self.source = op.y
        elif not early:
            s.settle(op.y)
        self.per = op.y.blocks(s.lanes) // op.groups
        self.size = (self.per, *room(s, op, self._need)[1:])
        self.constants = _Constants.load(s, op, self._need(*self.size))
        self.behind: list[tuple[int, int]] = []     # rows that are complete
        self.batch = 0                              # and how many of these there were at once
        s.node = node

    def _need(self, _: int, rows: int, columns: int) -> int:
        s, op, per = self.s, self.op, self.per
        boxes = sum(s.resident(t) is None for t in (self.source, op.y)) * per + self._own()
        several = SEVERAL if PASSES * per * rows * columns > LEAST else 1
        constants = sum(c is not None for c in (op.gain, op.shift)) * per + ALIGN
        return several * (rows * columns * boxes + 4 * ALIGN) + constants

    def _own(self) -> int:
        """Words of a box for each pixel beside operand and result: two numbers, and the squares of
        all channels unless they may overwrite the operand."""
        op = self.op
        scratch = op.centered and self.s.resident(self.source) is None
        return 2 + self.per * (op.norm and not scratch)

    def rows(self, low: int, high: int) -> None:
        """Rows ``low … high - 1`` of the map."""
        s, op = self.s, self.op
        node, s.node = s.node, op.node
        for box in boxes(op.y.blocks(s.lanes), high - low, op.y.nchw[3], 1, self.size):
            self._box(replace(box, y0=box.y0 + low, y1=box.y1 + low))
        s.node = node

    def _box(self, area: Box) -> None:
        s, op = self.s, self.op
        pixels = (area.y1 - area.y0) * (area.x1 - area.x0)
        rest = words(s, op.y, area)
        own = s.spm.rotating(pixels * self._own(), rest + words(s, self.source, area))
        assert own is not None, "the box fits"
        x, release = fetch(s, self.source, area, rest)
        out, done = output(s, op.y, area)
        for band in bands(s, area, PASSES * pixels * self.per, LEAST):
            _Box(s, op, band, x, out, own, area, release is not None and op.centered,
                 self.constants).emit()
        s.spm.release(own)
        if done is not None:
            s.store_box(op.y, out)
            s.spm.release(done)
        if release is not None:
            s.spm.release(release)

    def complete(self, low: int, high: int, held: int) -> None:
        """The operand has these rows now; ``held``: words that are taken before the next call of
        :meth:`catch_up`."""
        self.catch_up(1, False)
        step = self.size[1]
        self.behind = [(y, min(y + step, high)) for y in range(low, high, step)]
        self.batch = len(self.behind)
        if self.s.spm.largest < held + self._need(*self.size):
            self.catch_up(1, False)

    def catch_up(self, share: float, beside: bool = True) -> None:
        """Append what makes the complete rows, up to a share of them; ``beside``: as long as there
        is room. Instructions for other words come between, so that these need not wait for all of
        the rows to go by."""
        while len(self.behind) > (1 - share) * self.batch and not (
                beside and self.s.spm.largest < self._need(*self.size)):
            self.rows(*self.behind.pop(0))

    def finish(self) -> None:
        """Behind the last pixels."""
        self.catch_up(1, False)
        if self.early and self.source is self.op.y:
            del self.s.views[self.op.x]
        if self.constants.words:
            self.s.spm.release(self.constants.at)


def emit_rows(s: Schedule, op: Rows) -> None:
    """Append the instructions.

    Raises
    ------
    CompileError
        If not even a pixel fits.
    """
    emitter = RowsEmitter(s, op)
    emitter.rows(0, op.y.nchw[2])
    emitter.finish()


def least_words(s: Schedule, op: Rows, here: bool) -> int:
    """Words that one beside the operator takes that makes its operand; ``here``: that stays."""
    boxes = op.norm + 2 * (not here)
    return op.y.blocks(s.lanes) // op.groups * (2 + boxes * op.y.nchw[3]) + 10 * ALIGN


def rows_cycles(s: Schedule, op: Rows) -> int:
    """Cycles that it takes, about."""
    return PASSES * op.y.blocks(s.lanes) * op.y.nchw[2] * op.y.nchw[3]


@dataclass(frozen=True)
class _Constants:
    """Words from ``at`` on: gain and shift, one for each channel block, those of them that there
    are; at the end one of epsilon in binary32."""

    at: int
    words: int

    @classmethod
    def load(cls, s: Schedule, op: Rows, then: int) -> "_Constants":
        """LOADs, if there are any; a hole of ``then`` words with them remains."""
        if not op.norm:
            return cls(0, 0)
        parts = [c for c in (op.gain, op.shift) if c is not None]
        data = b"".join(c.tobytes() for c in parts) + np.full(
            s.lanes // 4, op.epsilon, "<f4").tobytes()
        count = len(data) // s.lanes
        at = s.spm.rotating(count, then - s.spm.rounded(count))
        assert at is not None, "the box fits"
        s.load_weights(s.streams.setdefault(("words", data), Stream(count, partial(bytes, data))),
                       at)
        return cls(at, count)


class _Box:
    """The instructions of a box of pixels with the channels of one group, in ``x`` and ``y``;
    ``own``: where :func:`_room` of the box ``whole`` around it is."""

    def __init__(self, s: Schedule, op: Rows, area: Box, x: View, y: View, own: int, whole: Box,
                 scratch: bool, constants: _Constants):
        self.s, self.op, self.area, self.constants = s, op, area, constants
        self.columns, self.rows = area.x1 - area.x0, area.y1 - area.y0
        self.blocks = area.b1 - area.b0
        self.x, self.y = (x, area.b0), (y, area.b0)
        row = whole.x1 - whole.x0
        pixels = row * (whole.y1 - whole.y0)
        self.number, self.total, squares = (
            View(own + k * pixels, row, pixels, pixels, replace(whole, b0=0)) for k in range(3))
        self.squares = self.x if scratch else (squares, 0)
        self.type = DTYPE[op.x.dtype]
        self.square = DType.BF16 if "bf16" in s.config.dtypes else self.type

    def emit(self) -> None:
        """All of them."""
        if self.op.norm:
            self._norm()
        else:
            self._softmax()

    def _softmax(self) -> None:
        scale, x, y = self.op.scale, self.x, self.y
        self._over(VectorOp.MAX, x, self.number, self.type, lo_f=LOW)
        self._each(VectorOp.EXP, x, (self.number, None), y, plus=1, scale_a=bits(scale),
                   scale_b=bits(np.float32(-scale)))
        self._over(VectorOp.SUM, y, self.total, DType.FP32)
        self._numbers(VectorOp.RECIPROCAL, hi_f=ONE)
        self._each(VectorOp.MUL, y, (self.number, None), y)

    def _norm(self) -> None:
        op, x, y = self.op, self.x, self.y
        squares, source, at = self.squares, x, self.constants.at
        if op.centered:
            self._over(VectorOp.SUM, x, self.number, self.type, 1 / op.depth)
            self._each(VectorOp.ADD, x, (self.number, None), y, scale_b=bits(np.float32(-1)))
            source = y
        self._each(VectorOp.MUL, source, source, squares, o_type=self.square)
        self._over(VectorOp.SUM, squares, self.total, DType.FP32, 1 / op.depth,
                   a_type=self.square, anchor=SQUARES_ANCHOR)
        self._numbers(VectorOp.RSQRT, plus=1, b_base=at + self.constants.words - 1, b_x=0, b_y=0,
                      b_type=DType.FP32)
        self._each(VectorOp.MUL, source, (self.number, None), y)
        for values, vop in ((op.gain, VectorOp.MUL), (op.shift, VectorOp.ADD)):
            if values is not None:
                self._by_channel(vop, at)
                at += self.blocks

    def _by_channel(self, vop: VectorOp, at: int) -> None:
        """An operation of the result and words from ``at`` on, one for each channel block."""
        self._vector(vop, self.y, self.blocks, self.y, self.blocks, {
            "ncb": self.blocks, "b_base": at, "b_x": 0, "b_y": 0, "b_cb": 1, "b_type": self.type},
            [(SPM, at, at + self.blocks)])

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
        end = self.constants.at + self.constants.words
        reads = [(SPM, end - 1, end)] if self.op.norm else []
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
