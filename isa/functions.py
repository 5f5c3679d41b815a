# SPDX-License-Identifier: Apache-2.0
"""The tables of the vector engine's functions: 2**f and 1/(1 + f), by quadratics over segments.

A value is computed in integers, so that every implementation has the same bits::

    y = c0[k] + ((c1[k] + (c2[k] * u >> drop2)) * u >> drop1)

with ``k`` the upper bits of the fraction ``f`` and ``u`` the others; ``y`` has :data:`VALUE_BITS`
bits behind the point, and ``>>`` rounds down. A segment's quadratic goes through the function at
the Chebyshev nodes of the segment; the first one is moved to be exactly 1 at 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext

VALUE_BITS = 26
"""Bits behind the point of a table's values."""

LOG2_E, LOG2_E_BITS = 48408813, 25
"""The logarithm of e to the base 2, and how many of its bits are behind the point."""


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
        rows[0] = (1 << VALUE_BITS, *rows[0][1:])
        return Table(segment_bits, offset_bits, SLOPE_BITS + fraction_bits - VALUE_BITS,
                     offset_bits, tuple(rows))


def _nearest(value: Decimal, bits: int) -> int:
    return int((value * (1 << bits)).to_integral_value())


POWER = _table(lambda f: Decimal(2) ** f, 5, 18)
"""2**f, in [1, 2)."""

INVERSE = _table(lambda f: 1 / (1 + f), 6, 19)
"""1/(1 + f), in (0.5, 1]."""
