# SPDX-License-Identifier: Apache-2.0
"""Sums of floating-point products in fixed point, without rounding.

An accumulator counts units of ``2**unit``: for FP16 the product of two smallest subnormals, 2^-48,
so that every product is a whole number of units below 2^80; for BF16 ``2**anchor``. A BF16 product
loses its bits below the unit, sign and magnitude, by itself; one whose lowest bit lies above bit 64
counts as an infinity of its sign and as an overflow. So a sum is the same in whatever order its
products come. A reduction has at most 2^15 products (:data:`isa.config.REDUCTION`) and stays below
2^95.

NaN times anything, and an infinity times zero, are NaN; infinities of both signs in one sum are
NaN. A weight of pattern -0 makes no product at all (:data:`isa.instructions.ABSENT`).
"""

from dataclasses import dataclass

import numpy as np

from golden.formats import FORMATS, Parts, unpack, whole
from isa.instructions import ABSENT, DType
from isa.numerics import PRODUCT_SHIFT_MAX

SPLIT = 48
"""A sum is two INT64: ``high * 2**SPLIT + low`` with ``0 <= low < 2**SPLIT``."""

SLICE = 19
"""Bits of the pieces of operands; a sum of 2^15 products of pieces is exact in binary64."""


@dataclass
class Sums:
    """Exact sums, arrays of one shape; the flags say what other than numbers was in them."""

    high: np.ndarray
    low: np.ndarray
    nan: np.ndarray
    positive: np.ndarray
    negative: np.ndarray

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> "Sums":
        """Empty sums."""
        return cls(*(np.zeros(shape, t) for t in (np.int64, np.int64, bool, bool, bool)))

    def parts(self) -> tuple[np.ndarray, ...]:
        """All arrays, in the order of the fields."""
        return self.high, self.low, self.nan, self.positive, self.negative

    def __add__(self, other: "Sums") -> "Sums":
        low = self.low + other.low
        return Sums(self.high + other.high + (low >> SPLIT), low & ((1 << SPLIT) - 1),
                    self.nan | other.nan, self.positive | other.positive,
                    self.negative | other.negative)

    def to_float(self, unit: int) -> np.ndarray:
        """Rounded once, to binary32: the sums times ``2**unit``."""
        high, low = self.high.astype(np.float64) * 2.0 ** SPLIT, self.low.astype(np.float64)
        # The error of the sum in binary64 is exact (Knuth's two-sum); rounding to odd instead of
        # to nearest keeps a second rounding, to fewer bits, correct (Boldo and Melquiond).
        total = high + low
        back = total - high
        error = (high - (total - back)) + (low - back)
        even = (total.view(np.int64) & 1) == 0
        total = np.where((error != 0) & even, np.nextafter(total, np.copysign(np.inf, error)),
                         total)
        with np.errstate(over="ignore"):
            value = np.ldexp(total, unit).astype(np.float32)
        value = np.where(self.positive, np.float32(np.inf), value)
        value = np.where(self.negative, np.float32(-np.inf), value)
        nan = self.nan | (self.positive & self.negative)
        return np.where(nan, np.float32(np.nan), value).astype(np.float32)


def unit_of(dtype: DType, anchor: int) -> int:
    """Exponent of an accumulator's lowest bit."""
    return 2 * FORMATS[dtype].unit if dtype is DType.FP16 else anchor


def product(x: Parts, y: Parts, used: np.ndarray, base: int) -> tuple[Sums, np.ndarray]:
    """``x * y`` element by element (shapes broadcast), where ``used``, and which overflow.

    ``base`` is the exponent of a product of significands whose shifts are 0, above the unit.
    """
    magnitude = np.where(used, x.significand * y.significand, 0)
    shift, negative = x.shift + y.shift + base, x.negative ^ y.negative
    beyond = (shift > PRODUCT_SHIFT_MAX) & (magnitude != 0)
    magnitude = np.where(shift < 0, magnitude >> np.clip(-shift, 0, 63), magnitude)
    magnitude = np.where(beyond, 0, magnitude)
    sums = _shifted(np.where(negative, -magnitude, magnitude), np.clip(shift, 0, PRODUCT_SHIFT_MAX))
    sums.nan = used & (x.nan | y.nan | (x.inf & y.zero) | (x.zero & y.inf))
    infinite = beyond | (used & (x.inf | y.inf) & ~sums.nan)
    sums.positive, sums.negative = infinite & ~negative, infinite & negative
    return sums, beyond


