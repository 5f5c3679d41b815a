# SPDX-License-Identifier: Apache-2.0
"""The words that an instruction reads and writes.

Addresses of every instruction are sums of loops, and whether a position counts is a condition on
its row and one on its column; so the words are all sums of a row's, a column's and a block's
offset. What an instruction reads outside an image, and does not use, is not among them.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from isa.config import FLOAT_PARAM_WORDS, PARAM_WORDS, SPM_ADDRESS_BITS, Config
from isa.instructions import IMAGE_BITS, DType, Instruction, Opcode, VectorOp

GRANULE_BITS = SPM_ADDRESS_BITS + 2

Words = np.ndarray
"""Addresses, each once, ascending (int64)."""

Loops = Iterable[tuple[int, int]]
"""Counts and steps."""


@dataclass
class Touched:
    """Words of the own scratchpad that an instruction ``reads``, reads as ``weights`` (as soon as
    its waits for LOADs allow) and ``writes``; words of other scratchpads that it ``sends``; words
    of its DRAM region, read by a LOAD and written by a STORE. Those outside are among them."""

    reads: Words = field(default_factory=lambda: np.zeros(0, np.int64))
    weights: Words = field(default_factory=lambda: np.zeros(0, np.int64))
    writes: Words = field(default_factory=lambda: np.zeros(0, np.int64))
    sends: Words = field(default_factory=lambda: np.zeros(0, np.int64))
    dram: Words = field(default_factory=lambda: np.zeros(0, np.int64))


def touched(i: Instruction, config: Config) -> Touched:
    """What an instruction touches on a machine."""
    if i.opcode in (Opcode.LOAD, Opcode.STORE):
        size = config.word_bytes
        spm = _runs(i, i.spm, [getattr(i, f"spm_stride{k}") for k in (1, 2, 3)])
        dram = _runs(i, i.dram // size, [getattr(i, f"dram_stride{k}") // size for k in (1, 2, 3)])
        return (Touched(writes=spm, dram=dram) if i.opcode is Opcode.LOAD
                else Touched(reads=spm, dram=dram))
    if i.opcode is Opcode.XFER:
        return Touched(
            reads=_runs(i, i.spm, [getattr(i, f"spm_stride{k}") for k in (1, 2, 3)]),
            sends=_runs(i, i.peer, [getattr(i, f"peer_stride{k}") for k in (1, 2, 3)]))
    if i.opcode is Opcode.TENSOR:
        return _tensor(i, config)
    if i.opcode is Opcode.WINDOW:
        return _window(i, config)
    if i.opcode is Opcode.VECTOR:
        return _vector(i)
    return Touched()


def _offsets(*loops: tuple[int, int]) -> np.ndarray:
    """Sums of nested loops, an axis each."""
    at = np.zeros((), np.int64)
    for count, step in loops:
        at = at[..., None] + np.arange(count, dtype=np.int64) * step
    return at


def _all(*parts: np.ndarray) -> Words:
    """Every sum of an offset of each part."""
    return functools.reduce(lambda a, b: np.unique(a[:, None] + b), map(np.unique, parts))


def _runs(i: Instruction, base: int, strides: list[int]) -> Words:
    loops = [_offsets((count if step else 1, step))
             for count, step in zip((i.n1, i.n2, i.n3), strides)]
    return _all(np.array([base]), _offsets((i.n0, 1)), *loops)


def _circle(row: np.ndarray, size: int) -> np.ndarray:
    return row % size if size else row


def _inside(at: np.ndarray, size: int) -> np.ndarray:
    """Whether image coordinates are in the image."""
    return (at & (1 << IMAGE_BITS) - 1) < size


def _signed(at: Words, bits: int = SPM_ADDRESS_BITS) -> Words:
    """Addresses modulo the width of their fields, as two's complement."""
    return np.unique((at + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1))


def _lines(i: Instruction, units: int) -> tuple[np.ndarray, np.ndarray]:
    """Units and pixel streams of the output rows that are valid, of TENSOR and WINDOW."""
    return np.divmod(np.arange(((units - 1) << i.m_split) + i.m_last), 1 << i.m_split)


def _rows(i: Instruction, unit: np.ndarray, stream: np.ndarray) -> np.ndarray:
    """Positions of the input rows inside the image that these read."""
    kernel = np.arange(i.nr)
    row = _circle(i.a_row + (unit * i.a_y + stream * i.a_m)[:, None] + kernel * i.a_r, i.a_wrap)
    return row[_inside(i.iy0 + (unit * i.iy_y + stream * i.iy_m)[:, None] + kernel * i.iy_r, i.ih)]


