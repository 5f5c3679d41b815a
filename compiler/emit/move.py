# SPDX-License-Identifier: Apache-2.0
"""TENSOR instructions that move elements in any order, by one-hot weights.

The elements of an output word come from at most L input words. Over a rectangle of output pixels in
which those words advance by the same steps, one instruction moves a block of channels: it takes a
pass for each input word. Where the words of a pixel are not evenly spaced, a chain of instructions
with one pass each adds them up in the accumulator. From a tensor in DRAM the words are gathered by
strided LOADs first. Slow, but exact, and any permutation works.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from compiler.emit.conv_instructions import bits
from compiler.emit.schedule import Schedule
from compiler.ir.floats import PRODUCT_ANCHOR, anchor, bounds, one_hot
from compiler.ir.graph import DTYPE, Move
from compiler.machine.place import Box, View
from compiler.machine.spm import ALIGN
from compiler.machine.steps import SPM
from isa.config import PARAM_WORDS
from isa.instructions import Opcode

@dataclass(frozen=True)
class Piece:
    """Output rows and columns of one block whose source words advance evenly: ``words`` (one for
    each pass, of the first pixel), steps along columns and rows, and for each lane its pass and
    the element there (-1: no source)."""

    y0: int
    y1: int
    x0: int
    x1: int
    words: tuple[int, ...]
    step_x: int
    step_y: int
    passes: tuple[int, ...]
    lanes: tuple[int, ...]


def _piece(word: np.ndarray, lane: np.ndarray, y0: int, x0: int) -> Piece | None:
    """The piece that covers ``word`` and ``lane`` ([L, rows, columns]), or None."""
    used = lane[:, 0, 0] >= 0
    if (lane != lane[:, :1, :1]).any():
        return None
    _, h, w = word.shape
    if not used.any():
        return Piece(y0, y0 + h, x0, x0 + w, (0,), 0, 0, (0,) * len(used), (-1,) * len(used))
    mine = word[used]
    step_x = int(mine[0, 0, 1] - mine[0, 0, 0]) if w > 1 else 0
    step_y = int(mine[0, 1, 0] - mine[0, 0, 0]) if h > 1 else 0
    even = (mine[:, :1, :1] + np.arange(h)[:, None] * step_y + np.arange(w) * step_x)
    if (even != mine).any():
        return None
    words = tuple(dict.fromkeys(int(v) for v in mine[:, 0, 0]))
    passes = tuple(words.index(int(v)) if u else 0 for v, u in zip(word[:, 0, 0], used))
    return Piece(y0, y0 + h, x0, x0 + w, words, step_x, step_y, passes,
                 tuple(int(v) for v in lane[:, 0, 0]))


def pieces(word: np.ndarray, lane: np.ndarray, pixels: int) -> Iterator[Piece]:
    """Pieces of a block's map with up to ``pixels`` pixels each."""
    _, h, w = word.shape
    columns = max(1, min(w, pixels))
    rows = max(1, min(h, pixels // columns))
    for y in range(0, h, rows):
        for x in range(0, w, columns):
            yield from _split(word[:, y:y + rows, x:x + columns],
                              lane[:, y:y + rows, x:x + columns], y, x)


def _split(word: np.ndarray, lane: np.ndarray, y: int, x: int) -> Iterator[Piece]:
    found = _piece(word, lane, y, x)
    if found is not None:
        yield found
        return
    _, h, w = word.shape
    axis, at = (1, (h + 1) // 2) if h > 1 else (2, (w + 1) // 2)
    for part, dy, dx in ((slice(0, at), 0, 0),
                         (slice(at, None), at if axis == 1 else 0, at if axis == 2 else 0)):
        cut = (slice(None), part) if axis == 1 else (slice(None), slice(None), part)
        yield from _split(word[cut], lane[cut], y + dy, x + dx)


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
    each = (0 if s.resident(op.x) else s.lanes) + (0 if s.resident(op.y) else 1)
    pixels = min(s.config.psum_depth, room // each if each else s.config.psum_depth)
    word, lane = _sources(s, op)
    n, blocks = word.shape[:2]
    for i in range(n):
        for b in range(blocks):
            for piece in pieces(word[i, b], lane[i, b], pixels):
                _emit_piece(s, op, i, b, piece)


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
    h, w = piece.y1 - piece.y0, piece.x1 - piece.x0
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
              [(1, 1, 1), (w, piece.step_x, 1), (h, piece.step_y, w)])
    return at, [i * h * w for i in range(count)], 1, w, at, [(SPM, at, at + count * h * w)]


def _emit_piece(s: Schedule, op: Move, n: int, b: int, piece: Piece) -> None:
    base, offsets, step_x, step_y, release, reads = _gathered(s, op, piece)
    area = Box(n, n + 1, b, b + 1, piece.y0, piece.y1, piece.x0, piece.x1)
    out, stored = s.resident(op.y), None
    if out is None:
        row = piece.x1 - piece.x0
        stored = s.spm.rotating(row * (piece.y1 - piece.y0), _weight_words(s))
        assert stored is not None, "the piece fits"
        out = View(stored, row, row * (piece.y1 - piece.y0), 0, area)
    delta = offsets[1] - offsets[0] if len(offsets) > 1 else 0
    chains = [list(range(len(offsets)))]
    if any(o != i * delta for i, o in enumerate(offsets)):
        chains = [[i] for i in range(len(offsets))]
    g = s.config.granules
    h, w = piece.y1 - piece.y0, piece.x1 - piece.x0
    for i, chain in enumerate(chains):
        hold = i < len(chains) - 1
        data = _weights(s, op, piece, chain, hold)
        at = s.spm.rotating(len(data) // s.lanes)
        assert at is not None, "the piece fits"
        extent = s.load_weights(data, at)
        fields = {
            "nx": w, "ny": h, "ntx": 1, "nty": 1, "nx_last": w, "ny_last": h,
            "ncb": len(chain), "nr": 1, "ns": 1, "nnb": 1, "iw": 1, "ih": 1,
            "a_base": g * (base + offsets[chain[0]]), "a_x": g * step_x, "a_y": g * step_y,
            "a_cb": g * delta, "a_signed": int(op.x.dtype == "int8"), "a_zp": op.a_zp,
            "w_ahead": 1, "w_base": at, "w_signed": 1, "m_split": 0, "m_last": 1, "n_last": 1,
            "acc": int(i > 0), "hold": int(hold),
            "o_base": out.at(n, b, piece.y0, piece.x0), "o_x": 1, "o_n": out.block,
            "o_y": out.row, "dtype": DTYPE[op.x.dtype], "w_skip": op.x.size - 1,
            "anchor": anchor(op.x, PRODUCT_ANCHOR),
            **bounds(op.y, op.clip, ("z1", "lo1", "hi1"))}
        s.emit(Opcode.TENSOR, fields, reads + extent, [] if hold else out.extents(area))
        s.spm.release(at)
    if stored is not None:
        s.store_box(op.y, out)
        s.spm.release(stored)
    if release is not None:
        s.spm.release(release)


def _weights(s: Schedule, op: Move, piece: Piece, chain: list[int], hold: bool) -> bytes:
    """One-hot tiles of the passes in ``chain``; only the first tile of the machine works."""
    per = s.lanes // op.x.size
    hot = one_hot(np.zeros(1, int), np.zeros(1, int), (1, 2), op.x.dtype).ravel()
    kind = np.uint16 if op.x.floating else np.uint8
    one, none = hot.astype(kind)
    tiles = np.full((len(chain), s.config.tiles, s.lanes, per), none, kind)
    for column, (at, lane) in enumerate(zip(piece.passes, piece.lanes)):
        if lane >= 0 and at in chain:
            tiles[chain.index(at), 0, column, lane] = one
    if hold:
        return tiles.tobytes()
    bias = np.zeros(s.lanes, "<i4").tobytes()
    scale = np.full(s.lanes, bits(op.scale), "<u4").tobytes()
    return tiles.tobytes() + (bias + scale) * s.config.tiles