def base_of(dtype: DType, anchor: int) -> int:
    """``base`` of :func:`product`."""
    return 2 * FORMATS[dtype].unit - unit_of(dtype, anchor)


def products(a: np.ndarray, w: np.ndarray, dtype: DType, anchor: int) -> tuple[Sums, np.ndarray]:
    """The matrix product of ``a`` and ``w``, and which of its sums overflow.

    Parameters
    ----------
    a : uint16 [..., P, K]
        Patterns of activations.
    w : uint16 or INT16 [..., K, C]
        Patterns of weights, or integers; leading axes as in numpy's matmul.
    anchor : int
        Exponent of the lowest bit, for BF16.

    Returns
    -------
    Sums [..., P, C], overflows (bool of that shape)
    """
    x, patterns = unpack(a, dtype), w.dtype == np.uint16
    y = unpack(w, dtype) if patterns else whole(w, dtype)
    base, used = base_of(dtype, anchor), (w != ABSENT) | (not patterns)
    special = (x.nan | x.inf).any() or (y.nan | y.inf).any()
    if not special and base + _least(x) + _least(y) >= 0 \
            and base + _most(x) + _most(y) <= PRODUCT_SHIFT_MAX:
        sums = _sliced(x, y, base)
        return sums, np.zeros(sums.high.shape, bool)
    shape = np.broadcast_shapes(a.shape[:-2], w.shape[:-2]) + (a.shape[-2], w.shape[-1])
    sums, overflow = Sums.zeros(shape), np.zeros(shape, bool)
    for k in range(a.shape[-1]):
        one, beyond = product(x[..., :, k, None], y[..., None, k, :], used[..., None, k, :], base)
        sums, overflow = sums + one, overflow | beyond
    return sums, overflow


def _least(p: Parts) -> int:
    return int(p.shift[p.significand != 0].min(initial=1 << 20))


def _most(p: Parts) -> int:
    return int(p.shift[p.significand != 0].max(initial=-(1 << 20)))


def _sliced(x: Parts, y: Parts, base: int) -> Sums:
    """All products in the window: integers, cut into slices, multiplied as binary64 matrices."""
    pieces = []
    for p in (x, y):
        low = _least(p) if p.significand.any() else 0
        sign = np.where(p.negative, -1.0, 1.0)
        shift = np.where(p.significand != 0, p.shift - low, 0)
        count = (int(shift.max(initial=0)) + 11) // SLICE + 1
        # significand * 2**shift lies in two neighboring slices, the second one perhaps empty
        at, within = np.divmod(shift, SLICE)
        wide = p.significand << within
        parts = [np.where(at == k, wide & ((1 << SLICE) - 1), 0)
                 + np.where(at == k - 1, wide >> SLICE, 0) for k in range(count + 1)]
        pieces.append((low, [sign * v for v in parts]))
    (x_low, xs), (y_low, ys) = pieces
    start = base + x_low + y_low
    sums = Sums.zeros(np.broadcast_shapes(x.shift.shape[:-2], y.shift.shape[:-2])
                      + (x.shift.shape[-2], y.shift.shape[-1]))
    for i, u in enumerate(xs):
        for j, v in enumerate(ys):
            if u.any() and v.any():
                sums = sums + _shifted(np.matmul(u, v).astype(np.int64), start + SLICE * (i + j))
    return sums


def _shifted(value: np.ndarray, shift: int | np.ndarray) -> Sums:
    """INT64 times ``2**shift``, 0 … 88, as sums; the result is below 2^95."""
    sums = Sums.zeros(value.shape)
    down = np.maximum(SPLIT - shift, 0)
    up = np.maximum(shift - SPLIT, 0)
    sums.high = (value >> np.minimum(down, 63)) << up
    sums.low = np.where(down > 0, (value & ((1 << down) - 1)) << (SPLIT - down), 0)
    return sums
