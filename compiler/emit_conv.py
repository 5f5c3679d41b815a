# SPDX-License-Identifier: Apache-2.0
"""TENSOR instructions for a convolution, with the LOADs and STOREs of its boxes."""

import numpy as np

from compiler.ir import Conv
from compiler.place import Box, View
from compiler.schedule import Schedule
from compiler.shape import Run, Shape
from compiler.steps import SPM
from compiler.tiling import Plan, bands, plans, rectangles
from compiler.weights import Coding, addends, dense, parameters, stream
from isa.config import PARAM_WORDS
from isa.instructions import Opcode

SLACK = 24
"""Words that rounding may cost the allocations of a tile that are still to come."""


def bits(value: np.float32) -> int:
    """A binary32 number's bits."""
    return int(np.float32(value).view(np.uint32))


def emit_conv(s: Schedule, op: Conv) -> None:
    """Append the instructions of a convolution.

    Raises
    ------
    CompileError
        If not even the smallest tile fits.
    """
    shape = Shape(op, s.lanes, s.config.tiles, id(op.x) in s.packed)
    s.bring(op.x)
    if op.residual:
        s.bring(op.residual.x)
    s.settle(op.y)
    while not _attempt(s, op, shape):
        if s.resident(op.y):
            s.give_up(op.y)
        elif (other := s.evictable(op.inputs)) is not None:
            s.evict(other)
        elif (mine := s.evictable([])) is not None:
            s.evict(mine)
        else:
            raise s.too_small(op.node)


def _attempt(s: Schedule, op: Conv, shape: Shape) -> bool:
    """Emit with the cheapest cut that fits; False, and nothing emitted, if none does."""
    here = s.resident(op.residual.x) is not None if op.residual else None
    found = plans(shape, s.config, s.spm.largest, s.resident(op.x) is not None,
                  s.resident(op.y) is not None, here, s.grain)
    if not found:
        return False
    _Emitter(s, op, shape, found[0]).run()
    return True


