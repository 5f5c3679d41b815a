# SPDX-License-Identifier: Apache-2.0
"""What a lane of the vector engine makes of the taps of a window, where not all is INT8: the
maximum, or the exact sum, or the operand itself.

::

    element ─┬─ key ───────────────────── compare ─ larger of two ─┐
     (twice) └─ unpack ─ (right, sign) ─ shift to its place ─ add ─┴─ tap ─► window so far

Maxima are integers in the order of the values, keys, from which the value comes back. Sums are in
fixed point, as :mod:`golden.vector` has them: units of 2^-24 for FP16, of the anchor for BF16,
whose elements lose their bits below it, sign and magnitude. Only the last step looks at the taps
before.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data

from hw.arith.align import FLAGS
from hw.arith.operand import OPERAND_BITS, integer
from hw.arith.order import ordered
from hw.engine.ports import view_of
from hw.parts.delay import cut, delay, register
from isa.config import Config
from isa.instructions import DType
from isa.numerics import ELEMENT_SHIFT_MAX

TAPS_LOG2 = 16
"""A window has fewer taps."""

KEY_BITS = 32

ELEMENT_BITS = 12
"""Width of a significand with its sign, or of an integer."""


def magnitude_bits(config: Config) -> int:
    """Bits of an element in fixed point, without its sign."""
    return ELEMENT_SHIFT_MAX + 8 if "bf16" in config.dtypes else 40


def sum_bits(config: Config) -> int:
    """Bits of the sum of all windows of a word, with its sign."""
    return TAPS_LOG2 + (config.lanes // 2).bit_length() - 1 + magnitude_bits(config) + 1


def state_layout(config: Config) -> data.StructLayout:
    """A window: its sum, or the key of its maximum (of an operation that has just one tap, of that
    one); whether there was no tap at all; and what other than finite values is in the sum."""
    return data.StructLayout({"value": signed(sum_bits(config)), "none": 1, "flags": FLAGS})


def formats(config: Config) -> list[tuple[DType, int, int]]:
    """Floating-point types of elements, bits of their mantissas, and of all."""
    every = [(DType.FP16, 10, 16), (DType.BF16, 7, 16), (DType.FP32, 23, 32)]
    return [f for f in every if f[0].needs in config.dtypes or f[0] is DType.FP32]


def key(m: Module, name: str, config: Config, raw: Value, dtype: Value, whole: Value) -> Signal:
    """Integers in the order of an element type's values; ``whole``: its value if it is INT8."""
    found = Signal(signed(KEY_BITS), name=name)
    with m.Switch(dtype):
        with m.Case(DType.INT8):
            m.d.comb += found.eq(whole)
        for t, mantissa, width in formats(config):
            with m.Case(t):
                m.d.comb += found.eq(ordered(raw[:width], mantissa))
    return found


def number_of(m: Module, name: str, config: Config, found: Value, dtype: Value) -> Signal:
    """The element that has a key, not INT8: the inverse of :func:`key`."""
    raw = Signal(32, name=name)
    with m.Switch(dtype):
        for t, _, width in formats(config):
            with m.Case(t):
                m.d.comb += raw.eq(Cat(Mux(found[-1], ~found, found)[:width - 1], found[-1]))
    return raw


TAP_CONSTANTS = data.StructLayout({"dtype": 2, "signed": 1, "zero_point": signed(OPERAND_BITS),
                                   "base": signed(11), "sum": 1})
"""What stands still during an instruction. ``base``: BF16_UNIT less the anchor; ``sum``: it is a
sum, not a maximum."""


def tap_latency(config: Config) -> int:
    """Cycles of :func:`tap`."""
    return 5 if "bf16" in config.dtypes else 4


