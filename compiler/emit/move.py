# SPDX-License-Identifier: Apache-2.0
"""TENSOR instructions that move elements in any order, by one-hot weights.

The elements of an output word come from at most L input words. Over output pixels in rows and
columns, next to one another or a few apart (the phases of an interleaving), along which those words
advance by the same steps, one instruction moves a block of channels: it takes a pass for each input
word. Where the words of a pixel are not evenly spaced, a chain of instructions with one pass each
adds them up in the accumulator. From a tensor in DRAM the words are gathered by strided LOADs
first. Slow, but exact, and any permutation works.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from compiler.emit.conv_instructions import bits
from compiler.emit.schedule import Schedule
from compiler.ir.floats import PRODUCT_ANCHOR, anchor, bounds, one_hot
from compiler.ir.graph import DTYPE, Move
from compiler.machine.constants import Stream
from compiler.machine.place import Box, View
from compiler.machine.spm import ALIGN
from compiler.machine.steps import SPM
from isa.config import PARAM_WORDS, Config
from isa.instructions import Opcode

PHASES = 4
"""Pieces of the largest size that a stored area is made of: two by two phases."""


@dataclass(frozen=True)
class Piece:
    """``h`` rows and ``w`` columns of one block, from (``y``, ``x``) on, ``dy`` and ``dx`` apart,
    whose source words advance evenly: ``words`` (one for each pass, of the first pixel), steps
    along columns and rows, and for each lane its pass and the element there (-1: no source)."""

    y: int
    x: int
    h: int
    w: int
    dy: int
    dx: int
    words: tuple[int, ...]
    step_x: int
    step_y: int
    passes: tuple[int, ...]
    lanes: tuple[int, ...]

    def chopped(self, pixels: int) -> Iterator["Piece"]:
        """The piece in pieces of up to ``pixels`` pixels."""
        columns = min(self.w, pixels)
        rows = max(1, min(self.h, pixels // columns))
        for y in range(0, self.h, rows):
            for x in range(0, self.w, columns):
                ahead = y * self.step_y + x * self.step_x
                yield replace(self, y=self.y + y * self.dy, x=self.x + x * self.dx,
                              h=min(rows, self.h - y), w=min(columns, self.w - x),
                              words=tuple(v + ahead for v in self.words))


@dataclass(frozen=True)
class _Grid:
    """Source ``word`` and place there, ``lane`` ([L, rows, columns]), of output pixels from
    (``y``, ``x``) on, ``dy`` and ``dx`` apart."""

    word: np.ndarray
    lane: np.ndarray
    y: int
    x: int
    dy: int = 1
    dx: int = 1

    def cut(self, axis: int, start: int, stop: int | None, step: int = 1) -> "_Grid":
        """Some rows (axis 1) or columns (axis 2)."""
        part, whole = slice(start, stop, step), slice(None)
        at = (whole, part, whole) if axis == 1 else (whole, whole, part)
        return _Grid(self.word[at], self.lane[at],
                     self.y + (start * self.dy if axis == 1 else 0),
                     self.x + (start * self.dx if axis == 2 else 0),
                     self.dy * (step if axis == 1 else 1), self.dx * (step if axis == 2 else 1))

    def piece(self) -> Piece | None:
        """One piece that covers it, or None."""
        used = self.lane[:, 0, 0] >= 0
        if (self.lane != self.lane[:, :1, :1]).any():
            return None
        _, h, w = self.word.shape
        place = (self.y, self.x, h, w, self.dy, self.dx)
        if not used.any():
            return Piece(*place, (0,), 0, 0, (0,) * len(used), (-1,) * len(used))
        mine = self.word[used]
        step_x = int(mine[0, 0, 1] - mine[0, 0, 0]) if w > 1 else 0
        step_y = int(mine[0, 1, 0] - mine[0, 0, 0]) if h > 1 else 0
        even = (mine[:, :1, :1] + np.arange(h)[:, None] * step_y + np.arange(w) * step_x)
        if (even != mine).any():
            return None
        words = tuple(dict.fromkeys(int(v) for v in mine[:, 0, 0]))
        passes = tuple(words.index(int(v)) if u else 0 for v, u in zip(self.word[:, 0, 0], used))
        return Piece(*place, words, step_x, step_y, passes,
                     tuple(int(v) for v in self.lane[:, 0, 0]))

    def breaks(self, axis: int, lag: int) -> np.ndarray:
        """Positions along an axis behind which words ``lag`` apart no longer advance evenly."""
        word = np.moveaxis(np.where(self.lane < 0, 0, self.word), axis, -1)
        lane = np.moveaxis(self.lane, axis, -1)
        uneven = (lane[..., lag:] != lane[..., :-lag]).any((0, 1))
        bent = (word[..., 2 * lag:] - 2 * word[..., lag:-lag] + word[..., :-2 * lag]).any((0, 1))
        uneven[lag:] |= bent
        return np.flatnonzero(uneven) + lag

    def pieces(self) -> Iterator[Piece]:
        """Pieces that cover it: phases, if these are even; or what is even from the first row or
        column on, and the rest."""
        found = self.piece()
        if found is not None:
            yield found
            return
        for axis in (2, 1):
            n = self.word.shape[axis]
            breaks = self.breaks(axis, 1) if n > 1 else np.zeros(0, int)
            if not len(breaks):
                continue
            runs = [0]  # where even words begin; the second of a run may have any distance
            for at in breaks:
                if at > runs[-1] + 1:
                    runs.append(int(at))
            for lag in range(2, max(2, min(n // 3, len(runs))) + 1):
                if 2 * lag <= n and not len(self.breaks(axis, lag)):
                    for phase in range(lag):
                        yield from self.cut(axis, phase, None, lag).pieces()
                    return
            end = int(breaks[0])
            yield from self.cut(axis, 0, end).pieces()
            yield from self.cut(axis, end, None).pieces()
            return
        axis = 1 if self.word.shape[1] > 1 else 2  # lanes advance by different steps
        half = (self.word.shape[axis] + 1) // 2
        yield from self.cut(axis, 0, half).pieces()
        yield from self.cut(axis, half, None).pieces()


def pieces(word: np.ndarray, lane: np.ndarray, y: int, x: int, pixels: int) -> Iterator[Piece]:
    """Pieces of up to ``pixels`` pixels that cover output pixels from (``y``, ``x``) on."""
    for piece in _Grid(word, lane, y, x).pieces():
        yield from piece.chopped(pixels)


def emit_move(s: Schedule, op: Move) -> None:
    """Append the instructions of a move.

    Raises
    ------
    CompileError
        If not even one pixel fits.
    """
    s.bring(op.x)
    s.settle(op.y)
    weights = _weight_words(s)
    while s.spm.largest < weights + 2 * s.lanes + 64:
        if (other := s.evictable(op.inputs)) is not None:
            s.evict(other)
        elif s.resident(op.y):
            s.give_up(op.y)
        elif s.resident(op.x):
            s.evict(op.x)
        else:
            raise s.too_small(op.node)
    room = s.spm.largest - weights - 64
    gathers = 0 if s.resident(op.x) else s.lanes
    each = gathers + (0 if s.resident(op.y) else 1)
    pixels = min(s.config.psum_depth, room // each if each else s.config.psum_depth)
    most = max(pixels, min(PHASES * pixels, room - gathers * pixels))
    word, lane = _sources(s, op)
    n, blocks, _, h, w = word.shape
    for i in range(n):
        for b in range(blocks):
            for area in _areas(s, op, Box(i, i + 1, b, b + 1, 0, h, 0, w), most):
                _emit_area(s, op, area, word[i, b], lane[i, b], pixels)


def _areas(s: Schedule, op: Move, whole: Box, most: int) -> Iterator[Box]:
    """A block's map, or rectangles of it that are stored at a time."""
    if s.resident(op.y):
        yield whole
        return
    columns = min(whole.x1, most)
    rows = max(1, most // columns)
    for y in range(0, whole.y1, rows):
        for x in range(0, whole.x1, columns):
            yield replace(whole, y0=y, y1=min(whole.y1, y + rows), x0=x,
                          x1=min(whole.x1, x + columns))


def _emit_area(s: Schedule, op: Move, area: Box, word: np.ndarray, lane: np.ndarray,
               pixels: int) -> None:
    out, stored = s.resident(op.y), None
    h, w = area.y1 - area.y0, area.x1 - area.x0
    if out is None:
        stored = s.spm.rotating(h * w, _weight_words(s))
        assert stored is not None, "the area fits"
        out = View(stored, w, h * w, 0, area)
    cut = (slice(None), slice(area.y0, area.y1), slice(area.x0, area.x1))
    for piece in pieces(word[cut], lane[cut], area.y0, area.x0, pixels):
        _emit_piece(s, op, area.n0, area.b0, piece, out)
    if stored is not None:
        s.store_box(op.y, out)
        s.spm.release(stored)


def _weight_words(s: Schedule) -> int:
    """Most that the weights of an instruction take."""
    return s.config.tiles * (s.lanes * s.lanes + PARAM_WORDS)


def _sources(s: Schedule, op: Move) -> tuple[np.ndarray, np.ndarray]:
    """Source word of every output element, and its place there: ``[image, block, lane, row,
    column]``."""
    y = s.resident(op.x) or s.layout(op.x)
    _, c, h, w = op.x.nchw
    n, k, oh, ow = op.y.nchw
    per = s.lanes // op.x.size
    p = op.wanted.astype(np.int64)
    image, channel, row, column = p // (c * h * w), p // (h * w) % c, p // w % h, p % w
    word = image * y.image + channel // per * y.block + row * y.row + column
    lane = np.where(p >= 0, channel % per, -1)
    blocks = op.y.blocks(s.lanes)
    grow = ((0, 0), (0, blocks * per - k), (0, 0), (0, 0))
    shape = (n, blocks, per, oh, ow)
    return (np.pad(word, grow).reshape(shape),
            np.pad(lane, grow, constant_values=-1).reshape(shape))


def _gathered(s: Schedule, op: Move, piece: Piece) -> tuple[int, list[int], int, int, int | None,
                                                           list]:
    """Where the source words are: base, offsets of the passes, steps, what to release, extents."""
    view = s.resident(op.x)
    h, w = piece.h, piece.w
    if view is not None:
        first = [view.base + v for v in piece.words]
        reach = [0, (w - 1) * piece.step_x, (h - 1) * piece.step_y,
                 (w - 1) * piece.step_x + (h - 1) * piece.step_y]
        extents = [(SPM, v + min(reach), v + max(reach) + 1) for v in first]
        return first[0], [v - first[0] for v in first], piece.step_x, piece.step_y, None, extents
    count = len(piece.words)
    at = s.spm.rotating(count * h * w, _weight_words(s) + h * w + 2 * ALIGN)
    assert at is not None, "the piece fits"
    home = s.homes[op.x]
    for i, v in enumerate(piece.words):
        s.dma(Opcode.LOAD, home.region, home.offset + v * s.lanes, at + i * h * w,
              [(1, 1, 1), (w, piece.step_x, 1), (h, piece.step_y, w)], home.stream)
    return at, [i * h * w for i in range(count)], 1, w, at, [(SPM, at, at + count * h * w)]


def _emit_piece(s: Schedule, op: Move, n: int, b: int, piece: Piece, out: View) -> None:
    base, offsets, step_x, step_y, release, reads = _gathered(s, op, piece)
    h, w = piece.h, piece.w
    area = Box(n, n + 1, b, b + 1, piece.y, piece.y + (h - 1) * piece.dy + 1,
               piece.x, piece.x + (w - 1) * piece.dx + 1)
    delta = offsets[1] - offsets[0] if len(offsets) > 1 else 0
    chains = [list(range(len(offsets)))]
    if any(o != i * delta for i, o in enumerate(offsets)):
        chains = [[i] for i in range(len(offsets))]
    g = s.config.granules
    for i, chain in enumerate(chains):
        hold = i < len(chains) - 1
        words = s.config.tiles * (len(chain) * s.lanes + (0 if hold else PARAM_WORDS))
        at = s.spm.rotating(words)
        assert at is not None, "the piece fits"
        tiles = Stream(words, partial(_weights, s.config, op, piece, chain, hold))
        extent = s.load_weights(tiles, at)
        fields = {
            "nx": w, "ny": h, "ntx": 1, "nty": 1, "nx_last": w, "ny_last": h,
            "ncb": len(chain), "nr": 1, "ns": 1, "nnb": 1, "iw": 1, "ih": 1,
            "a_base": g * (base + offsets[chain[0]]), "a_x": g * step_x, "a_y": g * step_y,
            "a_cb": g * delta, "a_signed": int(op.x.dtype == "int8"), "a_zp": op.a_zp,
            "w_ahead": 1, "w_base": at, "w_signed": 1, "m_split": 0, "m_last": 1, "n_last": 1,
            "acc": int(i > 0), "hold": int(hold),
            "o_base": out.at(n, b, piece.y, piece.x), "o_x": piece.dx, "o_n": out.block,
            "o_y": piece.dy * out.row, "dtype": DTYPE[op.x.dtype], "w_skip": op.x.size - 1,
            "anchor": anchor(op.x, PRODUCT_ANCHOR),
            **bounds(op.y, op.clip, ("z1", "lo1", "hi1"))}
        s.emit(Opcode.TENSOR, fields, reads + extent, [] if hold else out.extents(area))
        s.spm.release(at)
    if release is not None:
        s.spm.release(release)


def _weights(config: Config, op: Move, piece: Piece, chain: list[int], hold: bool) -> bytes:
    """One-hot tiles of the passes in ``chain``; only the first tile of the machine works."""
    per = config.lanes // op.x.size
    hot = one_hot(np.zeros(1, int), np.zeros(1, int), (1, 2), op.x.dtype).ravel()
    kind = np.uint16 if op.x.floating else np.uint8
    one, none = hot.astype(kind)
    tiles = np.full((len(chain), config.tiles, config.lanes, per), none, kind)
    for column, (at, lane) in enumerate(zip(piece.passes, piece.lanes)):
        if lane >= 0 and at in chain:
            tiles[chain.index(at), 0, column, lane] = one
    if hold:
        return tiles.tobytes()
    bias = np.zeros(config.lanes, "<i4").tobytes()
    scale = np.full(config.lanes, bits(op.scale), "<u4").tobytes()
    return tiles.tobytes() + (bias + scale) * config.tiles
