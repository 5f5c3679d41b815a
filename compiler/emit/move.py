# SPDX-License-Identifier: Apache-2.0
"""TENSOR instructions that move elements in any order, by one-hot weights.

:mod:`compiler.emit.nests` says which output words can be made in one go. An instruction takes a
pass for each input word of an output word: bytes move at the bandwidth of the array divided by the
words that an output word is gathered from. Where these are not evenly spaced, a chain of
instructions adds them up in the accumulator. From a tensor in DRAM the words are gathered by
strided LOADs first; an output in DRAM is made in areas, one STORE each. A word of several sources
is made source by source: what is there already is the residual, and every lane gets a value from
one side and an exact zero from the other.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from compiler.emit.conv_instructions import bits
from compiler.emit.nests import LAGS, Nest, Pattern, Words
from compiler.emit.rectangles import rectangles
from compiler.emit.schedule import Schedule
from compiler.ir.floats import PRODUCT_ANCHOR, anchor, bounds, one_hot
from compiler.ir.graph import DTYPE, RANGE, Clip, Move, Source, Tensor
from compiler.machine.constants import Stream
from compiler.machine.place import covered
from compiler.machine.spm import ALIGN
from compiler.machine.steps import SPM, Extent
from isa.config import PARAM_WORDS, Config
from isa.instructions import Opcode

SLACK = 64
"""Words that rounding may cost the allocations of a piece."""

WORDS_MAX = 1 << 15
"""Words of an output that one instruction can count, whatever their rectangles."""


@dataclass(frozen=True)
class _Place:
    """Where words of a nest lie in the scratchpad: the first one, steps along columns and rows."""

    base: int
    x: int
    y: int

    def extents(self, nest: Nest, offset: int = 0) -> list[Extent]:
        """The words, ``offset`` words further on."""
        first = self.base + offset
        return [(SPM, first + a, first + b)
                for a, b in covered(1, [(nest.columns, self.x), (nest.rows, self.y)])]


def emit_move(s: Schedule, op: Move) -> None:
    """Append the instructions of a move.

    Raises
    ------
    CompileError
        If not even one word fits.
    """
    for x in op.inputs:
        s.bring(x)
    s.settle(op.y)
    weights = s.lanes * s.lanes + PARAM_WORDS
    while s.spm.largest < weights + 2 * s.lanes + 3 * SLACK:
        s.make_room(op.node, op.y, op.inputs)
    room = s.spm.largest - weights - 3 * SLACK
    view, found = s.resident(op.y), _words(s, op)
    if view is not None:
        for source, words in found:
            _Emitter(s, op, source, view.base, room).run(words)
        return
    home, total = s.dram.made_home(op.y), s.dram.layout(op.y).words
    size = _area(s, op, room)
    for start in range(0, total, size):
        count = min(size, total - start)
        at = s.spm.rotating(count, weights + room - count + SLACK)
        assert at is not None, "the area fits"
        for source, words in found:
            _Emitter(s, op, source, at - start, room - size).run(words.within(start, start + count))
        s.dma(Opcode.STORE, home.region, home.offset + start * s.lanes, at, [(count, 1, 1)])
        s.spm.release(at)


def _area(s: Schedule, op: Move, room: int) -> int:
    """Words of an output in DRAM that are made at a time: whole phases or rows, if these fit."""
    layout = s.dram.layout(op.y)
    size = min(layout.words, room // (8 if all(s.resident(x) for x in op.inputs) else 16))
    whole = next((n for n in (layout.row * LAGS, layout.row) if n <= size), 1)
    return size - size % whole


def _words(s: Schedule, op: Move) -> list[tuple[Source, Words]]:
    """What each source gives. A word that none has a part of is the first one's."""
    n, k, h, w = op.y.nchw
    per, blocks = s.lanes // op.y.size, op.y.blocks(s.lanes)
    y = s.resident(op.y) or s.dram.layout(op.y)
    image, block, row, column = np.indices((n, blocks, h, w)).reshape(4, -1)
    out = image * y.image + block * y.block + row * y.row + column
    wanted = []
    for source in op.sources:
        grown = np.full((n, blocks * per, h, w), -1, np.int64)
        grown[:, :k] = source.wanted
        wanted.append(grown.reshape(n, blocks, per, h, w).transpose(0, 1, 3, 4, 2).reshape(-1, per))
    has = np.stack([(elements >= 0).any(1) for elements in wanted])
    has[0] |= ~has.any(0)
    turn = np.cumsum(has, 0)
    found = []
    for i, (source, elements) in enumerate(zip(op.sources, wanted)):
        place = np.flatnonzero(has[i])
        found.append((source, Words(
            (h, w), place, out[place], *_elements(s, source.x, elements[place]),
            turn[i][place] == 1, turn[i][place] == turn[-1][place])))
    return found


