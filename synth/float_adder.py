# SPDX-License-Identifier: Apache-2.0
"""A binary32 adder in three stages, as a PE of a floating-point array has it: one aligns, one adds,
one normalizes and rounds.

Numbers are those of :mod:`hw.arith.ieee`, but for subnormals: there are none among the operands,
and a sum that were one is a zero of its sign. Rounding is to nearest, ties to even.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data

from hw.arith.ieee import GUARD_BITS, HIGHEST, LOWEST, NUMBER, assign, named
from hw.arith.normal import MANT_BITS, leading_zeros
from hw.parts.delay import cut, later

STAGES = 3
"""Cycles of :func:`add`."""


def add(m: Module, name: str, a: data.View, b: data.View) -> data.View:
    """``a + b`` rounded; the exponent of a zero is LOWEST, of operands and of the sum."""
    swap = Cat(b.mant, b.exp).as_signed() > Cat(a.mant, a.exp).as_signed()
    big, small = (data.View(NUMBER, Mux(swap, x.as_value(), y.as_value()))
                  for x, y in ((b, a), (a, b)))
    distance = Signal(11, name=f"{name}_distance")
    wide = Signal(2 * MANT_BITS + GUARD_BITS, name=f"{name}_wide")
    # beyond MANT_BITS + 2 only the sticky bit is left
    far = Mux(distance > MANT_BITS + 2, MANT_BITS + 2, distance)[:5]
    m.d.comb += [distance.eq(big.exp - small.exp),
                 wide.eq(Cat(Const(0, MANT_BITS + GUARD_BITS), small.mant) >> far)]
    unlike = a.sign ^ b.sign
    nan = a.nan | b.nan | (a.inf & b.inf & unlike)
    inf = (a.inf | b.inf) & ~nan
    sign = Mux(a.inf, a.sign, Mux(b.inf, b.sign, big.sign))
    large, little, unlike, exp, *flags = cut(
        m, f"{name}_aligned", Cat(Const(0, GUARD_BITS), big.mant),
        Cat(wide[:MANT_BITS + 1].any(), wide[MANT_BITS + 1:]), unlike, big.exp, sign, nan, inf)

    total, unlike, exp, sign, nan, inf = cut(
        m, f"{name}_total", Mux(unlike, large - little, large + little)
        [:MANT_BITS + GUARD_BITS + 1], unlike, exp, *flags)

    value = Signal(len(total), name=f"{name}_value")
    rounded = Signal(MANT_BITS + 1, name=f"{name}_rounded")
    top = Signal(NUMBER["exp"].shape, name=f"{name}_top")
    shift, kept = leading_zeros(total), value[GUARD_BITS + 1:]
    up = value[GUARD_BITS] & (value[:GUARD_BITS].any() | kept[0])
    none = (total == 0) | (top < LOWEST)
    m.d.comb += [value.eq(total << shift), rounded.eq(kept + up),
                 top.eq(exp + 1 - shift + rounded[-1])]
    result = assign(
        m, named(f"{name}_result"), nan=nan, inf=inf | ((top > HIGHEST) & ~none),
        # an exact zero is positive unless both are negative
        sign=sign & ~((total == 0) & unlike & ~inf), exp=Mux(none, LOWEST, top),
        mant=Mux(none, 0, Cat(rounded[:MANT_BITS - 1], rounded[-2:].any())))
    return later(m, result, 1, name)