class _Emitter:
    """One convolution with one plan."""

    def __init__(self, s: Schedule, op: Conv, shape: Shape, plan: Plan):
        self.s, self.op, self.shape, self.plan = s, op, shape, plan
        self.gn = s.config.tiles >> plan.m_split
        self.gm = 1 << plan.m_split
        self.parts = addends(op.weight)
        self.left = 0
        self.blocks = -(-op.y.nchw[1] // s.lanes)

    def run(self) -> None:
        """All chunks and boxes, in the plan's order."""
        plan, shape = self.plan, self.shape
        height, width = shape.out
        chunks = [c for run in shape.runs(plan.m_split) for c in run.cut(plan.groups)]
        boxes = [(n, y, min(y + plan.rows, height), x, min(x + plan.columns, width))
                 for n in range(shape.images) for y in range(0, height, plan.rows)
                 for x in range(0, width, plan.columns)]
        if plan.cut is not None:
            for chunk in chunks:
                for box in boxes:
                    self._reduce(chunk, box)
        elif plan.weights_outer:
            for chunk in chunks:
                self.left = plan.tile_words + plan.weight_words
                at = self._load_whole(chunk)
                for box in boxes:
                    self.left = plan.tile_words
                    self._tile(chunk, box, at, None)
                self.s.spm.release(at)
        else:
            low = min(c.blocks[0] for c in chunks)
            high = max(c.blocks[1] for c in chunks)
            for box in boxes:
                self.left = plan.tile_words + plan.weight_words
                shared, release = self._input(box, low, high, (0, shape.kernel[0]),
                                              (0, shape.kernel[1]))
                rest = self.left
                for chunk in chunks:
                    self.left = rest
                    at = self._load_whole(chunk)
                    self._tile(chunk, box, at, shared)
                    self.s.spm.release(at)
                if release is not None:
                    self.s.spm.release(release)

    # -- boxes ----------------------------------------------------------------------------------

    def _load_whole(self, chunk: Run) -> int:
        (weight, coding), = self.parts
        return self._load(self._stream(weight, coding, chunk, None, True))[0]

    def _load(self, data: bytes) -> tuple[int, list]:
        at = self._take(len(data) // self.s.lanes)
        return at, self.s.load_weights(data, at)

    def _take(self, words: int) -> int:
        """Allocate such that what this tile still needs fits beside it."""
        self.left = max(0, self.left - words)
        at = self.s.spm.rotating(words, self.left + SLACK if self.left else 0)
        if at is None:  # the slack of what is still to come may have been used up
            at = self.s.spm.rotating(words)
        assert at is not None, "the plan fits"
        return at

    def _stream(self, weight: np.ndarray, coding: Coding, chunk: Run,
                cut: tuple[tuple[int, int], ...] | None, params: bool) -> bytes:
        s = self.s
        key = (id(weight), self.gn, chunk, cut, params)
        if key in s.streams:
            return s.streams[key]
        tiles = dense(weight, self.op.groups, s.lanes, self.gn, self.shape.packed, chunk.first,
                      chunk.last - chunk.first, chunk.low, chunk.step, chunk.ncb)
        if cut is not None:
            (b0, b1), (r0, r1), (s0, s1) = cut
            tiles = tiles[:, r0:r1, s0:s1, b0:b1]
        block = parameters(self.op, s.lanes, self.gn, chunk.first, chunk.last - chunk.first)
        s.streams[key] = stream(np.ascontiguousarray(tiles), coding, block if params else None)
        return s.streams[key]

    def _input(self, box: tuple, low: int, high: int, rows: tuple[int, int],
               steps: tuple[int, int]) -> tuple[View, int | None]:
        """The input for output ``box``, blocks and taps: a view, and what to release after."""
        s, op, shape = self.s, self.op, self.shape
        view = s.resident(op.x)
        if view is not None:
            return view, None
        n, _, _, x0, x1 = box
        ya, yb = self._rows(box, rows)
        xa, xb = shape.reach(x1 - x0, *steps, x0)
        na, nb = (x0, x1) if shape.folded else (n, n + 1)
        area = Box(na, nb, low, high, ya, yb, xa, xb)
        row = xb - xa
        block = row * (yb - ya)
        image = block * (high - low)
        guard = 1 if shape.packed else 0
        at = self._take(image * (nb - na) + 2 * guard)
        view = View(at + guard, row, block, image, area)
        s.load_box(op.x, view)
        return view, at

    def _out_box(self, chunk: Run, box: tuple) -> Box:
        n, y0, y1, x0, x1 = box
        b0, b1 = chunk.first * self.gn, min(self.blocks, chunk.last * self.gn)
        if self.shape.folded:
            return Box(x0, x1, b0, b1, 0, 1, 0, 1)
        return Box(n, n + 1, b0, b1, y0, y1, x0, x1)

    def _place(self, area: Box, row: int) -> tuple[View, int]:
        """A new view of an output-shaped box with a row pitch."""
        block = row * (area.y1 - area.y0)
        image = block * (area.b1 - area.b0)
        at = self._take(image * (area.n1 - area.n0))
        return View(at, row, block, image, area), at

    def _outputs(self, chunk: Run, box: tuple) -> tuple[View, View | None, list[int], bool]:
        """Views for output and residual, what to release, whether the output must be stored.

        Both are walked with the same steps, so they get the same row pitch: that of whichever is
        resident."""
        s, op = self.s, self.op
        area = self._out_box(chunk, box)
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

    def _tile(self, chunk: Run, box: tuple, at: int, shared: View | None) -> None:
        r, steps = self.shape.kernel
        if shared is not None:
            view, release = shared, None
        else:
            view, release = self._input(box, *chunk.blocks, (0, r), (0, steps))
        out, res, more, store = self._outputs(chunk, box)
        for piece, band, skip, words in self._instructions(chunk, box):
            self._tensor(piece, band, view, out, res, at + skip,
                         [(SPM, at + skip, at + skip + words)], self.parts[0][1], None, False,
                         False)
        if store:
            self.s.store_box(self.op.y, out)
        for a in [*more, *([release] if release is not None else [])]:
            self.s.spm.release(a)

    def _instructions(self, chunk: Run, box: tuple) -> list[tuple[Run, tuple, int, int]]:
        """A chunk and box as instructions that complete one after another, so that a reader can
        start early: bands of rows, or one output group at a time in front of a global pool. Each
        with where its weights start in the chunk's, and how many words they are."""
        n, y0, y1, x0, x1 = box
        r, steps = self.shape.kernel
        passes = chunk.ncb * r * steps
        each = self.gn * (passes * self.s.lanes + PARAM_WORDS)
        count = chunk.last - chunk.first
        if count > 1 and self.s.feeds_global_pool(self.op.y):
            return [(piece, box, i * each, each) for i, piece in enumerate(chunk.cut(1))]
        units = -(-(y1 - y0) // self.gm)
        size, _ = bands(self.s.config, units, x1 - x0, passes, self.gn, count, self.s.grain)
        step = size * self.gm
        return [(chunk, (n, y, min(y + step, y1), x0, x1), 0, count * each)
                for y in range(y0, y1, step)]

    def _reduce(self, chunk: Run, box: tuple) -> None:
        """One rectangle whose reduction is cut: all but the last instruction hold the sums."""
        assert self.plan.cut is not None
        cb, cr, cs = self.plan.cut
        r, steps = self.shape.kernel
        pieces = [(w, coding, ((b, min(b + cb, chunk.ncb)), (i, min(i + cr, r)),
                               (j, min(j + cs, steps))))
                  for w, coding in self.parts for b in range(0, chunk.ncb, cb)
                  for i in range(0, r, cr) for j in range(0, steps, cs)]
        self.left = self.plan.tile_words + self.plan.weight_words
        out, res, more, store = self._outputs(chunk, box)
        rest = self.left
        for i, (weight, coding, cut) in enumerate(pieces):
            self.left = rest
            hold = i < len(pieces) - 1
            (b0, b1), rows, taps = cut
            x, release = self._input(box, chunk.low + b0, chunk.low + b1, rows, taps)
            data = self._stream(weight, coding, chunk, cut, not hold)
            at, extent = self._load(data)
            self._tensor(chunk, box, x, out, None if hold else res, at, extent, coding, cut,
                         i > 0, hold)
            self.s.spm.release(at)
            if release is not None:
                self.s.spm.release(release)
        if store:
            self.s.store_box(self.op.y, out)
        for a in more:
            self.s.spm.release(a)

    def _tensor(self, chunk: Run, box: tuple, x: View, out: View, res: View | None, w: int,
                extent: list, coding: Coding, cut: tuple | None, acc: bool, hold: bool) -> None:
        s, op, shape, gm = self.s, self.op, self.shape, self.gm
        n, y0, y1, x0, x1 = box
        (b0, b1), (r0, r1), (s0, s1) = cut or ((0, chunk.ncb), (0, shape.kernel[0]),
                                               (0, shape.kernel[1]))
        groups = chunk.last - chunk.first
        units = -(-(y1 - y0) // gm)
        passes = (b1 - b0) * (r1 - r0) * (s1 - s0)
        rect, _ = rectangles(s.config, units, x1 - x0, passes, self.gn)
        area = self._out_box(chunk, box)
        o_base, o_row = out.origin(area.n0, area.b0, area.y0, area.x0)
        clip = op.clip
        f = {
            "nx": rect.nx, "ny": rect.ny, "ntx": rect.ntx, "nty": rect.nty,
            "nx_last": rect.nx_last, "ny_last": rect.ny_last,
            "ncb": b1 - b0, "nr": r1 - r0, "ns": s1 - s0, "nnb": groups,
            # streams without a valid last row must not read below the box
            "iw": op.x.nchw[3], "ih": self._rows(box, (r0, r1))[1],
            "a_signed": int(op.x.dtype == "int8"), "a_zp": op.a_zp, "pad": 0,
            "w_base": w, "w_signed": int(coding.signed), "w_zp": coding.zp,
            "m_split": self.plan.m_split, "m_last": (y1 - y0) - gm * (units - 1),
            "n_last": min(self.blocks, chunk.last * self.gn) - (chunk.last - 1) * self.gn,
            "acc": int(acc), "hold": int(hold),
            "o_base": o_base, "o_row": o_row, "o_wrap": out.wrap,
            "o_x": out.image if shape.folded else 1, "o_n": out.block,
            "o_y": out.step(gm), "o_m": out.step(1),
            "z1": clip.z, "lo1": clip.lo, "hi1": clip.hi,
        }
        f.update(self._activation(chunk, box, x, b0, r0, s0))
        writes = [] if hold else out.extents(area)
        reads = self._reads(chunk, box, x, (b0, b1), (r0, r1), (s0, s1)) + extent
        if res is not None:
            assert op.residual is not None
            c = op.residual.clip
            r_base, r_row = res.origin(area.n0, area.b0, area.y0, area.x0)
            f.update(residual=1, r_base=r_base, r_row=r_row, r_wrap=res.wrap, r_n=res.block, r_signed=int(op.residual.x.dtype == "int8"),
                     r_zp=op.residual.zp, scale_a=bits(op.residual.scale_a),
                     scale_r=bits(op.residual.scale_b), z2=c.z, lo2=c.lo, hi2=c.hi)
            reads = reads + res.extents(area)
        s.emit(Opcode.TENSOR, f, reads, writes)

    def _activation(self, chunk: Run, box: tuple, x: View, b0: int, r0: int,
                    s0: int) -> dict[str, int]:
        """Address and bounds fields of the feeder."""
        op, shape, gm = self.op, self.shape, self.gm
        n, y0, _, x0, _ = box
        g, (sy, sx), (dy, dx) = shape.granules, op.stride, op.dilation
        iy = y0 * sy - op.pad[0] + r0 * dy
        if shape.packed:
            ix = x0 * sx - op.pad[1] + s0 * g
            base, row = x.origin(n, 0, iy, 0)
            return {"a_base": g * base + ix, "a_row": g * row, "a_wrap": g * x.wrap, "a_x": sx,
                    "a_s": g, "lane_dx": 1, "a_cb": 0, "a_nb": 0, "a_y": g * x.step(gm * sy),
                    "a_r": g * x.step(dy), "a_m": g * x.step(sy), "ix0": ix, "ix_x": sx,
                    "ix_s": g, "iy0": iy, "iy_y": gm * sy, "iy_r": dy, "iy_m": sy}
        if shape.folded:
            iy, ix = r0 * dy - op.pad[0], s0 * dx - op.pad[1]
            (base, row), a_x, ix_x = x.origin(x0, chunk.low + b0, iy, ix), x.image, 0
        else:
            ix = x0 * sx - op.pad[1] + s0 * dx
            (base, row), a_x, ix_x = x.origin(n, chunk.low + b0, iy, ix), sx, sx
        return {"a_base": g * base, "a_row": g * row, "a_wrap": g * x.wrap, "a_x": g * a_x, "a_s": g * dx, "a_cb": g * x.block,
                "a_nb": g * chunk.step * x.block, "a_y": g * x.step(gm * sy),
                "a_r": g * x.step(dy), "a_m": g * x.step(sy), "ix0": ix, "ix_x": ix_x,
                "ix_s": dx, "iy0": iy, "iy_y": gm * sy, "iy_r": dy, "iy_m": sy}

    def _reads(self, chunk: Run, box: tuple, x: View, blocks: tuple[int, int],
               rows: tuple[int, int], steps: tuple[int, int]) -> list:
        """Extents of the activations that the instruction may touch."""
        shape = self.shape
        n, _, _, x0, x1 = box
        low = chunk.low + blocks[0]
        high = chunk.low + (chunk.last - chunk.first - 1) * chunk.step + blocks[1]
        ya, yb = self._rows(box, rows)
        xa, xb = shape.reach(x1 - x0, *steps, x0)
        na, nb = (x0, x1) if shape.folded else (n, n + 1)
        return x.extents(Box(na, nb, low, high, ya, yb, xa, xb))

    def _rows(self, box: tuple, rows: tuple[int, int]) -> tuple[int, int]:
        """Input rows inside the image for a box and kernel rows."""
        _, y0, y1, _, _ = box
        if self.shape.folded:
            return self.shape.span(1, *rows, 0)
        return self.shape.span(y1 - y0, *rows, y0)
