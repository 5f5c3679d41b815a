# SPDX-License-Identifier: Apache-2.0
"""The tables of the vector engine's functions, by quadratics over segments: 2**f, 1/(1 + f), the
reciprocal square root, and the tail of the normal distribution.

A value is computed in integers, so that every implementation has the same bits::

    y = c0[k] + ((c1[k] + (c2[k] * u >> drop2)) * u >> drop1)

with ``k`` the upper bits of the fraction ``f`` and ``u`` the others; ``y`` has :data:`VALUE_BITS`
bits behind the point, and ``>>`` rounds down. A segment's quadratic goes through the function at
the Chebyshev nodes of the segment; the first one of a table is moved to be right at 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext

VALUE_BITS = 26
"""Bits behind the point of a table's values."""

LOG2_E, LOG2_E_BITS = 48408813, 25
"""The logarithm of e to the base 2, and how many of its bits are behind the point."""

PI = Decimal("3.14159265358979323846264338327950288420")


@dataclass(frozen=True)
class Table:
    """A function of ``f`` in [0, 1).

    Parameters
    ----------
    segment_bits, offset_bits : int
        Widths of ``k`` and ``u``.
    drop1, drop2 : int
        Bits dropped after the products.
    rows : tuple of (c0, c1, c2)
        One a segment.
    """

    segment_bits: int
    offset_bits: int
    drop1: int
    drop2: int
    rows: tuple[tuple[int, int, int], ...]

    @property
    def fraction_bits(self) -> int:
        """Width of ``f``."""
        return self.segment_bits + self.offset_bits


SLOPE_BITS = 20
"""Bits behind the point of a slope."""


def _table(function: Callable[[Decimal], Decimal], segment_bits: int, offset_bits: int) -> Table:
    with localcontext(Context(prec=40)):
        segments, fraction_bits = 1 << segment_bits, segment_bits + offset_bits
        half = Decimal(1) / (2 * segments)
        reach = half * Decimal(3).sqrt() / 2
        rows: list[tuple[int, int, int]] = []
        for k in range(segments):
            start = Decimal(k) / segments
            middle = start + half
            low, mid, high = (function(middle + d) for d in (-reach, Decimal(0), reach))
            curve = (low - 2 * mid + high) / (2 * reach * reach)
            slope = (high - low) / (2 * reach) - 2 * curve * half
            base = mid - slope * half - curve * half * half
            rows.append((_nearest(base, VALUE_BITS), _nearest(slope, SLOPE_BITS),
                         _nearest(curve, SLOPE_BITS - segment_bits)))
        rows[0] = (_nearest(function(Decimal(0)), VALUE_BITS), *rows[0][1:])
        return Table(segment_bits, offset_bits, SLOPE_BITS + fraction_bits - VALUE_BITS,
                     offset_bits, tuple(rows))


def _nearest(value: Decimal, bits: int) -> int:
    return int((value * (1 << bits)).to_integral_value())


def _scaled_tail(t: Decimal) -> Decimal:
    """``2 * Phi(-t) * e**(t*t/2)``, Phi being the normal distribution: 1 at 0, falling as 1/t.

    Below 2 from the series of ``Phi(t) - 1/2``, above by Laplace's continued fraction, 1/(t +
    1/(t + 2/(t + 3/…))), which 40 terms give to 2^-50."""
    if t >= 2:
        fraction = t
        for n in range(40, 0, -1):
            fraction = t + n / fraction
        return (2 / PI).sqrt() / fraction
    term = total = t
    n = 1
    while term > Decimal("1e-25"):
        n += 2
        term = term * t * t / n
        total += term
    return (t * t / 2).exp() - (2 / PI).sqrt() * total


def _octave(n: int) -> Callable[[Decimal], Decimal]:
    return lambda f: 2 ** n * _scaled_tail(2 ** n * (1 + f))


POWER = _table(lambda f: Decimal(2) ** f, 5, 18)
"""2**f, in [1, 2)."""

INVERSE = _table(lambda f: 1 / (1 + f), 6, 19)
"""1/(1 + f), in (0.5, 1]."""

ROOTS = tuple(_table(function, 6, 19) for function in (
    lambda f: 1 / (1 + f).sqrt(), lambda f: 1 / (2 + 2 * f).sqrt()))
"""1/sqrt(2**n * (1 + f)) for n = 0 and 1, in (0.5, 1]."""

TAILS = (_table(_scaled_tail, 6, 19), *(_table(_octave(n), 6, 19) for n in range(4)))
"""``T(f)``, then ``2**n * T(2**n * (1 + f))`` for n = 0 to 3, T being :func:`_scaled_tail`; all in
(0.33, 1]."""

PAGES = (INVERSE, *ROOTS, *TAILS)
"""Tables of one shape, one behind the other in one memory."""
