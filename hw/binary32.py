# SPDX-License-Identifier: Apache-2.0
"""The pieces of binary32 arithmetic that the post-processor is made of, each one combinational.

A number is sign, 24-bit significand with its leading one in bit 23 (or zero), and the exponent of
the significand's lowest bit: ``(-1)**sign * mant * 2**exp``. There are no subnormals, infinities or
NaNs: scales lie in [2^-100, 2^32) and integers below 2^31 (:mod:`golden.arith`), so no product is
subnormal or overflows, and a difference that were subnormal rounds to the integer zero anyway.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data

MANT_BITS = 24
EXP_BIAS = 127 + MANT_BITS - 1
"""Subtracted from a binary32 exponent field it gives the exponent of the significand's low bit."""

INTEGER_BITS = 11
"""Magnitudes of 2**10 and more are one value: with any zero point they clip to the same bound."""

FLOAT = data.StructLayout({"sign": 1, "exp": signed(10), "mant": MANT_BITS})


def unpack_scale(bits: Value) -> tuple[Value, Value]:
    """Significand and exponent of a positive, normal binary32 pattern."""
    return Cat(bits[:23], 1), bits[23:31].as_unsigned() - EXP_BIAS


def normalize(m: Module, name: str, magnitude: Value) -> tuple[Value, Value]:
    """``magnitude`` shifted left until its top bit is one, and the shift; (0, width - 1) for 0."""
    width = len(magnitude)
    stages = max(1, (width - 1).bit_length())
    value = magnitude
    shift: list[Value] = []
    for stage in reversed(range(stages)):
        step = 1 << stage
        empty = Signal(name=f"{name}_empty{stage}")
        moved = Signal(width, name=f"{name}_norm{stage}")
        top = min(step, width)
        m.d.comb += [empty.eq(value[width - top:] == 0),
                     moved.eq(Mux(empty, (value << step)[:width], value))]
        value = moved
        shift.insert(0, empty)
    count = Signal(stages, name=f"{name}_shift")
    m.d.comb += count.eq(Cat(*shift))
    return value, count


def round_even(m: Module, name: str, value: Value, drop: int) -> tuple[Value, Value]:
    """``value`` (top bit one, or zero) without its low ``drop`` bits, rounded to nearest even to
    :data:`MANT_BITS` bits, and whether the rounding carried into a new bit (then the significand
    is 2**23 and the exponent goes up by one)."""
    kept = value[drop:]
    assert len(kept) == MANT_BITS, f"{name}: {len(kept)} bits kept"
    up = Signal(name=f"{name}_up")
    rounded = Signal(MANT_BITS + 1, name=f"{name}_rounded")
    mant = Signal(MANT_BITS, name=f"{name}_mant")
    guard = value[drop - 1]
    sticky = value[:drop - 1].any() if drop > 1 else 0
    m.d.comb += [up.eq(guard & (sticky | kept[0])), rounded.eq(kept + up),
                 mant.eq(Mux(rounded[MANT_BITS], rounded[1:], rounded[:MANT_BITS]))]
    return mant, rounded[MANT_BITS]


def to_integer(m: Module, name: str, number: data.View) -> Signal:
    """``number`` rounded to the nearest integer, ties to even, saturated to ±2**10."""
    magnitude = Signal(INTEGER_BITS, name=f"{name}_magnitude")
    result = Signal(signed(INTEGER_BITS + 1), name=f"{name}_integer")
    right = Signal(5, name=f"{name}_right")
    shifted = Signal(INTEGER_BITS + MANT_BITS, name=f"{name}_shifted")
    # mant < 2**24, so at exp < -25 the number is under a half, and between the two bounds the
    # shift is 14 … 25, which leaves at most INTEGER_BITS bits of whole
    huge, small = number.exp >= INTEGER_BITS - MANT_BITS, number.exp < -25
    m.d.comb += [right.eq(Mux(small, 25, (-number.exp)[:5])),
                 shifted.eq((Cat(Const(0, MANT_BITS), number.mant)) >> right)]
    whole = shifted[MANT_BITS:]
    up = Signal(name=f"{name}_half_up")
    m.d.comb += [
        up.eq(shifted[MANT_BITS - 1] & (shifted[:MANT_BITS - 1].any() | whole[0])),
        magnitude.eq(Mux(huge & (number.mant != 0), 1 << (INTEGER_BITS - 1),
                         Mux(small, 0, whole + up))),
        result.eq(Mux(number.sign, -magnitude, magnitude)),
    ]
    return result