def tap(m: Module, name: str, config: Config, c: data.View, pair: list[tuple[Value, Value]]
        ) -> tuple[Value, Value, Value]:
    """Two elements, each with whether it counts, as one: their sum or the key of the larger one;
    whether neither counts; and flags."""
    wholes = [integer(raw[:8], c.signed, c.zero_point)[:OPERAND_BITS].as_signed()
              for raw, _ in pair]
    orders = [key(m, f"{name}_order{n}", config, raw, c.dtype, whole)
              for n, ((raw, _), whole) in enumerate(zip(pair, wholes, strict=True))]
    keys = cut(m, f"{name}_key", *orders)
    with_a, with_b = (register(m, f"{name}_counts{n}", counts) for n, (_, counts) in
                      enumerate(pair))
    second, none, *keys = cut(m, f"{name}_compared", with_b & (~with_a | (keys[1] > keys[0])),
                              ~with_a & ~with_b, *keys)
    larger = Mux(second, keys[1], keys[0]).as_signed()
    rest = tap_latency(config) - 3
    larger = delay(m, larger, rest, f"{name}_larger_late")
    none = delay(m, none, rest + 1, f"{name}_none")

    parts = [_fixed(m, f"{name}_fixed{n}", config, c, raw, whole, counts)
             for n, ((raw, counts), whole) in enumerate(zip(pair, wholes, strict=True))]
    (a, flags_a), (b, flags_b) = parts
    return (register(m, f"{name}_tap", Mux(c.sum, a + b, larger)), none,
            register(m, f"{name}_flags", flags_a | flags_b))


def _fixed(m: Module, name: str, config: Config, c: data.View, raw: Value, whole: Value,
           counts: Value) -> tuple[Signal, Signal]:
    """An element in fixed point, zero if it does not count, and its flags; a cycle before
    :func:`tap` is done."""
    significand = Signal(signed(ELEMENT_BITS), name=f"{name}_significand")
    exponent, kind = Signal(8, name=f"{name}_exponent"), Signal(3, name=f"{name}_kind")
    with m.Switch(c.dtype):
        with m.Case(DType.INT8):
            m.d.comb += significand.eq(whole)
        for t, mantissa, width in formats(config):
            if width == 16:
                low, field = raw[:mantissa], raw[mantissa:15]
                with m.Case(t):
                    m.d.comb += [
                        significand.eq(Mux(field.all(), 0, Cat(low, field.any()))),
                        exponent.eq(field - field.any()),
                        kind.eq(Cat(field.all() & low.any(), field.all() & ~low.any(), raw[15]))]
    value, shift, (nan, infinite, negative) = cut(
        m, f"{name}_unpacked", Mux(counts, significand, 0), exponent,
        kind & Cat(counts, counts, Const(1, 1)))
    beyond: Value = Const(0, 1)
    if "bf16" in config.dtypes:
        moved = Signal(signed(11), name=f"{name}_moved")
        m.d.comb += moved.eq(shift + Mux(c.dtype == DType.BF16, c.base, 0))
        value, shift, nan, infinite, negative = cut(m, f"{name}_moved", value, moved, nan, infinite,
                                                    negative)
        beyond = (shift > ELEMENT_SHIFT_MAX) & (value != 0)
        right = Mux(shift < -8, 8, (-shift)[:4])
        value = Mux(beyond, 0, Mux(shift < 0, value >> right, value))
        shift = Mux((shift < 0) | beyond, 0, shift)
    value, left, flags = cut(
        m, f"{name}_signed", Mux(negative, -value, value)[:ELEMENT_BITS].as_signed(),
        shift[:ELEMENT_SHIFT_MAX.bit_length()],
        Cat(nan, (infinite | beyond) & ~negative, (infinite | beyond) & negative, beyond))
    bits = Shape(magnitude_bits(config) + 1, signed=True)
    return (register(m, f"{name}_shifted", value << left, bits),
            register(m, f"{name}_flags", flags))


def accumulate(m: Module, name: str, config: Config, c: data.View, tap: tuple[Value, Value, Value],
               first: Value, enters: Value) -> data.View:
    """The window so far; ``enters``: a tap does, ``first``: it is the first of its window."""
    value, none, flags = tap
    window = view_of(state_layout(config), name=name, reset_less=True)
    before, largest = Mux(first, 0, window.value), window.value[:KEY_BITS].as_signed()
    replaces = first | (~none & (window.none | (value[:KEY_BITS].as_signed() > largest)))
    with m.If(enters):
        m.d.sync += [
            window.none.eq(none & (first | window.none)),
            window.flags.eq(flags | Mux(first, 0, window.flags.as_value())),
            window.value.eq(Mux(c.sum, before + value, Mux(replaces, value, window.value)))]
    return window
