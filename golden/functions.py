# SPDX-License-Identifier: Apache-2.0
"""The functions of VECTOR: exponential, reciprocal, sigmoid and hyperbolic tangent of binary32.

All are made of two tables (:mod:`isa.functions`), in integers::

    e^±|x| = 2^i * POWER(f)     i.f = ±(X * log2 e), X = |x| rounded down to 2^-24 and below 2^8
    1/x    = ±2^-n * INVERSE(f)                         |x| = 2^n * (1 + f)
    sigmoid(|x|) = INVERSE(E)   sigmoid(-|x|) = E * INVERSE(E)              E = e^-|x|
    tanh(x) = ±(2 * INVERSE(E) - 1)                                         E = e^-2|x|

``tanh(x)`` is ``x`` below 2^-8. A result is rounded to binary32 once, to nearest even; below 2^-126
it is zero. 1/x is an infinity for zero and for subnormal x.
"""

import numpy as np

from isa.functions import INVERSE, LOG2_E, LOG2_E_BITS, POWER, VALUE_BITS, Table
from isa.instructions import VectorOp

FIXED_BITS = 24
"""Bits behind the point of the argument of an exponential."""

LARGEST = (1 << 32) - 1
"""Arguments of 2^8 and more are this."""

SMALL = np.float32(2.0 ** -8)
"""Below it tanh(x) is x."""

SMALLEST_NORMAL = 2.0 ** -126


def evaluate(op: VectorOp, x: np.ndarray) -> np.ndarray:
    """``op`` of binary32 numbers, element by element."""
    if op == VectorOp.RECIPROCAL:
        value = _reciprocal(x)
    elif op == VectorOp.EXP:
        value = _float(*_power(np.where(np.signbit(x), -_exponent(x, 0), _exponent(x, 0))))
    else:
        tanh = op == VectorOp.TANH
        power, i = _power(-_exponent(x, int(tanh)))
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
    return np.where(np.isnan(x), np.float32(np.nan), value).astype(np.float32)


def lookup(table: Table, fraction: np.ndarray) -> np.ndarray:
    """A table's values, with VALUE_BITS bits behind the point (INT64)."""
    c0, c1, c2 = np.array(table.rows, np.int64).T
    k, u = fraction >> table.offset_bits, fraction & ((1 << table.offset_bits) - 1)
    return c0[k] + ((c1[k] + (c2[k] * u >> table.drop2)) * u >> table.drop1)


def _exponent(x: np.ndarray, double: int) -> np.ndarray:
    """``|x| * log2 e``, twice that if ``double``, with as many bits as POWER takes."""
    magnitude = np.where(np.isnan(x), np.float32(0), np.abs(x)).astype(np.float64)
    fixed = np.minimum(magnitude * 2.0 ** FIXED_BITS, LARGEST).astype(np.int64)
    return (fixed << double) * LOG2_E >> (FIXED_BITS + LOG2_E_BITS - POWER.fraction_bits)


def _power(exponent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """2 to the power of a fixed-point number: value in [1, 2), and the exponent of 2."""
    return (lookup(POWER, exponent & ((1 << POWER.fraction_bits) - 1)),
            exponent >> POWER.fraction_bits)


def _reciprocal(x: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.int64)
    exponent, mantissa = bits >> 23 & 255, bits & ((1 << 23) - 1)
    value = _float(lookup(INVERSE, mantissa << (INVERSE.fraction_bits - 23)), 127 - exponent)
    value = np.where(exponent == 0, np.float32(np.inf), value)
    return np.copysign(np.where(exponent == 255, np.float32(0), value), x)


def _float(value: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """``value * 2**(exponent - VALUE_BITS)`` in binary32."""
    rounded = value.astype(np.float32).astype(np.float64)
    exact = np.ldexp(rounded, (exponent - VALUE_BITS).astype(np.int32))
    with np.errstate(over="ignore"):
        return np.where(exact < SMALLEST_NORMAL, 0, exact).astype(np.float32)
