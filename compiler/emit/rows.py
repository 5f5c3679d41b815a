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

from compiler.emit.boxes import (SEVERAL, bands, blocks_in, box_of, boxes, fetch, output, room,
                                 words)
from compiler.emit.conv_instructions import bits
from compiler.emit.pool import pool_rows
from compiler.emit.schedule import Schedule
from compiler.ir.errors import CompileError
from compiler.ir.floats import SUM_ANCHOR, bounds
from compiler.ir.graph import DTYPE, INF, Clip, Op, Pool, Rows, Tensor
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

GANG_SEVERAL = 2
"""Boxes of a gang that there is room for: each rank has a part of them."""

LOW, ONE = (int(np.float16(v).view(np.uint16)) for v in (-65504, 1))
"""Bounds of results."""

TAPS = {f.name: (1 << f.width) - 1 for f in VECTOR_FIELDS}["nr"]
"""Most rows of a window."""


class RowsEmitter:
    """The instructions of one operator, some rows of the map at a time.

    ``early``: its operand is still being written, and :meth:`rows` is called with rows as soon as
    they are complete. ``copy``: what quantizes the result, which is in the scratchpad then.

    Raises
    ------
    CompileError
        If not even a pixel fits.
    """

    def __init__(self, s: Schedule, op: Rows, early: bool = False, copy: Pool | None = None):
        self.s, self.op, self.early, self.copy, self.source = s, op, early, copy, op.x
        node, s.node = s.node, op.node
        if not early:
            s.bring(op.x)
            begin_integers(s, op, copy)
        if op.y.floating and s.take_over(op.x, op.y, early):
            self.source = op.y
        elif op.y.floating and not early:
            s.settle(op.y)
        self.per = op.x.blocks(s.lanes) // op.groups
        self.size = (op.y.blocks(s.lanes) // op.groups, *room(s, op, self._need)[1:])
        # a gang's goes on while what is before it does
        self.apart = s.ranks > 1 and not early
        self.constants = _Constants.load(s, op, self._need(*self.size), self.apart)
        self.behind: list[tuple[int, int]] = []     # rows that are complete
        self.batch = 0                              # and how many of these there were at once
        s.node = node

    def _need(self, _: int, rows: int, columns: int) -> int:
        s, op, per = self.s, self.op, self.per
        results = [self.source, op.y, *([self.copy.y] if self.copy else [])]
        boxes = sum(t.blocks(s.lanes) // op.groups for t in results if s.resident(t) is None)
        several = SEVERAL if s.ranks == 1 else GANG_SEVERAL
        if PASSES * per * rows * columns <= LEAST:
            several = 1
        constants = sum(c is not None for c in (op.gain, op.shift)) * per + ALIGN
        pixels = rows * columns
        return several * (self._own(pixels) + pixels * boxes + 4 * ALIGN) + constants

    def _own(self, pixels: int) -> int:
        """Words of a box beside operand and result: two numbers of each pixel, and the squares of
        all channels, and what becomes integers in the end, where they may not overwrite the
        operand."""
        op, steps = self.op, not self.op.y.floating and not self._overwrites()
        squares = op.norm and not self._scratch()
        return 2 * pixels + self.per * (squares + steps) * block_pitch(self.s, pixels)

    def _overwrites(self) -> bool:
        """Whether what becomes integers in the end may lie in the place of the operand."""
        return self.s.resident(self.source) is None or self.s.spent(self.op.x)

    def _scratch(self) -> bool:
        """Whether the squares may."""
        return (self.op.centered and self.op.y.floating
                and self.s.resident(self.source) is None)

    def rows(self, low: int, high: int) -> None:
        """Rows ``low … high - 1`` of the map."""
        s, op = self.s, self.op
        node, s.node = s.node, op.node
        for y0, y1 in s.sharing.halves(op, low, high) if s.ranks > 1 else [(low, high)]:
            for box in boxes(blocks_in(s, op), y1 - y0, op.y.nchw[3], 1, self.size):
                self._box(replace(box, y0=box.y0 + y0, y1=box.y1 + y0))
        s.node = node

    def _box(self, area: Box) -> None:
        s, op, copy = self.s, self.op, self.copy
        pixels = (area.y1 - area.y0) * (area.x1 - area.x0)
        given, small = box_of(s, op, op.x, area), self._small(area)
        last = words(s, copy.y, small) if copy else 0
        rest = words(s, op.y, area) + last
        own = s.spm.rotating(self._own(pixels), rest + words(s, self.source, given), self.apart)
        assert own is not None, "the box fits"
        x, release = fetch(s, self.source, given, rest)
        out, done = output(s, op.y, area, last)
        target, end = output(s, copy.y, small) if copy else (None, None)
        # where the result is to be may still be in use when a gang begins
        over = self._overwrites() and (
            not op.y.floating or s.ranks > 1 and not self._scratch())
        steps = x if over else out if op.y.floating else None
        for band in s.shared(op, area, lambda part: bands(
                s, part, PASSES * (part.y1 - part.y0) * (part.x1 - part.x0) * self.per, LEAST)):
            _Box(s, op, band, x, steps, out, own, area, self._scratch(), self.constants).emit()
            if copy and target:
                pool_rows(s, copy, None, self._small(band), out, target, [])
        s.spm.release(own)
        for t, view, at in ((op.y, out, done), (copy and copy.y, target, end)):
            if t and view and at is not None:
                s.store_box(t, view)
                s.spm.release(at)
        if release is not None:
            s.spm.release(release)

    def _small(self, area: Box) -> Box:
        """A box in terms of integers."""
        size = self.op.y.size
        return replace(area, b0=area.b0 // size, b1=-(-area.b1 // size))

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
        for t in integers(self.op, self.copy):
            del self.s.partial[t]
        if self.constants.words:
            self.s.spm.release(self.constants.at)


def emit_rows(s: Schedule, op: Rows, copy: Pool | None = None) -> None:
    """Append the instructions, those of ``copy`` included.

    Raises
    ------
    CompileError
        If not even a pixel fits.
    """
    emitter = RowsEmitter(s, op, copy=copy)
    emitter.rows(0, op.y.nchw[2])
    emitter.finish()


def copy_of(op: Op | None, then: Op | None) -> Pool | None:
    """What is behind softmax or normalization, if it only quantizes that, and each pixel is one
    row."""
    fits = (isinstance(op, Rows) and isinstance(then, Pool) and then.x is op.y and op.groups == 1
            and op.y.floating and not then.y.floating and then.function is None
            and then.kernel == (1, 1) and len(then.parts) == 1)
    return then if fits and isinstance(then, Pool) else None


def integers(op: Rows, copy: Pool | None) -> list[Tensor]:
    """Results that are."""
    return [t for t in (op.y, *([copy.y] if copy else [])) if not t.floating]


def begin_integers(s: Schedule, op: Rows, copy: Pool | None) -> None:
    """Place these, which lie beside the operand, once."""
    for t in integers(op, copy):
        s.begin(t)


def least_words(s: Schedule, op: Rows, here: bool, copy: Pool | None) -> int:
    """Words that one beside the operator takes that makes its operand; ``here``: that stays."""
    boxes = op.norm + 2 * (not here) + any(
        s.resident(t) is None for t in integers(op, copy))
    return op.x.blocks(s.lanes) // op.groups * (2 + boxes * op.y.nchw[3]) + 10 * ALIGN


def block_pitch(s: Schedule, pixels: int) -> int:
    """Words from a channel block to the next where all pixels of a box have words of their own. In
    a gang no two blocks next to one another begin in the same bank: sums read two at a time."""
    return pixels if s.ranks == 1 else pixels | 1


def rows_beside(s: Schedule, op: Rows) -> int:
    """Words of its own that a gang's takes for half of its rows, about."""
    rows = max(b - a for a, b in s.sharing.halves(op, 0, op.y.nchw[2]))
    return rows * op.y.nchw[3] * (2 + op.x.blocks(s.lanes) // op.groups)


def rows_cycles(s: Schedule, op: Rows) -> int:
    """Cycles that it takes, about."""
    return PASSES * op.x.blocks(s.lanes) * op.y.nchw[2] * op.y.nchw[3]


@dataclass(frozen=True)
class _Constants:
    """Words from ``at`` on: gain and shift, one for each channel block, those of them that there
    are; at the end one of epsilon in binary32."""

    at: int
    words: int

    @classmethod
    def load(cls, s: Schedule, op: Rows, then: int, oldest: bool) -> "_Constants":
        """LOADs, if there are any; a hole of ``then`` words with them remains; ``oldest``: where
        words were given back longest ago."""
        if not op.norm:
            return cls(0, 0)
        parts = [c for c in (op.gain, op.shift) if c is not None]
        data = b"".join(c.tobytes() for c in parts) + np.full(
            s.lanes // 4, op.epsilon, "<f4").tobytes()
        count = len(data) // s.lanes
        at = s.spm.rotating(count, then - s.spm.rounded(count), oldest)
        assert at is not None, "the box fits"
        s.load_weights(s.streams.setdefault(("words", data), Stream(count, partial(bytes, data))),
                       at)
        return cls(at, count)


class _Box:
    """The instructions of a box of pixels with the channels of one group, in ``x`` and ``y``, and
    between them in ``steps``, or in words of its own; ``own``: where those of the box ``whole``
    around it are."""

    def __init__(self, s: Schedule, op: Rows, area: Box, x: View, steps: View | None, y: View,
                 own: int, whole: Box, scratch: bool, constants: _Constants):
        self.s, self.op, self.area, self.constants = s, op, area, constants
        self.columns, self.rows = area.x1 - area.x0, area.y1 - area.y0
        given = box_of(s, op, op.x, area)
        self.blocks = given.b1 - given.b0
        row = whole.x1 - whole.x0
        pixels = row * (whole.y1 - whole.y0)
        pitch = block_pitch(s, pixels)
        self.number, self.total, first, second = (
            View(own + at, row, pitch, pitch, replace(whole, b0=0)) for at in (
                0, pixels, 2 * pixels,
                2 * pixels + self.blocks * pitch * (op.norm and not scratch)))
        self.x, self.y = (x.of(s.rank), given.b0), (y.of(s.rank), area.b0)
        self.steps = (second, 0) if steps is None else self.y if steps is y else self.x
        self.squares = self.x if scratch else (first, 0)
        self.type = DTYPE[op.x.dtype]
        self.square = DType.BF16 if "bf16" in s.config.dtypes else self.type

    def emit(self) -> None:
        """All of them."""
        if self.op.norm:
            self._norm()
        else:
            self._softmax()

    def _softmax(self) -> None:
        scale, x, y = self.op.scale, self.x, self.steps
        self._over(VectorOp.MAX, x, self.number, self.type, lo_f=LOW)
        self._each(VectorOp.EXP, x, (self.number, None), y, plus=1, scale_a=bits(scale),
                   scale_b=bits(np.float32(-scale)))
        self._over(VectorOp.SUM, y, self.total, DType.FP32)
        self._numbers(VectorOp.RECIPROCAL, hi_f=ONE)
        self._each(VectorOp.MUL, y, (self.number, None), self.y, **self._last())

    def _norm(self) -> None:
        op, x, squares, source, at = self.op, self.x, self.squares, self.x, self.constants.at
        if op.centered:
            source = self.steps
            self._over(VectorOp.SUM, x, self.number, self.type, 1 / op.depth)
            self._each(VectorOp.ADD, x, (self.number, None), source, scale_b=bits(np.float32(-1)))
        self._each(VectorOp.MUL, source, source, squares, o_type=self.square)
        self._over(VectorOp.SUM, squares, self.total, DType.FP32, 1 / op.depth,
                   a_type=self.square, anchor=SQUARES_ANCHOR)
        self._numbers(VectorOp.RSQRT, plus=1, b_base=at + self.constants.words - 1, b_x=0, b_y=0,
                      b_type=DType.FP32)
        parts = [vop for vop, c in ((VectorOp.MUL, op.gain), (VectorOp.ADD, op.shift))
                 if c is not None]
        end = self.steps if parts else self.y
        self._each(VectorOp.MUL, source, (self.number, None), end,
                   **({} if parts else self._last()))
        for low, high in self._pieces():
            for i, vop in enumerate(parts):
                self._by_channel(vop, at + i * self.blocks, i == len(parts) - 1, low, high)

    def _pieces(self) -> list[tuple[int, int]]:
        """Channel blocks of which gain and shift go by one after the other: a gang's output is
        stored in two parts, the first one while the second is made."""
        whole = self.op.groups > 1 or not self.op.y.floating
        return [(0, self.blocks)] if whole else self.s.output_parts(self.op.y)

    def _last(self) -> dict[str, int]:
        """What differs in the last step: factor and type of the result."""
        return {"scale_a": bits(self.op.factor), **bounds(self.op.y, self.op.clip,
                                                          ("z", "lo", "hi"))}

    def _by_channel(self, vop: VectorOp, at: int, last: bool, low: int, high: int) -> None:
        """An operation of some blocks of the steps' result and words from ``at`` on, one for each
        channel block."""
        fields = self._last() if last else {}
        if last and vop == VectorOp.ADD:
            fields["scale_b"] = fields["scale_a"]
        (view, first), (target, to) = self.steps, self.y if last else self.steps
        count, at = high - low, at + low
        results = self.area.b1 - self.area.b0 if last and count == self.blocks else count
        self._vector(vop, (view, first + low), count, (target, to + low), results, {
            "ncb": count, "b_base": at, "b_x": 0, "b_y": 0, "b_cb": 1, "b_type": self.type,
            **fields}, [(SPM, at, at + count)])

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
        if out is self.y:
            o_blocks = self.area.b1 - self.area.b0
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
