# SPDX-License-Identifier: Apache-2.0
"""TENSOR instructions of a convolution: a box of its output from views of its operands."""

import math
from functools import cached_property, partial

import numpy as np

from compiler.emit.matrix import load_matrix
from compiler.emit.schedule import Schedule
from compiler.emit.rectangles import rectangles
from compiler.ir.floats import PRODUCT_ANCHOR, anchor, bounds
from compiler.ir.graph import DTYPE, Conv
from compiler.machine.constants import Stream
from compiler.machine.loops import Run, Shape
from compiler.machine.place import Box, View
from compiler.machine.steps import SPM
from compiler.machine.weights import Coding, addends, dense, paired, parameters, stream
from isa.config import PARAM_WORDS
from isa.instructions import Opcode


Cut = tuple[tuple[int, int], ...]
"""A part of a reduction: from and to of blocks, kernel rows and kernel steps."""


def bits(value: np.float32) -> int:
    """A binary32 number's bits."""
    return int(np.float32(value).view(np.uint32))


def _bytes(shape: Shape, beat: int, gn: int, chunk: Run, cut: Cut | None, params: bool,
           addend: int) -> bytes:
    """What a weight stream is made of."""
    op, count = shape.op, chunk.last - chunk.first
    weight, coding = addends(op.weight)[addend]
    tiles = dense(weight, op.x.size, op.groups, shape.lanes, gn, shape.packed, chunk.first, count,
                  chunk.low, chunk.step, chunk.ncb)
    if cut is not None:
        (b0, b1), (r0, r1), (s0, s1) = cut
        tiles = tiles[:, r0:r1, s0:s1, b0:b1]
    if op.narrow:
        tiles = paired(tiles, beat)
    block = parameters(op, shape.lanes, gn, chunk.first, count) if params else None
    return stream(np.ascontiguousarray(tiles), coding, block)


