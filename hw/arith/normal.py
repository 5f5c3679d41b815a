# SPDX-License-Identifier: Apache-2.0
"""The pieces of binary32 arithmetic that the post-processor is made of, each with its registers.

A number is sign, 24-bit significand with its leading one in bit 23 (or zero), and the exponent of
the significand's lowest bit: ``(-1)**sign * mant * 2**exp``. There are no subnormals, infinities or
NaNs: scales lie in [2^-100, 2^32), or are a fault, and integers below 2^31, so no product is
subnormal or overflows, and a difference that were subnormal rounds to the integer zero anyway.
"""

import math

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data

from hw.parts.delay import cut
from isa.numerics import SCALE_MAX, SCALE_MIN

MANT_BITS = 24
EXP_BIAS = 127 + MANT_BITS - 1
"""Subtracted from a binary32 exponent field it gives the exponent of the significand's low bit."""

ROUNDED_BITS = 11
"""Magnitudes of 2**10 and more are one value: with any zero point they clip to the same bound."""

FLOAT = data.StructLayout({"sign": 1, "exp": signed(10), "mant": MANT_BITS})


def is_factor(bits: Value) -> Value:
    """Whether the magnitude of a binary32 pattern lies in [SCALE_MIN, SCALE_MAX), both powers of
    two."""
    low, high = (math.frexp(bound)[1] + 126 for bound in (SCALE_MIN, SCALE_MAX))
    exponent = bits[23:31]
    return (exponent >= low) & (exponent < high)


def is_scale(bits: Value) -> Value:
    """Whether it is positive, too."""
    return is_factor(bits) & ~bits[31]


def unpack_scale(bits: Value) -> tuple[Value, Value]:
    """Significand and exponent of a positive, normal binary32 pattern."""
    return Cat(bits[:23], 1), bits[23:31].as_unsigned() - EXP_BIAS


def leading_zeros(value: Value) -> Value:
    """Zeros above the leading one; all ones if there is none."""
    bits = (len(value) - 1).bit_length()
    if bits == 1:
        return ~value[1]
    padded = Cat(Const(0, (1 << bits) - len(value)), value) if len(value) < 1 << bits else value
    low, high = padded[:1 << bits - 1], padded[1 << bits - 1:]
    return Cat(Mux(high.any(), leading_zeros(high), leading_zeros(low)), ~high.any())


NORMALIZE = 2
"""Cycles of :func:`normalize`."""


def normalize(m: Module, name: str, magnitude: Value, *beside: Value
              ) -> tuple[Value, Value, list[Value]]:
    """``magnitude`` shifted left until its top bit is one, the shift (of zero: some), and what goes
    ``beside`` it; two cycles later."""
    value, count, *others = cut(m, f"{name}_counted", magnitude, leading_zeros(magnitude), *beside)
    moved, shift, *others = cut(m, f"{name}_normal", (value << count)[:len(value)], count, *others)
    return moved, shift, others


ROUND = 2
"""Cycles of :func:`round_even`."""


def round_up(m: Module, name: str, value: Value, drop: int, *beside: Value
             ) -> tuple[Value, Value, list[Value]]:
    """The first cycle of :func:`round_even`: what is left of ``value`` without its low ``drop``
    bits, whether one is to be added to it, and what goes ``beside`` it."""
    assert len(value) - drop == MANT_BITS, f"{name}: {len(value) - drop} bits kept"
    sticky = value[:drop - 1].any() if drop > 1 else 0
    up = value[drop - 1] & (sticky | value[drop])
    kept, up, *others = cut(m, f"{name}_kept", value[drop:], up, *beside)
    return kept, up, others


def incremented(m: Module, name: str, kept: Value, up: Value) -> tuple[Value, Value]:
    """A significand rounded up or not, and whether that gave the next power of two."""
    rounded = Signal(MANT_BITS + 1, name=f"{name}_rounded")
    m.d.comb += rounded.eq(kept + up)
    carry = rounded[MANT_BITS]
    return Mux(carry, rounded[1:], rounded[:MANT_BITS]), carry


