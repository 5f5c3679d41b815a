# SPDX-License-Identifier: Apache-2.0
"""VECTOR: element-wise addition or product, and maximum or sum over a window.

Where both operands and the output are INT8, each byte lane works by itself, as :mod:`golden.arith`
says. Otherwise everything is binary32, each step rounded, and :mod:`golden.results` makes the
output of it, with A and B the operands' elements (INT8 less the zero point)::

    ADD  f32(f32(A * scale_a) + f32(B * scale_b))        MUL  f32(f32(A * scale_a) * B)
    MAX  f32(max(A) * scale_a)                           SUM  f32(f32(exact sum(A)) * scale_a)
    EXP, RECIPROCAL, SIGMOID, TANH                f32(function(f32(A * scale_a)) * scale_b)

The functions are those of :mod:`golden.functions`; of INT8 alone there is none.
MAX is NaN if an element is; of no taps it is -infinity. SUM takes integers, or floats as units of
2^-24 (FP16) or ``2**anchor`` (BF16: each loses its bits below the unit; one whose lowest bit lies
above bit 40 counts as infinite and as an overflow); of FP32 there is none.

Channel block ``cb`` is L / S channels, S being the size of the largest type among the operands and
the output: a whole word of that one, ``s / S`` of a word of a type of size ``s``. Word
``cb * s // S`` has the address with that for the block's number. A word of the output that is not
filled at the end has zeros behind its elements.
"""

from collections.abc import Iterator

import numpy as np

from golden import arith
from golden.address import modular, on_circle, wrap
from golden.exact import SPLIT, Sums
from golden.fault import MachineFault
from golden.formats import FORMATS, largest, to_float, unpack
from golden.functions import evaluate
from golden.results import Exceptions, convert, known
from isa.config import Config
from isa.instructions import IMAGE_BITS, SPM_ADDRESS_BITS, DType, Fault, Instruction, VectorOp
from isa.numerics import ELEMENT_SHIFT_MAX, MAX_START


