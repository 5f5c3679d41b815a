# SPDX-License-Identifier: Apache-2.0
"""TENSOR instructions for a convolution, with the LOADs and STOREs of its boxes."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

from compiler.emit.choose import choose, lone_slab
from compiler.emit.conv_instructions import ConvInstructions, Cut
from compiler.emit.inplace import overwritten
from compiler.emit.pieces import Pieces
from compiler.emit.pool import pool_rows
from compiler.emit.price import Plan
from compiler.emit.rows import RowsEmitter, begin_integers, rows_beside
from compiler.emit.schedule import Schedule
from compiler.emit.sharing import portions
from compiler.emit.turns import Area, Halves, Turn, turns_of
from compiler.ir.graph import Conv, Op, Pool, Rows
from compiler.machine.loops import Run, Shape
from compiler.machine.place import Box, View
from compiler.machine.steps import SPM
from compiler.machine.timing import dma_cycles

SLACK = 24
"""Words that rounding may cost the allocations of a tile that are still to come."""

PIECE = 2048
"""Words of a LOAD for a box of what comes channel block by channel block: the last block comes just
before the box is needed, the others may come earlier."""


def emit_conv(s: Schedule, op: Conv, then: Pool | Rows | None = None, copy: Pool | None = None
              ) -> bool:
    """Append the instructions of a convolution; and between them, if that is better, those of its
    reader ``then``, a function of each element (:func:`elementwise`) or one of whole pixels,
    whose result ``copy`` quantizes. Returns whether it did.

    Raises
    ------
    CompileError
        If not even the smallest tile fits.
    """
    function = then if isinstance(then, Pool) else None
    rows = then if isinstance(then, Rows) else None
    whole, op = op.x, _sparse(s, op)
    y = function.y if function else op.y
    if y.size == op.y.size:
        op = replace(op, y=y)   # a function overwrites the convolution's result
    shape = Shape(op, s.lanes, s.config.tiles, op.x in s.dram.packed)
    s.bring(op.x)
    if op.residual:
        s.bring(op.residual.x)
    if op.matrix:
        s.in_dram(op.matrix.x.whole)
    if not (op.y is y and any(s.inherit(x, y) for x in overwritten(op))):
        s.settle(y)
    if rows:
        begin_integers(s, rows, copy)
    _agree(s, op)
    while (emitter := _attempt(s, op, shape, rows, copy, function)) is None:
        s.make_room(op.node, y, op.inputs)
        _agree(s, op)
    emitter.run()
    if op.x is not whole:
        s.used(op.x)
    return bool(function or emitter.rows)


def _agree(s: Schedule, op: Conv) -> None:
    """See that a result and what is added to it, if one of them is a slab, are so both."""
    lone = lone_slab(s, op, op.y)
    if lone is not None:
        s.give_up(lone) if lone is op.y else s.evict(lone)


def elementwise(op: Op) -> bool:
    """Whether an operator is a function of each element that fits in the element's place, or makes
    integers of it."""
    return (isinstance(op, Pool) and op.kernel == (1, 1) and op.y.nchw == op.x.nchw
            and op.y.size <= op.x.size and op.y.nchw[0] == 1)


def _sparse(s: Schedule, op: Conv) -> Conv:
    """The same convolution over the rows that it reads, and the columns if these take the bus no
    longer than the others between them: a strided one of 1 x 1 whose input is in DRAM and has no
    other reader, or no room."""
    if op.kernel != (1, 1) or op.stride == (1, 1) or op.pad != (0, 0) or op.x in s.dram.packed:
        return op
    if s.uses[op.x] > 1:
        s.bring(op.x)
    if s.resident(op.x) is not None:
        return op
    (rows, columns), width = op.stride, op.x.nchw[3]
    used = -(-width // columns)
    if dma_cycles(s.config, used, used) > dma_cycles(s.config, width, 1):
        columns = 1
    part = s.dram.every(op.x, rows, columns)
    s.uses[part] = 1
    return replace(op, x=part, stride=(1, op.stride[1] // columns))


def _attempt(s: Schedule, op: Conv, shape: Shape, rows: Rows | None, copy: Pool | None,
             function: Pool | None) -> "_Emitter | None":
    """What emits the cheapest cut that fits; None, and nothing emitted, if none does."""
    y = function.y if function else op.y
    best = choose(s, op, y, shape, rows, copy)
    if best is None:
        return None
    for t in best.gone:
        s.give_up(t) if t is y else s.evict(t)
    if best.plan.weights_outer and s.resident(y) is None:
        s.by_blocks.add(y)
    return _Emitter(s, op, shape, best.plan, RowsEmitter(s, rows, True, copy)
                    if best.beside and rows is not None else None, function)


class _Emitter:
    """One convolution with one plan; ``rows`` that read what it has made, a ``function`` of it."""

    def __init__(self, s: Schedule, op: Conv, shape: Shape, plan: Plan, rows: RowsEmitter | None,
                 function: Pool | None):
        self.s, self.op, self.shape, self.plan, self.rows = s, op, shape, plan, rows
        self.function, self.y = function, function.y if function else op.y
        self.make = ConvInstructions(s, op, shape, plan.cut.m_split)
        self.gn, self.gm = self.make.gn, self.make.gm
        self.left = 0
        self.pieces = Pieces(s, op, shape, self.make)
        # boxes with weights of their own, for two of which there is room, take turns in it
        self.turns = plan.overlaps and not plan.weights_outer and plan.cut.reduction is None
        self.blocks = -(-op.y.nchw[1] // s.lanes)
        self.grid = s.sharing.grid(op, shape.out[0])

    def run(self) -> None:
        """All chunks and boxes, in the plan's order."""
        cut, shape, rank = self.plan.cut, self.shape, self.s.rank
        height, width = shape.out
        boxes = [(n, y, min(y + cut.rows, height), x, min(x + cut.columns, width))
                 for n in range(shape.images) for y in range(0, height, cut.rows)
                 for x in range(0, width, cut.columns)]
        if cut.reduction is not None:
            self._reduced(boxes)
        elif self.plan.weights_outer:
            self._weights_outer(boxes)
        else:
            self._boxes_outer(boxes)
        self.s.rank = rank
        if self.rows is not None:
            self.rows.finish()

    def _reduced(self, boxes: list[Area]) -> None:
        chunks = [c for run in self.shape.runs(self.plan.cut.m_split)
                  for c in run.cut(self.plan.cut.groups)]
        every = list(itertools.product(chunks, boxes))
        whole = self.grid.whole
        for rank, a, b in portions(self.s.ranks if whole is None else 1, 0, len(every)):
            self.s.rank = rank if whole is None else whole
            for chunk, box in every[a:b]:
                self._reduce(chunk, box)

    def _weights_outer(self, boxes: list[Area]) -> None:
        turns = self._turns()
        halves = Halves(self.s, self.op, len(turns), self.plan.compute)
        at = 0
        while at < len(turns):
            places, rows = self._next_places(turns[at:], halves, at == 0)
            self._round(turns[at:at + len(places)], places,
                        halves.areas(rows, boxes) if rows else boxes)
            at += len(places)

    def _turns(self) -> list[Turn]:
        return turns_of(self.shape.runs(self.plan.cut.m_split), self.plan.cut.groups,
                        self.grid.channels)

    def _next_places(self, turns: list[Turn], halves: Halves, begin: bool
                     ) -> tuple[list[int], Rows | None]:
        """Places for the weights of the next turns, and for which operator of whole pixels the map
        goes by these half by half, if for any."""
        if begin and halves.front:
            return self._places(turns[:halves.first], 0), halves.front
        if halves.behind and len(turns) <= halves.last:
            places = self._places(turns, rows_beside(self.s, halves.behind))
            if len(places) == len(turns):
                return places, halves.behind
            for at in places:
                self.s.spm.release(at)
        return self._places(turns[:1], 0), None

    def _places(self, turns: list[Turn], rest: int) -> list[int]:
        """Places for the weights of turns, of as many as there is room for; ``rest``: words that
        stay free besides those for boxes. Of several turns that of another one stays free: the one
        in front has its place still."""
        self.left = self.plan.tile_words + self.plan.weight_words
        found = [self._place_weights(turns[0])]
        for turn in turns[1:]:
            words = self._weight_words(turn)
            at = self.s.spm.rotating(words, words + self.left + SLACK)
            if at is not None and self.s.spm.available < rest:
                self.s.spm.release(at)
                at = None
            if at is None:
                break
            found.append(at)
        return found

    def _round(self, turns: list[Turn], places: list[int], areas: list[Area]) -> None:
        """Turns with their weights in their places, and the boxes that go by them, for one part of
        the channels after the other."""
        for part in dict(turns[0]):
            mine = [(chunk, at) for turn, at in zip(turns, places)
                    for k, chunk in turn if k == part]
            for chunk, at in mine:
                self.make.load(chunk, at)
            for box in areas:
                for chunk, at in mine:
                    self.left = self.plan.tile_words
                    self._tile(chunk, box, at, None, part)
        for at in places:
            self.s.spm.release(at)

    def _boxes_outer(self, boxes: list[Area]) -> None:
        plan, shape, turns = self.plan, self.shape, self._turns()
        low = min(chunk.blocks[0] for turn in turns for _, chunk in turn)
        high = max(chunk.blocks[1] for turn in turns for _, chunk in turn)
        for box in boxes:
            self.left = plan.tile_words + plan.weight_words
            shared, release = self._input(box, low, high, (0, shape.kernel[0]),
                                          (0, shape.kernel[1]))
            rest = self.left
            for i, turn in enumerate(turns):
                self.left = rest
                at = self._place_weights(turn)
                for part, chunk in turn:
                    self.make.load(chunk, at)
                    self._tile(chunk, box, at, shared, part)
                self.s.spm.release(at)
                if self.rows is not None:
                    self.rows.catch_up((i + 1) / len(turns))
            if release is not None:
                self.s.spm.release(release)
            if self.rows is not None and box[4] == shape.out[1]:
                self.rows.complete(box[1], box[2], plan.tile_words + plan.weight_words)

    # -- boxes ----------------------------------------------------------------------------------

    def _weight_words(self, turn: Turn) -> int:
        return max(self.make.words(chunk) for _, chunk in turn)

    def _place_weights(self, turn: Turn) -> int:
        return self._take(self._weight_words(turn))

    def _load(self, chunk: Run, cut: Cut, params: bool, addend: int) -> tuple[int, list]:
        at = self._take(self.make.words(chunk, cut, params))
        return at, self.make.load(chunk, at, cut, params, addend)

    def _take(self, words: int, oldest: bool = False) -> int:
        """Allocate such that what this tile still needs fits beside it."""
        self.left = max(0, self.left - words)
        at = self.s.spm.rotating(words, self.left + SLACK if self.left else 0, oldest)
        if at is None:  # the slack of what is still to come may have been used up
            at = self.s.spm.rotating(words)
        assert at is not None, "the plan fits"
        return at

    def _input(self, box: Area, low: int, high: int, rows: tuple[int, int],
               steps: tuple[int, int]) -> tuple[View, int | None]:
        """The input for output ``box``, blocks and taps: a view, and what to release after."""
        s, op, shape = self.s, self.op, self.shape
        view = s.resident(op.x)
        if view is not None:
            return view, None
        n, _, _, x0, x1 = box
        ya, yb = self.make.rows(box, rows)
        xa, xb = shape.reach(x1 - x0, *steps, x0)
        na, nb = (x0, x1) if shape.folded else (n, n + 1)
        area = Box(na, nb, low, high, ya, yb, xa, xb)
        row = xb - xa
        block = row * (yb - ya)
        image = block * (high - low)
        guard = 1 if shape.packed else 0
        at = self._take(image * (nb - na) + 2 * guard, self.turns)
        view = View(at + guard, row, block, image, area)
        step = max(1, PIECE // block) if op.x in s.by_blocks else high - low
        for b in range(low, high, step):
            s.load_box(op.x, view, replace(area, b0=b, b1=min(b + step, high)))
        return view, at

    def _place(self, area: Box, row: int) -> tuple[View, int]:
        """A new view of an output-shaped box with a row pitch."""
        block = row * (area.y1 - area.y0)
        image = block * (area.b1 - area.b0)
        at = self._take(image * (area.n1 - area.n0))
        return View(at, row, block, image, area), at

    def _outputs(self, chunk: Run, box: Area) -> tuple[View, View | None, list[int], bool]:
        """Views for output and residual, what to release, whether the output must be stored.

        Both are walked with the same steps, so they get the same row pitch: that of whichever is
        resident."""
        s, op = self.s, self.op
        area = self.make.out_box(chunk, box)
        view = s.resident(op.y)
        res = s.resident(op.residual.x) if op.residual else None
        pitch = next((v.row for v in (view, res) if v is not None), area.x1 - area.x0)
        release, store = [], view is None
        if view is None:
            view, at = self._place(area, pitch)
            release.append(at)
        if op.residual and res is None:
            res, at = self._place(area, pitch)
            s.load_box(op.residual.x, res)
            release.append(at)
        return view, res, release, store

    # -- instructions ---------------------------------------------------------------------------

    def _tile(self, chunk: Run, box: Area, at: int, shared: View | None, part: int) -> None:
        """A box of a chunk, whose weights lie at an address, by the ranks that have a part of the
        channels."""
        r, steps = self.shape.kernel
        if shared is not None:
            view, release = shared, None
        else:
            view, release = self._input(box, *chunk.blocks, (0, r), (0, steps))
        out, res, more, store = self._outputs(chunk, box)
        target, store = self._target(self.make.out_box(chunk, box), out, more, store)
        for rank, piece, band, skip in self._shared(chunk, box, part):
            self.s.rank = rank
            self._compute(piece, band, view, out, res, at + skip)
            self._apply(self.make.out_box(piece, band), out, target)
        if store:
            self.s.store_box(self.y, target)
        for a in [*more, *([release] if release is not None else [])]:
            self.s.spm.release(a)

    def _shared(self, chunk: Run, box: Area, part: int
                ) -> Iterator[tuple[int, Run, Area, int]]:
        """A chunk and box in pieces (:class:`compiler.emit.pieces.Pieces`), each with its rank."""
        n, y0, y1, x0, x1 = box
        for row, a, b in self.s.sharing.rows(self.op, self.grid, y0, y1, self.y):
            for one in self.pieces.instructions(chunk, (n, a, b, x0, x1)):
                yield self.grid.rank(row, part), *one

    def _compute(self, chunk: Run, box: Area, x: View, out: View, res: View | None, at: int
                 ) -> None:
        """One instruction, or two for the halves of the reduction; ``at``: where its weights
        lie."""
        cuts = self.pieces.reductions(chunk, box)
        for i, cut in enumerate(cuts):
            hold = i < len(cuts) - 1
            words = self.make.words(chunk, cut, not hold)
            self.make.emit(chunk, box, x, out, None if hold else res, at,
                           [(SPM, at, at + words)], cut, i > 0, hold)
            at += words

    def _reduce(self, chunk: Run, box: Area) -> None:
        """One rectangle whose reduction is cut: all but the last instruction hold the sums."""
        assert self.plan.cut.reduction is not None
        cb, cr, cs = self.plan.cut.reduction
        r, steps = self.shape.kernel
        pieces = [(k, ((b, min(b + cb, chunk.ncb)), (i, min(i + cr, r)), (j, min(j + cs, steps))))
                  for k in range(len(self.make.addends)) for b in range(0, chunk.ncb, cb)
                  for i in range(0, r, cr) for j in range(0, steps, cs)]
        self.left = self.plan.tile_words + self.plan.weight_words
        out, res, more, store = self._outputs(chunk, box)
        rest = self.left
        for i, (addend, cut) in enumerate(pieces):
            self.left = rest
            hold = i < len(pieces) - 1
            (b0, b1), rows, taps = cut
            x, release = self._input(box, chunk.low + b0, chunk.low + b1, rows, taps)
            at, extent = self._load(chunk, cut, not hold, addend)
            self.make.emit(chunk, box, x, out, None if hold else res, at, extent, cut, i > 0, hold,
                           addend)
            self.s.spm.release(at)
            if release is not None:
                self.s.spm.release(release)
        area = self.make.out_box(chunk, box)
        target, store = self._target(area, out, more, store)
        self._apply(area, out, target)
        if store:
            self.s.store_box(self.y, target)
        for a in more:
            self.s.spm.release(a)

    def _target(self, area: Box, out: View, release: list[int], store: bool) -> tuple[View, bool]:
        """Where the function of a box goes, and whether that must be stored: integers have a place
        of their own, which is to be released if it is a box."""
        if self.y.size == self.op.y.size:
            return out, store
        view = self.s.resident(self.y)
        if view is not None:
            return view, False
        view, at = self._place(self._small(area), area.x1 - area.x0)
        release.append(at)
        return view, True

    def _small(self, area: Box) -> Box:
        """A box of the convolution's output in terms of what the function makes."""
        ratio = self.op.y.size // self.y.size
        return replace(area, b0=area.b0 // ratio, b1=-(-area.b1 // ratio))

    def _apply(self, area: Box, out: View, target: View) -> None:
        """The function of a box."""
        if self.function:
            node, self.s.node = self.s.node, self.function.node
            pool_rows(self.s, self.function, None, self._small(area), out, target, [])
            self.s.node = node
