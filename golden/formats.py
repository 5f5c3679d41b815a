# SPDX-License-Identifier: Apache-2.0
"""Floating-point formats: taking patterns apart, widening to binary32, rounding to storage.

Rounding is to nearest, ties to even; subnormals are kept everywhere; every NaN that leaves is the
canonical quiet one (positive, only the highest mantissa bit set).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from golden.arith import operand
from isa.instructions import DType


@dataclass(frozen=True)
class Format:
    """A 16-bit format: mantissa bits without the hidden one, and the largest exponent field, which
    means infinity or NaN."""

    mantissa: int
    top: int

    @property
    def unit(self) -> int:
        """Exponent of the lowest bit of the smallest subnormal."""
        return 2 - (self.top + 1) // 2 - self.mantissa


FORMATS = {DType.FP16: Format(10, 31), DType.BF16: Format(7, 255)}

CANONICAL_NAN = {DType.FP16: 0x7E00, DType.BF16: 0x7FC0, DType.FP32: 0x7FC00000}


@dataclass(frozen=True)
class Parts:
    """Numbers taken apart, arrays of one shape: ``(-1)**negative * significand * 2**(shift +
    unit)``; where ``nan`` or ``inf`` the significand is 0."""

    negative: np.ndarray
    significand: np.ndarray
    shift: np.ndarray
    nan: np.ndarray
    inf: np.ndarray

    @property
    def zero(self) -> np.ndarray:
        """Which are zeros of either sign."""
        return (self.significand == 0) & ~self.nan & ~self.inf

    def __getitem__(self, at: Any) -> "Parts":
        return Parts(self.negative[at], self.significand[at], self.shift[at], self.nan[at],
                     self.inf[at])


def unpack(bits: np.ndarray, dtype: DType) -> Parts:
    """uint16 patterns taken apart; significand and shift are INT64."""
    form = FORMATS[dtype]
    bits = bits.astype(np.int64)
    exponent, mantissa = bits >> form.mantissa & form.top, bits & ((1 << form.mantissa) - 1)
    special = exponent == form.top
    hidden = np.where(exponent > 0, 1 << form.mantissa, 0)
    return Parts(bits >> 15 & 1 == 1, np.where(special, 0, mantissa + hidden),
                 np.where(special, 0, np.maximum(exponent, 1) - 1),
                 special & (mantissa != 0), special & (mantissa == 0))


def whole(value: np.ndarray, dtype: DType) -> Parts:
    """Integers (INT16) taken apart as if a type had them: their lowest bit weighs 1."""
    value, none = value.astype(np.int64), np.zeros(value.shape, bool)
    return Parts(value < 0, np.abs(value), np.full(value.shape, -FORMATS[dtype].unit), none, none)


def to_float(raw: np.ndarray, dtype: DType, signed: int = 0, zero_point: int = 0) -> np.ndarray:
    """Bytes (uint8 [..., n * size]) as binary32 [..., n], exactly; INT8 less its zero point."""
    raw = np.ascontiguousarray(raw)
    if dtype is DType.INT8:
        return operand(raw, signed, zero_point).astype(np.float32)
    if dtype is DType.FP16:
        return raw.view("<f2").astype(np.float32)
    if dtype is DType.BF16:
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return raw.view("<f4").copy()


def from_float(value: np.ndarray, dtype: DType) -> np.ndarray:
    """Binary32 [..., n] rounded to FP16, BF16 or FP32: bytes (uint8 [..., n * size])."""
    value = np.ascontiguousarray(value, np.float32)
    if dtype is DType.FP16:
        with np.errstate(over="ignore"):
            bits = value.astype("<f2").view("<u2")
    elif dtype is DType.BF16:
        wide = value.view(np.uint32).astype(np.uint64)
        bits = ((wide + 0x7FFF + (wide >> 16 & 1)) >> 16).astype("<u2")
    else:
        bits = value.view("<u4")
    nan = np.array(CANONICAL_NAN[dtype], bits.dtype)
    return np.ascontiguousarray(np.where(np.isnan(value), nan, bits)).view(np.uint8)


def largest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The larger of two binary32 numbers, +0 above -0, NaN above everything."""
    def key(value: np.ndarray) -> np.ndarray:
        bits = np.ascontiguousarray(value, np.float32).view(np.int32)
        return np.where(np.isnan(value), np.iinfo(np.int32).max,
                        np.where(bits < 0, -(bits & 0x7FFFFFFF) - 1, bits))
    return np.where(key(a) > key(b), a, b)


def pattern(bits: int) -> np.float32:
    """The binary32 value of a binary16 pattern."""
    return np.float32(np.array([bits], np.uint16).view(np.float16)[0])
