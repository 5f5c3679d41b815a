# SPDX-License-Identifier: Apache-2.0
"""VECTOR: element-wise addition or product, and maximum or sum over a window.

Where both operands and the output are INT8, each byte lane works by itself, as :mod:`golden.arith`
says. Otherwise everything is binary32, each step rounded, and :mod:`golden.results` makes the
output of it, with A and B the operands' elements (INT8 less the zero point)::

    ADD  f32(f32(A * scale_a) + f32(B * scale_b))        MUL  f32(f32(A * scale_a) * B)
    MAX  f32(max(A) * scale_a)                           SUM  f32(f32(exact sum(A)) * scale_a)
    EXP, RECIPROCAL, SIGMOID, TANH, RSQRT, GELU   f32(function(f32(A * scale_a)) * scale_b)
    … with ``plus``                 function(f32(f32(A * scale_a) + f32(B * scale_b)))

The functions are those of :mod:`golden.functions`; of INT8 alone there is none. The second operand
is one number for all channels where ``b_cb`` is 0 and the elements of its word are equal, for all
columns where ``b_x`` is 0, for all rows where ``b_y`` is: the largest of a token is subtracted with
``plus`` and a negative scale.
MAX is NaN if an element is; of no taps it is -infinity. SUM takes integers, or floats as units of
2^-24 (FP16) or ``2**anchor`` (BF16: each loses its bits below the unit; one whose lowest bit lies
above bit 40 counts as infinite and as an overflow); of FP32 there is none.

Channel block ``cb`` is L / S channels, S being the size of the largest type among the operands and
the output: a whole word of that one, ``s / S`` of a word of a type of size ``s``. Word
``cb * s // S`` has the address with that for the block's number. A word of the output that is not
filled at the end has zeros behind its elements.
"""

import functools
from collections.abc import Iterator

import numpy as np

from golden import arith
from golden.address import checked, grid, in_image, on_circle, wrap
from golden.exact import SPLIT, Sums
from golden.fault import MachineFault
from golden.formats import FORMATS, largest, to_float, unpack
from golden.functions import evaluate
from golden.results import Exceptions, convert, known
from isa.config import Config
from isa.instructions import DType, Fault, Instruction, VectorOp
from isa.numerics import ELEMENT_SHIFT_MAX, MAX_START

CHUNK = 1 << 14
"""Words of taps gathered at a time; as many integers below 2^48 add up in an INT64."""


def execute(i: Instruction, index: int, spm: np.ndarray, config: Config,
            exceptions: Exceptions | None = None) -> None:
    """Run one VECTOR on ``spm`` (uint8 [words, L]); ``exceptions`` counts.

    Raises
    ------
    MachineFault
        BAD_FIELD or SPM_RANGE.
    """
    if i.vop >= len(VectorOp):
        raise MachineFault(Fault.BAD_FIELD, index)
    two = i.vop in (VectorOp.ADD, VectorOp.MUL) or bool(i.plus)
    types = (i.a_type, i.o_type, *((i.b_type,) if two else ()))
    function = VectorOp(i.vop).function
    scales = [arith.from_bits(bits) for bits, used in (
        (i.scale_a, True), (i.scale_b, function or i.vop == VectorOp.ADD)) if used]
    legal = (0 not in (i.nx, i.ny, i.ncb, i.ns, i.nr) and (any(types) or not function)
             and (function or not i.plus)
             and (not i.fold or (i.vop in (VectorOp.MAX, VectorOp.SUM) and i.a_type and i.o_type))
             and known(config, i.a_type, i.b_type, i.o_type)
             and (not (two or function) or (i.ns, i.nr) == (1, 1))
             and (i.vop != VectorOp.MUL or any(types))
             and (i.vop != VectorOp.SUM or i.a_type != DType.FP32)
             and all(map(arith.is_factor if any(types) else arith.is_scale, scales))
             and on_circle(i.a_wrap, i.a_row, i.a_y, i.a_r)
             and (not two or on_circle(i.b_wrap, i.b_row, i.b_y))
             and on_circle(i.o_wrap, i.o_row, i.o_y))
    if not legal:
        raise MachineFault(Fault.BAD_FIELD, index)
    walk = Walk(i, index, spm, max(DType(t).size for t in types))
    if not any(types):
        walk.store(_integers(i, walk))
        return
    with np.errstate(over="ignore", invalid="ignore"):
        value, overflow = _floats(i, walk)
    result = convert(value, DType(i.o_type), i, i.z, i.lo, i.hi)
    walk.store(result)
    numbers = value if i.o_type == DType.INT8 else to_float(result, DType(i.o_type))
    if exceptions:
        exceptions.count(numbers, overflow)