def _elements(s: Schedule, x: Tensor, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Word of each wanted element of a tensor and its place there (-1: none is wanted)."""
    _, c, h, w = x.nchw
    y = s.resident(x) or s.dram.layout(x)
    per = s.lanes // x.size
    channel = wanted // (h * w) % c
    word = (wanted // (c * h * w) * y.image + channel // per * y.block + wanted // w % h * y.row
            + wanted % w)
    return word, np.where(wanted >= 0, channel % per, -1)


def _runs(offsets: tuple[int, ...]) -> list[range]:
    """Positions of evenly spaced offsets."""
    runs, at = [], 0
    while at < len(offsets):
        end = at + 1
        while end < len(offsets) and offsets[end] - offsets[end - 1] == offsets[at + 1] - \
                offsets[at]:
            end += 1
        runs.append(range(at, end))
        at = end
    return runs


class _Emitter:
    """One source of a move, to output words at ``base`` and up; ``room``: words for what it gathers
    from DRAM."""

    def __init__(self, s: Schedule, op: Move, source: Source, base: int, room: int):
        self.s, self.op, self.source, self.base, self.room = s, op, source, base, room
        self.view = s.resident(source.x)

    def run(self, words: Words) -> None:
        """All patterns; each one's weights are loaded once."""
        for pattern, found in words.patterns():
            count = len(pattern.offsets)
            # words that are gathered from DRAM lie side by side
            chain = _runs(pattern.offsets) if self.view else [range(count)]
            limit, gathered = self.s.config.psum_depth if len(chain) > 1 else WORDS_MAX, 0
            if not self.view:
                limit = min(self.room // count, max(n.columns * n.rows for n in found))
                gathered = count * limit
            places = [self._weights(pattern, part, part is not chain[-1],
                                    gathered + self.s.lanes * (count - part[-1] - 1))
                      for part in chain]
            for nest in found:
                for piece in nest.cut(limit):
                    self._piece(pattern, piece, chain, places)
            for at, _ in places:
                self.s.spm.release(at)

    def _weights(self, pattern: Pattern, part: range, hold: bool, then: int) -> tuple[int, int]:
        """LOAD the one-hot tiles of a part of the words; where they are, and how many words.
        ``then`` words are still to come."""
        s = self.s
        words = len(part) * s.lanes + (0 if hold else PARAM_WORDS)
        at = s.spm.rotating(words, then + SLACK)
        assert at is not None, "the weights fit"
        s.load_weights(Stream(words, partial(_tiles, s.config, self.source, pattern, part, hold)),
                       at)
        return at, words

    def _piece(self, pattern: Pattern, nest: Nest, chain: list[range],
               places: list[tuple[int, int]]) -> None:
        offsets, gathered = list(pattern.offsets), None
        if self.view is not None:
            x = _Place(self.view.base + nest.source, nest.source_x, nest.source_y)
        else:
            size = nest.columns * nest.rows
            gathered = self._gathered(offsets, nest)
            x, offsets = _Place(gathered, 1, nest.columns), [i * size for i in range(len(offsets))]
        y = _Place(self.base + nest.out, nest.out_x, nest.out_y)
        for part, (w, words) in zip(chain, places):
            delta = offsets[part[1]] - offsets[part[0]] if len(part) > 1 else 0
            self._emit(pattern, nest, _Place(x.base + offsets[part[0]], x.x, x.y), y,
                       (len(part), delta), (w, words), part is not chain[0],
                       part is not chain[-1])
        if gathered is not None:
            self.s.spm.release(gathered)

    def _gathered(self, offsets: list[int], nest: Nest) -> int:
        """LOAD the source words of a nest, offset by offset side by side; where they are."""
        s, home, size = self.s, self.s.dram.home(self.source.x), nest.columns * nest.rows
        at = s.spm.rotating(len(offsets) * size, ALIGN)
        assert at is not None and home is not None, "the piece fits"
        for i, offset in enumerate(offsets):
            s.dma(Opcode.LOAD, home.region, home.offset + (nest.source + offset) * s.lanes,
                  at + i * size, [(1, 1, 1), (nest.columns, nest.source_x, 1),
                                  (nest.rows, nest.source_y, nest.columns)], home.stream)
        return at

    def _emit(self, pattern: Pattern, nest: Nest, x: _Place, y: _Place, passes: tuple[int, int],
              weights: tuple[int, int], acc: bool, hold: bool) -> None:
        s, op, (count, delta) = self.s, self.op, passes
        config, g, m = s.config, s.config.granules, s.config.tiles.bit_length() - 1
        gm = 1 << m
        units = -(-nest.rows // gm)
        rect, _ = rectangles(config, units, nest.columns, count, 1)
        full = Clip(op.clip.z, *RANGE[op.y.dtype])
        fields = {
            "nx": rect.nx, "ny": rect.ny, "ntx": rect.ntx, "nty": rect.nty,
            "nx_last": rect.nx_last, "ny_last": rect.ny_last,
            "ncb": count, "nr": 1, "ns": 1, "nnb": 1,
            "iw": 1, "ih": nest.rows, "iy_y": gm, "iy_m": 1,
            "a_base": g * x.base, "a_x": g * x.x, "a_y": g * gm * x.y, "a_m": g * x.y,
            "a_cb": g * delta, "a_signed": int(self.source.x.dtype == "int8"),
            "a_zp": self.source.zp, "w_ahead": 1, "w_base": weights[0], "w_signed": 1,
            "m_split": m, "m_last": nest.rows - gm * (units - 1), "n_last": 1,
            "acc": int(acc), "hold": int(hold), "o_base": y.base, "o_x": y.x,
            "o_y": gm * y.y, "o_m": y.y, "dtype": DTYPE[self.source.x.dtype],
            "w_skip": op.y.size - 1, "anchor": anchor(self.source.x, PRODUCT_ANCHOR),
            **bounds(op.y, op.clip if pattern.last and (pattern.first or op.y.floating) else full,
                     ("z1", "lo1", "hi1"))}
        writes = [] if hold else y.extents(nest)
        reads = [(SPM, weights[0], sum(weights)),
                 *(e for i in range(count) for e in x.extents(nest, i * delta))]
        if not pattern.first and not hold:
            clip = op.clip if pattern.last else full
            fields.update(residual=1, r_base=y.base, r_signed=int(op.y.dtype == "int8"),
                          r_zp=clip.z, scale_a=bits(np.float32(1)), scale_r=bits(np.float32(1)),
                          r_type=DTYPE[op.y.dtype])
            if not op.y.floating:
                fields.update(z2=clip.z, lo2=int(clip.lo), hi2=int(clip.hi))
            reads += writes
        s.emit(Opcode.TENSOR, fields, reads, writes)


def _tiles(config: Config, source: Source, pattern: Pattern, part: range, hold: bool) -> bytes:
    """One-hot tiles of a part of a pattern's words, one pass each."""
    x = source.x
    hot = one_hot(np.zeros(1, int), np.zeros(1, int), (1, 2), x.dtype).ravel()
    kind = np.uint16 if x.floating else np.uint8
    one, none = hot.astype(kind)
    tiles = np.full((len(part), config.lanes, config.lanes // x.size), none, kind)
    for column, (word, lane) in enumerate(zip(pattern.words, pattern.lanes)):
        if lane >= 0 and word in part:
            tiles[word - part[0], column, lane] = one
    if hold:
        return tiles.tobytes()
    bias = np.zeros(config.lanes, "<i4").tobytes()
    return tiles.tobytes() + bias + np.full(config.lanes, bits(source.scale), "<u4").tobytes()