def execute(i: Instruction, index: int, spm: np.ndarray, config: Config,
            exceptions: Exceptions | None = None) -> None:
    """Run one VECTOR on ``spm`` (uint8 [words, L]); ``exceptions`` counts.

    Raises
    ------
    MachineFault
        BAD_FIELD or SPM_RANGE.
    """
    two = i.vop in (VectorOp.ADD, VectorOp.MUL)
    types = (i.a_type, i.o_type, *((i.b_type,) if two else ()))
    function = VectorOp(i.vop).function
    legal = (0 not in (i.nx, i.ny, i.ncb, i.ns, i.nr) and (any(types) or not function)
             and known(config, i.a_type, i.b_type, i.o_type)
             and (not (two or function) or (i.ns, i.nr) == (1, 1))
             and (i.vop != VectorOp.MUL or any(types))
             and (i.vop != VectorOp.SUM or i.a_type != DType.FP32)
             and on_circle(i.a_wrap, i.a_row, i.a_y, i.a_r)
             and (not two or on_circle(i.b_wrap, i.b_row, i.b_y))
             and on_circle(i.o_wrap, i.o_row, i.o_y))
    if not legal:
        raise MachineFault(Fault.BAD_FIELD, index)
    walk = Walk(i, index, spm, config, max(DType(t).size for t in types))
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

    def __init__(self, i: Instruction, index: int, spm: np.ndarray, config: Config, largest: int):
        self.i, self.index, self.spm, self.config, self.largest = i, index, spm, config, largest
        self.x, self.y = np.arange(i.nx), np.arange(i.ny)[:, None]
        self.cb = np.arange(i.ncb)[:, None, None]

    def taps(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Of each tap of the window, bytes [cb, y, x, part of a word] of the first operand, and
        where it is inside the image [y, x]."""
        i, size = self.i, DType(self.i.a_type).size
        for r in range(i.nr):
            iy = modular(i.iy0 + self.y * i.iy_y + r * i.iy_r, IMAGE_BITS)
            for s in range(i.ns):
                ix = modular(i.ix0 + self.x * i.ix_x + s * i.ix_s, IMAGE_BITS)
                inside = (iy >= 0) & (iy < i.ih) & (ix >= 0) & (ix < i.iw)
                at = (i.a_base + self.x * i.a_x + s * i.a_s + self._word(size) * i.a_cb
                      + wrap(i.a_row + self.y * i.a_y + r * i.a_r, i.a_wrap))
                yield self._part(at, size, inside), inside

    def second(self) -> np.ndarray:
        """Bytes [cb, y, x, part of a word] of the second operand."""
        i, size = self.i, DType(self.i.b_type).size
        at = (i.b_base + self.x * i.b_x + self._word(size) * i.b_cb
              + wrap(i.b_row + self.y * i.b_y, i.b_wrap))
        return self._part(at, size, True)

    def store(self, value: np.ndarray) -> None:
        """Write ``value`` (uint8 [cb, y, x, part of a word])."""
        i, per = self.i, self.largest // DType(self.i.o_type).size
        words = -(-i.ncb // per)
        whole = np.zeros((words * per, *value.shape[1:]), np.uint8)
        whole[:i.ncb] = value
        whole = whole.reshape(words, per, i.ny, i.nx, -1).transpose(0, 2, 3, 1, 4)
        at = (i.o_base + self.x * i.o_x + np.arange(words)[:, None, None] * i.o_cb
              + wrap(i.o_row + self.y * i.o_y, i.o_wrap))
        self.spm[self._check(at, True)] = whole.reshape(words, i.ny, i.nx, -1)

    def _word(self, size: int) -> np.ndarray:
        return self.cb * size // self.largest

    def _part(self, at: np.ndarray, size: int, used: np.ndarray | bool) -> np.ndarray:
        words = self.spm[self._check(at, used)]
        parts = words.reshape(*words.shape[:-1], self.largest // size, -1)
        which = (self.cb % (self.largest // size))[..., None, None]
        return np.take_along_axis(parts, which, axis=-2)[..., 0, :]

    def _check(self, at: np.ndarray, used: np.ndarray | bool) -> np.ndarray:
        at = modular(at, SPM_ADDRESS_BITS)
        if (((at < 0) | (at >= self.config.spm_words)) & used).any():
            raise MachineFault(Fault.SPM_RANGE, self.index)
        return np.where(used, at, 0)


def _integers(i: Instruction, walk: Walk) -> np.ndarray:
    acc = np.array(MAX_START if i.vop == VectorOp.MAX else 0, np.int32)
    for raw, inside in walk.taps():
        value = arith.operand(raw, i.a_signed, i.a_zp)
        if i.vop == VectorOp.MAX:
            acc = np.where(inside[..., None], np.maximum(acc, value), acc)
        else:
            acc = acc + np.where(inside[..., None], value, 0)
    scale = arith.scale_from_bits(i.scale_a)
    if i.vop == VectorOp.ADD:
        b = arith.operand(walk.second(), i.b_signed, i.b_zp)
        out = arith.add(acc, scale, b, arith.scale_from_bits(i.scale_b), i.z, i.lo, i.hi)
    else:
        out = arith.requantize(acc, scale, i.z, i.lo, i.hi)
    return out.astype(np.uint8)


def _floats(i: Instruction, walk: Walk) -> tuple[np.ndarray, np.ndarray]:
    """Results in binary32 [cb, y, x, channel], and which overflowed."""
    a_type, overflow = DType(i.a_type), np.zeros((), bool)
    if i.vop == VectorOp.SUM:
        value, overflow = _sum(i, walk)
    else:
        value = np.full((1, 1, 1, 1), -np.inf, np.float32)
        for raw, inside in walk.taps():
            tap = to_float(raw, a_type, i.a_signed, i.a_zp)
            alone = i.vop != VectorOp.MAX
            value = np.where(inside[..., None], tap if alone else largest(value, tap),
                             np.float32(0) if alone else value)
    value = value * arith.factor_from_bits(i.scale_a)
    if i.vop in (VectorOp.ADD, VectorOp.MUL):
        b = to_float(walk.second(), DType(i.b_type), i.b_signed, i.b_zp)
        value = (value + b * arith.factor_from_bits(i.scale_b) if i.vop == VectorOp.ADD
                 else value * b)
    elif VectorOp(i.vop).function:
        value = evaluate(VectorOp(i.vop), value) * arith.factor_from_bits(i.scale_b)
    return value, overflow


def _sum(i: Instruction, walk: Walk) -> tuple[np.ndarray, np.ndarray]:
    """The exact sum over the window, rounded to binary32 [cb, y, x, channel], and which
    overflowed."""
    a_type = DType(i.a_type)
    unit = {DType.INT8: 0, DType.FP16: FORMATS[DType.FP16].unit, DType.BF16: i.anchor}[a_type]
    sums, overflow = Sums.zeros(()), np.zeros((), bool)
    for raw, inside in walk.taps():
        keep = inside[..., None]
        tap = Sums.zeros(())
        if a_type is DType.INT8:
            whole = arith.operand(raw, i.a_signed, i.a_zp).astype(np.int64)
        else:
            p = unpack(np.ascontiguousarray(raw).view("<u2"), a_type)
            shift = p.shift + FORMATS[a_type].unit - unit
            beyond = (shift > ELEMENT_SHIFT_MAX) & (p.significand != 0)
            magnitude = np.where(beyond, 0, np.where(
                shift < 0, p.significand >> np.clip(-shift, 0, 63),
                p.significand << np.clip(shift, 0, ELEMENT_SHIFT_MAX)))
            whole = np.where(p.negative, -magnitude, magnitude)
            infinite = p.inf | beyond
            tap.nan, tap.positive, tap.negative = (
                keep & v for v in (p.nan, infinite & ~p.negative, infinite & p.negative))
            overflow = overflow | (keep & beyond)
        whole = np.where(keep, whole, 0)
        tap.high, tap.low = whole >> SPLIT, whole & ((1 << SPLIT) - 1)
        sums = sums + tap
    return sums.to_float(unit), overflow