def _tensor(i: Instruction, config: Config) -> Touched:
    gn, per = config.tiles >> i.m_split, config.granules
    columns = (i.ntx - 1) * i.nx + i.nx_last
    blocks = (i.nnb - 1) * gn + i.n_last
    unit, stream = _lines(i, (i.nty - 1) * i.ny + i.ny_last)
    granule = np.arange(per)
    aside = (np.zeros_like(granule), granule, granule >> 1)[i.lane_dx]
    column = _offsets((columns, i.a_x), (i.ns, i.a_s))[..., None] + granule
    column = column[_inside(i.ix0 + _offsets((columns, i.ix_x), (i.ns, i.ix_s))[..., None] + aside,
                            i.iw)]
    reads = _all(np.array([i.a_base]), _rows(i, unit, stream), column, _offsets((i.ncb, i.a_cb)),
                 _offsets((i.nnb, i.a_nb)))
    found = [_signed(reads, GRANULE_BITS) // per]
    tile = config.lanes >> i.w_type
    weights = i.w_base + np.arange(
        i.nnb * gn * (i.nr * i.ns * i.ncb * tile + (0 if i.hold else PARAM_WORDS)))
    if i.hold:
        return Touched(np.unique(found[0]), weights)
    o_size, r_size = DType(i.o_type).size, DType(i.r_type).size
    line = unit * i.o_y + stream * i.o_m

    def words(base: int, first: int, circle: int, step: int, count: int) -> Words:
        return _signed(_all(np.array([base]), _circle(first + line, circle),
                            _offsets((columns, i.o_x)), _offsets((count, step))))
    if i.residual:
        found.append(words(i.r_base, i.r_row, i.r_wrap, i.r_n,
                           blocks * r_size - i.w_skip * r_size // o_size))
    return Touched(np.unique(np.concatenate(found)), weights,
                   words(i.o_base, i.o_row, i.o_wrap, i.o_n, blocks * o_size - i.w_skip))


def _window(i: Instruction, config: Config) -> Touched:
    blocks = (i.nnb - 1) * (config.tiles >> i.m_split) + i.n_last
    unit, stream = _lines(i, i.ny)
    taps = _offsets((i.nx, i.stride), (i.ns, 1))
    column = taps[_inside(i.ix0 + taps * i.ix_x, i.iw)] * i.a_x
    each = i.stride * i.nr * i.ng * config.window_taps + (
        FLOAT_PARAM_WORDS if i.dtype else PARAM_WORDS)
    line = unit * i.o_y + stream * i.o_m
    return Touched(
        _signed(_all(np.array([i.a_base]), _rows(i, unit, stream), column,
                     _offsets((blocks, i.a_n)))),
        _signed(_all(np.array([i.w_base]), _offsets((blocks, i.w_n)), np.arange(each))),
        _signed(_all(np.array([i.o_base]), _circle(i.o_row + line, i.o_wrap),
                     _offsets((i.nx, i.o_x)), _offsets((blocks, i.o_n)))))


def _vector(i: Instruction) -> Touched:
    two = i.vop in (VectorOp.ADD, VectorOp.MUL) or i.plus
    types = [i.a_type, i.o_type, *([i.b_type] if two else [])]
    largest = max(DType(t).size for t in types)

    def blocks(dtype: int, step: int) -> np.ndarray:
        per = 1 if i.fold else largest // DType(dtype).size
        return _offsets((-(-i.ncb // per), step))
    row = _circle(i.a_row + _offsets((i.ny, i.a_y), (i.nr, i.a_r)), i.a_wrap)
    row = row[_inside(i.iy0 + _offsets((i.ny, i.iy_y), (i.nr, i.iy_r)), i.ih)]
    column = _offsets((i.nx, i.a_x), (i.ns, i.a_s))
    column = column[_inside(i.ix0 + _offsets((i.nx, i.ix_x), (i.ns, i.ix_s)), i.iw)]
    found = [_all(np.array([i.a_base]), row, column, blocks(i.a_type, i.a_cb))]
    if two:
        found.append(_all(np.array([i.b_base]), _circle(i.b_row + _offsets((i.ny, i.b_y)),
                                                        i.b_wrap),
                          _offsets((i.nx, i.b_x)), blocks(i.b_type, i.b_cb)))
    return Touched(
        _signed(np.concatenate(found)),
        writes=_signed(_all(np.array([i.o_base]), _circle(i.o_row + _offsets((i.ny, i.o_y)),
                                                          i.o_wrap),
                            _offsets((i.nx, i.o_x)), blocks(i.o_type, i.o_cb))))
