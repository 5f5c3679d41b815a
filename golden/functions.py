# SPDX-License-Identifier: Apache-2.0
"""The functions of VECTOR: exponential, reciprocal, sigmoid, hyperbolic tangent, reciprocal square
root and GELU of binary32.

All are made of tables (:mod:`isa.functions`), in integers, with ``|x| = 2^n * (1 + f)``::

    e^±|x| = 2^i * POWER(f)     i.f = ±(X * log2 e), X = |x| rounded down to 2^-24 and below 2^8
    1/x    = ±2^-n * INVERSE(f)
    sigmoid(|x|) = INVERSE(E)   sigmoid(-|x|) = E * INVERSE(E)              E = e^-|x|
    tanh(x) = ±(2 * INVERSE(E) - 1)                                         E = e^-2|x|
    1/sqrt(x) = 2^-(n >> 1) * ROOTS[n & 1](f)
    gelu(x) = x * P     P = E * T / 2 if x < 0, else 1 - E * T / 2          E = e^-(x*x/2)
                        T = 2^-n * TAILS[n + 1](f), TAILS[0](|x|) if n < 0

``tanh(x)`` is ``x`` below 2^-8. A result is rounded to binary32 once, to nearest even; below 2^-126
it is zero. 1/x is an infinity for zero and for subnormal x, and so is 1/sqrt(x), of the sign of x;
of other negative x it is NaN. gelu(-inf) is -0.
"""

import numpy as np

from isa.functions import (INVERSE, LOG2_E, LOG2_E_BITS, POWER, ROOTS, TAILS, VALUE_BITS, Table)
from isa.instructions import VectorOp

FIXED_BITS = 24
"""Bits behind the point of the argument of an exponential."""

LARGEST = (1 << 32) - 1
"""Arguments of 2^8 and more are this."""

SMALL = np.float32(2.0 ** -8)
"""Below it tanh(x) is x."""

FRACTION = (1 << 23) - 1
"""The fraction bits of a binary32 number."""

SMALLEST_NORMAL = 2.0 ** -126


def evaluate(op: VectorOp, x: np.ndarray) -> np.ndarray:
    """``op`` of binary32 numbers, element by element."""
    nan, x = np.isnan(x), np.where(np.isnan(x), np.float32(0), x)
    if op == VectorOp.RECIPROCAL:
        value = _reciprocal(x)
    elif op == VectorOp.RSQRT:
        value = _root(x)
    elif op == VectorOp.GELU:
        value = _gelu(x)
    elif op == VectorOp.EXP:
        exponent = _exponent(_fixed(x.astype(np.float64)))
        value = _float(*_power(np.where(np.signbit(x), -exponent, exponent)))
    else:
        tanh = op == VectorOp.TANH
        power, i = _power(-_exponent(_fixed(x.astype(np.float64)) << tanh))
        # E with as many bits as INVERSE takes; 1 itself is beyond the table
        e = power >> np.minimum(VALUE_BITS - INVERSE.fraction_bits - i, 63)
        whole = 1 << INVERSE.fraction_bits
        inverse = np.where(e >= whole, 1 << VALUE_BITS - 1, lookup(INVERSE, e % whole))
        if tanh:
            value = np.copysign(_float(2 * inverse - (1 << VALUE_BITS), np.zeros_like(i)), x)
            value = np.where(np.abs(x) < SMALL, x, value)
        else:
            value = np.where(np.signbit(x), _float(power * inverse >> VALUE_BITS, i),
                             _float(inverse, np.zeros_like(i)))
    return np.where(nan, np.float32(np.nan), value).astype(np.float32)


def lookup(table: Table, fraction: np.ndarray) -> np.ndarray:
    """A table's values, with VALUE_BITS bits behind the point (INT64)."""
    c0, c1, c2 = np.array(table.rows, np.int64).T
    k, u = fraction >> table.offset_bits, fraction & ((1 << table.offset_bits) - 1)
    return c0[k] + ((c1[k] + (c2[k] * u >> table.drop2)) * u >> table.drop1)


def _fixed(x: np.ndarray) -> np.ndarray:
    """The magnitude of a binary64 in fixed point, as the argument of an exponential."""
    return np.minimum(np.abs(x) * 2.0 ** FIXED_BITS, LARGEST).astype(np.int64)


def _exponent(fixed: np.ndarray) -> np.ndarray:
    """``fixed * log2 e``, with as many bits as POWER takes."""
    return fixed * LOG2_E >> (FIXED_BITS + LOG2_E_BITS - POWER.fraction_bits)


def _power(exponent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """2 to the power of a fixed-point number: value in [1, 2), and the exponent of 2."""
    return (lookup(POWER, exponent & ((1 << POWER.fraction_bits) - 1)),
            exponent >> POWER.fraction_bits)


def _parts(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Significands below 2^24, and ``n`` with ``|x| = significand * 2**(n - 23)``."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.int64)
    field = bits >> 23 & 255
    return (bits & FRACTION) | (np.minimum(field, 1) << 23), np.maximum(field, 1) - 127


def _fraction(significand: np.ndarray) -> np.ndarray:
    """``f``, with as many bits as INVERSE takes."""
    return (significand & FRACTION) << (INVERSE.fraction_bits - 23)


def _reciprocal(x: np.ndarray) -> np.ndarray:
    significand, n = _parts(x)
    return np.copysign(_ends(x, _float(lookup(INVERSE, _fraction(significand)), -n)), x)


def _root(x: np.ndarray) -> np.ndarray:
    significand, n = _parts(x)
    even, odd = (lookup(table, _fraction(significand)) for table in ROOTS)
    value = _ends(x, _float(np.where(n & 1, odd, even), -(n >> 1)))
    return np.where(x <= -SMALLEST_NORMAL, np.float32(np.nan), np.copysign(value, x))


def _ends(x: np.ndarray, value: np.ndarray) -> np.ndarray:
    """What falls from infinity to zero: ``value``, but for ``x`` near zero or infinite."""
    value = np.where(np.abs(x) < SMALLEST_NORMAL, np.float32(np.inf), value)
    return np.where(np.isinf(x), np.float32(0), value)


def _gelu(x: np.ndarray) -> np.ndarray:
    significand, n = _parts(x)
    power, i = _power(-_exponent(_fixed(x.astype(np.float64) ** 2 / 2)))
    below = significand << (INVERSE.fraction_bits - 23) >> np.clip(-n, 0, 63)
    above = _fraction(significand)
    tail = np.select([n < 0, *(n == k for k in range(3))],
                     [lookup(TAILS[0], below % (1 << INVERSE.fraction_bits)),
                      *(lookup(TAILS[k + 1], above) for k in range(3))], lookup(TAILS[4], above))
    # E * T / 2 is product * 2**e
    product, e = power * tail >> VALUE_BITS, i - np.maximum(n, 0) - 1
    rest = (1 << VALUE_BITS) - (product >> np.minimum(-e, 63))
    value = np.where(np.signbit(x), product, rest) * significand >> 23
    value = np.copysign(_float(value, np.where(np.signbit(x), e, 0) + n), x)
    return np.where(np.isinf(x), np.maximum(x, np.float32(-0.0)), value)


def _float(value: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """``value * 2**(exponent - VALUE_BITS)`` in binary32."""
    rounded = value.astype(np.float32).astype(np.float64)
    exact = np.ldexp(rounded, (exponent - VALUE_BITS).astype(np.int32))
    with np.errstate(over="ignore"):
        return np.where(exact < SMALLEST_NORMAL, 0, exact).astype(np.float32)