class ConvInstructions:
    """Makes the instructions of one convolution with one number of pixel streams.

    Parameters
    ----------
    s : Schedule
        Where they go.
    op : Conv
    shape : Shape
        Its loops.
    m_split : int
        log2 of the pixel streams.
    """

    def __init__(self, s: Schedule, op: Conv, shape: Shape, m_split: int):
        self.s, self.op, self.shape, self.m_split = s, op, shape, m_split
        self.gn, self.gm = s.config.tiles >> m_split, 1 << m_split
        self.blocks = -(-op.y.nchw[1] // s.lanes)

    @cached_property
    def addends(self) -> list[tuple[np.ndarray, Coding]]:
        """The weights as a sum of arrays that the machine can read."""
        matrix = self.op.matrix
        if matrix:
            return [(self.op.weight, Coding(matrix.x.dtype == "int8", matrix.zp))]
        return addends(self.op.weight)

    def passes(self, chunk: Run, cut: Cut | None = None) -> int:
        """Passes of an output block, over the whole reduction or a part of it."""
        if cut is None:
            return chunk.ncb * math.prod(self.shape.kernel)
        return math.prod(b - a for a, b in cut)

    def words(self, chunk: Run, cut: Cut | None = None, params: bool = True) -> int:
        """Words of the weights of a chunk, or of a part of its reduction."""
        return (chunk.last - chunk.first) * self.gn * (
            self.passes(chunk, cut) * self.shape.tile_words + (PARAM_WORDS if params else 0))

    def load(self, chunk: Run, at: int, cut: Cut | None = None, params: bool = True,
             addend: int = 0) -> list[tuple[int, int, int]]:
        """LOAD these weights in machine order to the scratchpad; returns their extent there."""
        words = self.words(chunk, cut, params)
        if self.op.matrix:
            load_matrix(self.s, self.op, self.gn, chunk, at, cut[0] if cut else None, params)
            return [(SPM, at, at + words)]
        stream = self.s.streams.setdefault(
            (self.op, addend, self.gn, chunk, cut, params),
            Stream(words, partial(_bytes, self.shape, self.s.config.weight_words, self.gn,
                                   chunk, cut, params, addend)))
        return self.s.load_weights(stream, at)

    def out_box(self, chunk: Run, box: tuple) -> Box:
        """Outputs of a chunk in a box (image, first and last row, first and last column)."""
        n, y0, y1, x0, x1 = box
        size = self.op.y.size
        b0 = chunk.first * self.gn * size
        b1 = min(self.op.y.blocks(self.s.lanes), chunk.last * self.gn * size)
        if self.shape.folded:
            return Box(x0, x1, b0, b1, 0, 1, 0, 1)
        return Box(n, n + 1, b0, b1, y0, y1, x0, x1)

    def emit(self, chunk: Run, box: tuple, x: View, out: View, res: View | None, w: int,
             extent: list, cut: Cut | None = None, acc: bool = False, hold: bool = False,
             addend: int = 0) -> None:
        """Append one instruction; ``w`` and ``extent``: where its weights lie."""
        s, op, shape, gm = self.s, self.op, self.shape, self.gm
        x, out, res = x.of(s.rank), out.of(s.rank), res and res.of(s.rank)
        coding = self.addends[addend][1]
        n, y0, y1, x0, x1 = box
        (b0, b1), (r0, r1), (s0, s1) = cut or ((0, chunk.ncb), (0, shape.kernel[0]),
                                               (0, shape.kernel[1]))
        groups = chunk.last - chunk.first
        units = -(-(y1 - y0) // gm)
        rect, _ = rectangles(s.config, units, x1 - x0, self.passes(chunk, cut), self.gn)
        area = self.out_box(chunk, box)
        o_base, o_row = out.origin(area.n0, area.b0, area.y0, area.x0)
        f = {
            "nx": rect.nx, "ny": rect.ny, "ntx": rect.ntx, "nty": rect.nty,
            "nx_last": rect.nx_last, "ny_last": rect.ny_last,
            "ncb": b1 - b0, "nr": r1 - r0, "ns": s1 - s0, "nnb": groups,
            # streams without a valid last row must not read below the box
            "iw": op.x.nchw[3], "ih": self.rows(box, (r0, r1))[1],
            "a_signed": int(op.x.dtype == "int8"), "a_zp": op.a_zp, "pad": 0,
            "w_ahead": 1, "w_base": w, "w_signed": int(coding.signed), "w_zp": coding.zp,
            "m_split": self.m_split, "m_last": (y1 - y0) - gm * (units - 1),
            "n_last": min(self.blocks, chunk.last * self.gn) - (chunk.last - 1) * self.gn,
            "acc": int(acc), "hold": int(hold),
            "o_base": o_base, "o_row": o_row, "o_wrap": out.wrap,
            "o_x": out.image if shape.folded else 1, "o_n": out.block,
            "o_y": out.step(gm), "o_m": out.step(1),
        }
        f.update(self._types(area))
        f.update(self._activation(chunk, box, x, b0, r0, s0))
        writes = [] if hold else out.extents(area)
        reads = self._reads(chunk, box, x, (b0, b1), (r0, r1), (s0, s1)) + extent
        if res is not None:
            assert op.residual is not None
            r_base, r_row = res.origin(area.n0, area.b0, area.y0, area.x0)
            f.update(residual=1, r_base=r_base, r_row=r_row, r_wrap=res.wrap, r_n=res.block,
                     r_signed=int(op.residual.x.dtype == "int8"), r_zp=op.residual.zp,
                     scale_a=bits(op.residual.scale_a), scale_r=bits(op.residual.scale_b),
                     r_type=DTYPE[op.residual.x.dtype])
            if not op.y.floating:
                c = op.residual.clip
                f.update(z2=c.z, lo2=int(c.lo), hi2=int(c.hi))
            reads = reads + res.extents(area)
        s.emit(Opcode.TENSOR, f, reads, writes)

    def _types(self, area: Box) -> dict[str, int]:
        """Types, and what the result is clipped to."""
        op = self.op
        last = area.b1 == op.y.blocks(self.s.lanes)
        clip = op.residual.clip if op.residual and op.y.floating else op.clip
        return {"dtype": DTYPE[op.x.dtype], "w_type": int(op.narrow),
                "anchor": anchor(op.x, PRODUCT_ANCHOR),
                "w_skip": self.blocks * op.y.size - area.b1 if last else 0,
                **bounds(op.y, clip, ("z1", "lo1", "hi1"))}

    def _activation(self, chunk: Run, box: tuple, x: View, b0: int, r0: int,
                    s0: int) -> dict[str, int]:
        """Address and bounds fields of the feeder."""
        op, shape, gm = self.op, self.shape, self.gm
        n, y0, _, x0, _ = box
        g, (sy, sx), (dy, dx) = shape.granules, op.stride, op.dilation
        iy = y0 * sy - op.pad[0] + r0 * dy
        if shape.packed:
            pixel = op.x.size  # granules
            ix = x0 * sx - op.pad[1] + s0 * g // pixel
            base, row = x.origin(n, 0, iy, 0)
            return {"a_base": g * base + ix * pixel, "a_row": g * row, "a_wrap": g * x.wrap,
                    "a_x": sx * pixel, "a_s": g, "lane_dx": pixel, "a_cb": 0, "a_nb": 0,
                    "a_y": g * x.step(gm * sy), "a_r": g * x.step(dy), "a_m": g * x.step(sy),
                    "ix0": ix, "ix_x": sx, "ix_s": g // pixel, "iy0": iy, "iy_y": gm * sy,
                    "iy_r": dy, "iy_m": sy}
        if shape.folded:
            iy, ix = r0 * dy - op.pad[0], s0 * dx - op.pad[1]
            (base, row), a_x, ix_x = x.origin(x0, chunk.low + b0, iy, ix), x.image, 0
        else:
            ix = x0 * sx - op.pad[1] + s0 * dx
            (base, row), a_x, ix_x = x.origin(n, chunk.low + b0, iy, ix), sx, sx
        return {"a_base": g * base, "a_row": g * row, "a_wrap": g * x.wrap, "a_x": g * a_x,
                "a_s": g * dx, "a_cb": g * x.block, "a_nb": g * chunk.step * x.block,
                "a_y": g * x.step(gm * sy), "a_r": g * x.step(dy), "a_m": g * x.step(sy),
                "ix0": ix, "ix_x": ix_x, "ix_s": dx, "iy0": iy, "iy_y": gm * sy, "iy_r": dy,
                "iy_m": sy}

    def _reads(self, chunk: Run, box: tuple, x: View, blocks: tuple[int, int],
               rows: tuple[int, int], steps: tuple[int, int]) -> list:
        """Extents of the activations that the instruction may touch."""
        shape = self.shape
        n, _, _, x0, x1 = box
        low = chunk.low + blocks[0]
        high = chunk.low + (chunk.last - chunk.first - 1) * chunk.step + blocks[1]
        ya, yb = self.rows(box, rows)
        xa, xb = shape.reach(x1 - x0, *steps, x0)
        na, nb = (x0, x1) if shape.folded else (n, n + 1)
        return x.extents(Box(na, nb, low, high, ya, yb, xa, xb))

    def rows(self, box: tuple, rows: tuple[int, int]) -> tuple[int, int]:
        """Input rows inside the image for a box and kernel rows."""
        _, y0, y1, _, _ = box
        if self.shape.folded:
            return self.shape.span(1, *rows, 0)
        return self.shape.span(y1 - y0, *rows, y0)