class Walk:
    """The instruction's positions in the scratchpad: blocks, rows and columns of the output."""

    def __init__(self, i: Instruction, index: int, spm: np.ndarray, largest: int):
        self.i, self.index, self.spm, self.largest = i, index, spm, largest

    def taps(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The taps of some rows of the window at a time: bytes [cb, y, x, r, s, part of a word] of
        the first operand, and where they are inside the image [y, x, r, s]."""
        i = self.i
        in_x = in_image(i.iw, i.ix0, (i.nx, i.ix_x), (1, 0), (i.ns, i.ix_s))
        column = grid(i.a_base, (i.nx, i.a_x), (1, 0), (i.ns, i.a_s))
        some = max(1, CHUNK // (i.ncb * i.ny * i.nx * i.ns))
        for r in range(0, i.nr, some):
            nr = min(some, i.nr - r)
            in_y = in_image(i.ih, i.iy0 + r * i.iy_r, (i.ny, i.iy_y), (1, 0), (nr, i.iy_r), (1, 0))
            row = grid(i.a_row + r * i.a_r, (i.ny, i.a_y), (1, 0), (nr, i.a_r), (1, 0))
            inside = in_y & in_x
            yield self._parts(column + wrap(row, i.a_wrap), i.a_cb, i.a_type, inside), inside

    def second(self) -> np.ndarray:
        """Bytes [cb, y, x, part of a word] of the second operand."""
        i = self.i
        row = grid(i.b_row, (i.ny, i.b_y), (1, 0))
        return self._parts(grid(i.b_base, (i.nx, i.b_x)) + wrap(row, i.b_wrap), i.b_cb, i.b_type)

    def store(self, value: np.ndarray) -> None:
        """Write ``value`` (uint8 [cb, y, x, part of a word])."""
        i, per = self.i, self._per(self.i.o_type)
        words = -(-i.ncb // per)
        whole = np.zeros((words * per, *value.shape[1:]), np.uint8)
        whole[:i.ncb] = value
        whole = whole.reshape(words, per, i.ny, i.nx, -1).transpose(0, 2, 3, 1, 4)
        row = wrap(grid(i.o_row, (i.ny, i.o_y), (1, 0)), i.o_wrap)
        at = grid(i.o_base, (words, i.o_cb), (1, 0), (i.nx, i.o_x)) + row
        self.spm[checked(at, len(self.spm), self.index)] = whole.reshape(words, i.ny, i.nx, -1)

    def _per(self, dtype: int) -> int:
        """Channel blocks in a word."""
        return 1 if self.i.fold else self.largest // DType(dtype).size

    def _parts(self, at: np.ndarray, step: int, dtype: int, used: np.ndarray | bool = True
               ) -> np.ndarray:
        """What lies at words ``at`` [...] and ``step`` further with each word: bytes [cb, ...]."""
        per = self._per(dtype)
        cb = np.arange(self.i.ncb).reshape(-1, *(1 for _ in at.shape))
        parts = np.asarray(self.spm).reshape(len(self.spm) * per, -1)
        words = checked(at + cb // per * step, len(self.spm), self.index, used)
        return parts.take(words * per + cb % per, axis=0)


def _integers(i: Instruction, walk: Walk) -> np.ndarray:
    acc = np.array(MAX_START if i.vop == VectorOp.MAX else 0, np.int32)
    for raw, inside in walk.taps():
        value = arith.operand(raw, i.a_signed, i.a_zp)
        if not inside.all():
            value[:, ~inside] = MAX_START if i.vop == VectorOp.MAX else 0
        if i.vop == VectorOp.MAX:
            acc = np.maximum(acc, value.max(axis=(3, 4)))
        else:
            acc = acc + value.sum(axis=(3, 4), dtype=np.int32)
    scale = arith.from_bits(i.scale_a)
    if i.vop == VectorOp.ADD:
        b = arith.operand(walk.second(), i.b_signed, i.b_zp)
        out = arith.add(acc, scale, b, arith.from_bits(i.scale_b), i.z, i.lo, i.hi)
    else:
        out = arith.requantize(acc, scale, i.z, i.lo, i.hi)
    return out.astype(np.uint8)


def _floats(i: Instruction, walk: Walk) -> tuple[np.ndarray, np.ndarray]:
    """Results in binary32 [cb, y, x, channel], and which overflowed."""
    overflow = np.zeros((), bool)
    if i.vop == VectorOp.SUM:
        value, overflow = _sum(i, walk)
    else:
        none = np.float32(-np.inf if i.vop == VectorOp.MAX else 0)
        taps = [np.where(inside[..., None], to_float(raw, DType(i.a_type), i.a_signed, i.a_zp),
                         none) for raw, inside in walk.taps()]
        value = functools.reduce(largest, (
            tap[:, :, :, r, s] for tap in taps for r, s in np.ndindex(tap.shape[3:5])))
        if i.fold:
            value = functools.reduce(largest, np.moveaxis(value, -1, 0))[..., None]
    value = value * arith.from_bits(i.scale_a)
    scale = arith.from_bits(i.scale_b)
    if i.vop in (VectorOp.ADD, VectorOp.MUL) or i.plus:
        b = to_float(walk.second(), DType(i.b_type), i.b_signed, i.b_zp)
        value = value * b if i.vop == VectorOp.MUL else value + b * scale
    if VectorOp(i.vop).function:
        value = evaluate(VectorOp(i.vop), value)
        value = value if i.plus else value * scale
    if i.fold:
        elements = walk.spm.shape[1] // DType(i.o_type).size
        value = np.repeat(value, elements, axis=-1)
        overflow = np.broadcast_to(overflow, value.shape)
    return value, overflow


def _sum(i: Instruction, walk: Walk) -> tuple[np.ndarray, np.ndarray]:
    """The exact sum over the window, rounded to binary32 [cb, y, x, channel], and which
    overflowed."""
    a_type, taps = DType(i.a_type), (3, 4)
    unit = {DType.INT8: 0, DType.FP16: FORMATS[DType.FP16].unit, DType.BF16: i.anchor}[a_type]
    sums, overflow = Sums.zeros(()), np.zeros((), bool)
    for raw, inside in walk.taps():
        keep = inside[..., None]
        some = Sums.zeros(())
        if a_type is DType.INT8:
            whole = arith.operand(raw, i.a_signed, i.a_zp).astype(np.int64)
        else:
            p = unpack(raw.view("<u2"), a_type)
            shift = p.shift + FORMATS[a_type].unit - unit
            beyond = (shift > ELEMENT_SHIFT_MAX) & (p.significand != 0)
            magnitude = np.where(beyond, 0, np.where(
                shift < 0, p.significand >> np.clip(-shift, 0, 63),
                p.significand << np.clip(shift, 0, ELEMENT_SHIFT_MAX)))
            whole = np.where(p.negative, -magnitude, magnitude)
            infinite = p.inf | beyond
            some.nan, some.positive, some.negative = (
                (keep & v).any(axis=taps)
                for v in (p.nan, infinite & ~p.negative, infinite & p.negative))
            overflow = overflow | (keep & beyond).any(axis=taps)
        whole = np.where(keep, whole, 0)
        some.high = (whole >> SPLIT).sum(axis=taps)
        some.low = (whole & ((1 << SPLIT) - 1)).sum(axis=taps)
        sums = sums + some
    if i.fold:
        sums = Sums.zeros(()) + Sums(*(v.sum(-1, v.dtype, keepdims=True) for v in sums.parts()))
        overflow = np.asarray(overflow.any(axis=-1, keepdims=True))
    return sums.to_float(unit), overflow