def round_even(m: Module, name: str, value: Value, drop: int, exp: Value, *beside: Value
               ) -> tuple[Value, Value, list[Value]]:
    """``value * 2**exp`` (top bit one, or zero) rounded to nearest even: the significand of
    :data:`MANT_BITS` bits that is left when the low ``drop`` bits go, the exponent of its lowest
    bit, and what goes ``beside`` it; two cycles later. Rounding up the largest significand gives
    2**23."""
    kept, up, (exp, *others) = round_up(m, name, value, drop, exp + drop, *beside)
    mant, carry = incremented(m, name, kept, up)
    mant, exp, *others = cut(m, f"{name}_mant", mant, Mux(carry, exp + 1, exp), *others)
    return mant, exp, others


PRODUCT = 2
"""Cycles of :func:`product`."""


def product(m: Module, name: str, a: Value, b: Value, *beside: Value, part: int = MANT_BITS // 2
            ) -> tuple[Value, list[Value]]:
    """``a * b``, of which ``a`` may be signed, from products of parts of ``part`` bits and of what
    is above them, each fit for a DSP block with its register, and what goes ``beside`` it; two
    cycles later."""
    parts = [[n[:part], n[part:]] if len(n) > part else [n] for n in (a, b)]
    assert not b.shape().signed, f"{name}: a signed second operand"
    if a.shape().signed:
        parts[0][-1] = parts[0][-1].as_signed()
    places = [(i + j, x * y) for i, x in enumerate(parts[0]) for j, y in enumerate(parts[1])]
    multiplied = cut(m, f"{name}_part", *(v for _, v in places), *beside)
    at: dict[int, list[Value]] = {}
    for (place, _), value in zip(places, multiplied, strict=False):
        at.setdefault(place, []).append(value)
    # the lowest and the highest product do not overlap
    total: Value = Cat(at[0][0], *at.get(2, []))
    for value in at.get(1, []):
        total = total + (value << part)
    result, *others = cut(m, f"{name}_product", total[:len(a) + len(b)], *multiplied[len(places):])
    return result, others


def leading_product(value: Value) -> tuple[Value, Value]:
    """A product of two numbers whose top bits are one, or one of them zero, with its own top bit
    one; and by how much that lowers its exponent, 0 or 1."""
    high = value[-1]
    return Mux(high, value, value << 1)[:len(value)], ~high


INTEGER = 3
"""Cycles of :func:`to_integer`."""


def to_integer(m: Module, name: str, number: data.View) -> Value:
    """``number`` rounded to the nearest integer, ties to even, saturated to ±2**10; three cycles
    later."""
    # mant < 2**24, so at exp < -25 the number is under a half, and between the two bounds the
    # shift is 14 … 25, which leaves at most ROUNDED_BITS bits of whole
    huge, small = number.exp >= ROUNDED_BITS - MANT_BITS, number.exp < -25
    right, huge, small, mant, sign = cut(
        m, f"{name}_right", Mux(small, 25, (-number.exp)[:5]), huge & (number.mant != 0), small,
        number.mant, number.sign)
    wide = Signal(ROUNDED_BITS + MANT_BITS, name=f"{name}_wide")
    m.d.comb += wide.eq(Cat(Const(0, MANT_BITS), mant) >> right)
    shifted, huge, small, sign = cut(m, f"{name}_shifted", wide, huge, small, sign)
    whole = shifted[MANT_BITS:]
    up = shifted[MANT_BITS - 1] & (shifted[:MANT_BITS - 1].any() | whole[0])
    magnitude, sign = cut(m, f"{name}_magnitude", Mux(
        huge, 1 << (ROUNDED_BITS - 1), Mux(small, 0, whole + up))[:ROUNDED_BITS], sign)
    return Mux(sign, -magnitude, magnitude)
