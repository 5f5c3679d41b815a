# SPDX-License-Identifier: Apache-2.0
"""What a lane of the vector engine makes of the taps of a window, where not all is INT8: the
maximum, or the exact sum, or the operand itself.

Sums are in fixed point, as :mod:`golden.vector` has them: units of 2^-24 for FP16, of the anchor
for BF16, whose elements lose their bits below it, sign and magnitude.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data

from hw.align import FLAGS
from hw.ports import view_of
from hw.vector_lane import SUM_BITS
from isa.instructions import DType, VectorOp

ELEMENT_SHIFT = 40
"""Largest shift of a BF16 element."""

BRAIN_UNIT = -133
"""Exponent of the lowest bit of the smallest BF16 subnormal."""

KEY_BITS = 33

STATE = data.StructLayout({"raw": 32, "integer": signed(10), "key": signed(KEY_BITS), "none": 1,
                           "sum": signed(SUM_BITS), "flags": FLAGS})
"""Of the taps so far: the largest one (the last one of an operation that has just one), its value
if it is INT8, its place in the order of numbers, whether there was none; and the sum."""


def ordered(raw: Value, mantissa: int) -> Value:
    """Integers in the order of the numbers of a format, +0 above -0, NaN above all."""
    magnitude = Cat(raw[:-1], Const(0, 1))
    nan = raw[mantissa:-1].all() & raw[:mantissa].any()
    return Mux(nan, (1 << len(raw) - 1) - 1, Mux(raw[-1], ~magnitude, magnitude).as_signed())


def key(m: Module, name: str, raw: Value, dtype: Value, integer: Value) -> Signal:
    """Integers in the order of an element type's numbers."""
    found = Signal(signed(KEY_BITS), name=name)
    with m.Switch(dtype):
        with m.Case(DType.INT8):
            m.d.comb += found.eq(integer)
        for t, mantissa, width in ((DType.FP16, 10, 16), (DType.BF16, 7, 16), (DType.FP32, 23, 32)):
            with m.Case(t):
                m.d.comb += found.eq(ordered(raw[:width], mantissa))
    return found


def fixed(m: Module, name: str, raw: Value, dtype: Value, integer: Value, anchor: Value
          ) -> tuple[Signal, data.View]:
    """An element in fixed point, and what it is other than a number."""
    value, flags = Signal(signed(50), name=name), view_of(FLAGS, name=f"{name}_flags")
    with m.Switch(dtype):
        with m.Case(DType.INT8):
            m.d.comb += value.eq(integer)
        for t, mantissa in ((DType.FP16, 10), (DType.BF16, 7)):
            with m.Case(t):
                low, exponent, sign = raw[:mantissa], raw[mantissa:15], raw[15]
                special = exponent.all()
                significand = Mux(special, 0, Cat(low, exponent.any()))
                shift = Signal(signed(11), name=f"{name}_shift{mantissa}")
                left = Signal(range(ELEMENT_SHIFT + 1), name=f"{name}_left{mantissa}")
                right = Signal(4, name=f"{name}_right{mantissa}")
                beyond = Signal(name=f"{name}_beyond{mantissa}")
                magnitude = Signal(49, name=f"{name}_magnitude{mantissa}")
                base = BRAIN_UNIT - anchor if t is DType.BF16 else 0
                m.d.comb += [
                    shift.eq(exponent.as_unsigned() - exponent.any() + base),
                    beyond.eq((shift > ELEMENT_SHIFT) & (significand != 0)),
                    left.eq(Mux((shift < 0) | beyond, 0, shift)),
                    right.eq(Mux(shift >= 0, 0, Mux(shift < -8, 8, -shift))),
                    magnitude.eq(Mux(beyond, 0, (significand >> right) << left)),
                    value.eq(Mux(sign, -magnitude, magnitude)),
                    flags.nan.eq(special & low.any()), flags.overflow.eq(beyond),
                    flags.positive.eq(((special & ~low.any()) | beyond) & ~sign),
                    flags.negative.eq(((special & ~low.any()) | beyond) & sign)]
    return value, flags


def accumulate(m: Module, k: int, i: data.View, first: Value, old: data.View,
               taps: list[tuple[Value, Value, Value]]) -> data.View:
    """The state of lane ``k`` after a pair of taps, each (counts, first bytes, value if INT8)."""
    start = view_of(STATE, name=f"start{k}")
    m.d.comb += [start.eq(Mux(first, 0, old.as_value())), start.none.eq(first | old.none)]
    state = start
    for n, (counts, raw, integer) in enumerate(taps):
        now = view_of(STATE, name=f"state{k}_{n}")
        order = key(m, f"key{k}_{n}", raw, i.a_type, integer)
        value, flags = fixed(m, f"fixed{k}_{n}", raw, i.a_type, integer, i.anchor)
        m.d.comb += now.eq(state)
        with m.If(counts):
            m.d.comb += [now.none.eq(0), now.sum.eq(state.sum + value),
                         now.flags.eq(state.flags.as_value() | flags.as_value())]
            with m.If(state.none | (i.vop != VectorOp.MAX) | (order > state.key)):
                m.d.comb += [now.raw.eq(raw), now.integer.eq(integer), now.key.eq(order)]
        state = now
    return state
