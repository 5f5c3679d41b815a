# SPDX-License-Identifier: Apache-2.0
"""Binary32 arithmetic as IEEE 754 has it, subnormals, infinities and NaN included, in pipelines.

A number is :data:`NUMBER`: ``(-1)**sign * mant * 2**exp``, with ``exp`` at least -149 and the
leading one in bit 23 unless ``exp`` is -149, which are just the binary32 values; or NaN or an
infinity, whose ``mant`` is of no account. :func:`unpack` gives values that are not normalized but
exact, which only :func:`multiply` takes. Every rounding is to nearest, ties to even. A function
takes operands of one cycle and gives its result so many cycles later, as its name in
:data:`STAGES` says; it has no stall.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data

from hw.arith.normal import (MANT_BITS, NORMALIZE, PRODUCT, ROUND, incremented, leading_zeros,
                             normalize, product, round_up)
from hw.engine.ports import view_of
from hw.parts.delay import cut, delay, later
from isa.instructions import DType

LOWEST, HIGHEST = -149, 104
"""Exponents of the lowest bit of subnormals and of the largest values."""

NUMBER = data.StructLayout({"sign": 1, "exp": signed(11), "mant": MANT_BITS, "nan": 1, "inf": 1})

STAGES = {"multiply": PRODUCT + NORMALIZE + 2 + ROUND, "add": 4 + NORMALIZE + 1 + ROUND,
          "round_fixed": 1 + NORMALIZE + 2 + ROUND, "clip": 2, "convert": 3}
"""Cycles that the functions take."""

UNIT = NORMALIZE
"""Cycles after the value in which :func:`round_fixed` looks at the unit."""

GUARD_BITS = 3


def named(name: str) -> data.View:
    """A number of this name."""
    return view_of(NUMBER, name=name)


def assign(m: Module, number: data.View, **fields: Value | int) -> data.View:
    """Combinational fields of a number; what is not given is zero."""
    m.d.comb += [number[f].eq(fields.get(f, 0)) for f, _ in NUMBER]
    return number


def unpack(m: Module, name: str, raw: Value, dtype: Value, integer: Value) -> data.View:
    """Up to four bytes of an element as an exact number; ``integer``: its value (10 bits) if it is
    INT8."""
    half, brain, single = raw[:16], Cat(Const(0, 16), raw[:16]), raw[:32]
    wide = Signal(32, name=f"{name}_wide")
    m.d.comb += wide.eq(Mux(dtype == DType.BF16, brain, single))
    magnitude = Mux(integer < 0, -integer, integer)
    kinds: dict[DType, dict[str, Value | int]] = {
        DType.INT8: {"sign": integer < 0, "mant": magnitude, "exp": 0},
        DType.FP16: _fields(half, 10, 5, -24),
        DType.BF16: _fields(wide, 23, 8, LOWEST),
        DType.FP32: _fields(wide, 23, 8, LOWEST)}
    number = named(name)
    with m.Switch(dtype):
        for t, fields in kinds.items():
            with m.Case(t):
                assign(m, number, **fields)
    return number


def _fields(bits: Value, mantissa: int, exponent: int, unit: int) -> dict[str, Value | int]:
    field, low = bits[mantissa:mantissa + exponent], bits[:mantissa]
    special = field.all()
    return {"sign": bits[mantissa + exponent], "mant": Cat(low, field.any()),
            "exp": Mux(field.any(), field.as_unsigned() + (unit - 1), unit),
            "nan": special & low.any(), "inf": special & ~low.any()}


def from_pattern(m: Module, name: str, bits: Value) -> data.View:
    """The number of a binary32 pattern."""
    return assign(m, named(name), **_fields(bits, 23, 8, LOWEST))


def from_half(m: Module, name: str, bits: Value, cycles: int = 0) -> data.View:
    """The number of a binary16 pattern, normalized; combinational, or a cycle later with a register
    in its middle."""
    f = _fields(bits, 10, 5, -24)
    assert isinstance(f["mant"], Value) and isinstance(f["exp"], Value)
    shift, mant, exp = (delay(m, value, cycles, f"{name}_{n}") for n, value in (
        ("shift", leading_zeros(f["mant"])), ("mant", f["mant"]), ("exp", f["exp"])))
    sign, nan, inf = (delay(m, Value.cast(f[n]), cycles, f"{name}_{n}")
                      for n in ("sign", "nan", "inf"))
    return assign(m, named(name), sign=sign, nan=nan, inf=inf,
                  mant=Cat(Const(0, MANT_BITS - 11), (mant << shift)[:11]),
                  exp=Mux(mant == 0, LOWEST, exp - (MANT_BITS - 11) - shift))


def _round(m: Module, name: str, value: Value, exp: Value, sign: Value, nan: Value, inf: Value
           ) -> data.View:
    """The number nearest to ``value * 2**exp``, ROUND cycles later; ``value`` has its leading one
    on top, or lies at the smallest exponent, where ``exp + len(value) - MANT_BITS`` is LOWEST. The
    number comes from flip-flops."""
    drop = len(value) - MANT_BITS
    kept, up, (exp, sign, nan, inf) = round_up(m, name, value, drop, exp + drop, sign, nan, inf)
    mant, carry = incremented(m, name, kept, up)
    zero = ~kept.any() & ~up
    over = Mux(carry, exp >= HIGHEST, exp > HIGHEST) & ~zero
    number = view_of(NUMBER, name=name, reset_less=True)
    m.d.sync += [number.sign.eq(sign), number.mant.eq(mant), number.nan.eq(nan),
                 number.inf.eq(inf | over),
                 number.exp.eq(Mux(zero, LOWEST, Mux(carry, exp + 1, exp)))]
    return number


def multiply(m: Module, name: str, a: data.View, b: data.View) -> data.View:
    """``a * b`` rounded."""
    def zero(n: data.View) -> Value:
        return (n.mant == 0) & ~n.nan & ~n.inf

    nan = a.nan | b.nan | (a.inf & zero(b)) | (zero(a) & b.inf)
    flags: Value = Cat(a.sign ^ b.sign, nan, (a.inf | b.inf) & ~nan)
    value, (exp, flags) = product(m, name, a.mant, b.mant, a.exp + b.exp, flags)
    value, shift, (exp, flags) = normalize(m, name, value, exp, flags)

    # subnormals lose as many bits more as their exponent is too small
    least = LOWEST - MANT_BITS
    top = exp - shift
    missing = least - top
    few = Signal(range(MANT_BITS + 3), name=f"{name}_few")
    m.d.comb += few.eq(Mux(missing <= 0, 0, Mux(missing > MANT_BITS + 1, MANT_BITS + 2, missing)))
    right, exp, value, flags = cut(m, f"{name}_missing", few, Mux(missing > 0, least, top), value,
                                 flags)
    wide = (Cat(Const(0, MANT_BITS + 2), value) >> right)[:3 * MANT_BITS + 2]
    wide, exp, flags = cut(m, f"{name}_shifted", wide, exp, flags)
    shifted = Cat(wide[:MANT_BITS + 3].any(), wide[MANT_BITS + 3:])
    return _round(m, f"{name}_result", shifted, exp, flags[0], flags[1], flags[2])


def add(m: Module, name: str, a: data.View, b: data.View) -> data.View:
    """``a + b`` rounded."""
    swap = (b.exp > a.exp) | ((b.exp == a.exp) & (b.mant > a.mant))
    swap, *both = cut(m, f"{name}_ordered", swap, a.as_value(), b.as_value())
    a, b = (data.View(NUMBER, n) for n in both)
    big, small = view_of(NUMBER, name=f"{name}_big"), view_of(NUMBER, name=f"{name}_small")
    m.d.comb += [big.eq(Mux(swap, b.as_value(), a.as_value())),
                 small.eq(Mux(swap, a.as_value(), b.as_value()))]
    nan = a.nan | b.nan | (a.inf & b.inf & (a.sign ^ b.sign))
    inf = (a.inf | b.inf) & ~nan
    distance = Signal(11, name=f"{name}_distance")
    # beyond MANT_BITS + 2 only the sticky bit is left
    far = Mux(distance > MANT_BITS + 2, MANT_BITS + 2, distance)[:5]
    m.d.comb += distance.eq(big.exp - small.exp)
    # an exact zero is positive unless both are negative
    flags: Value = Cat(Mux(a.inf, a.sign, Mux(b.inf, b.sign, big.sign)), a.sign ^ b.sign, nan, inf)
    far, large, little, exp, flags = cut(m, f"{name}_far", far, big.mant, small.mant, big.exp,
                                         flags)

    wide = Signal(2 * MANT_BITS + GUARD_BITS, name=f"{name}_wide")
    m.d.comb += wide.eq(Cat(Const(0, MANT_BITS + GUARD_BITS), little) >> far)
    little, large, exp, flags = cut(
        m, f"{name}_aligned", Cat(wide[:MANT_BITS + 1].any(), wide[MANT_BITS + 1:]),
        Cat(Const(0, GUARD_BITS), large), exp, flags)
    total, exp, flags = cut(
        m, f"{name}_total", Mux(flags[1], large - little, large + little)
        [:MANT_BITS + GUARD_BITS + 1], exp, flags)
    negative = flags[0] & ~((total == 0) & flags[1] & ~flags[3])
    value, shift, (exp, sign, flags) = normalize(m, f"{name}_sum", total, exp, negative, flags)

    # a total has one bit more than a number: its exponent may go down to LOWEST, no further
    room = exp + 1 - LOWEST
    back = Signal(range(len(total) + 1), name=f"{name}_back")
    m.d.comb += back.eq(Mux(shift > room, shift - room, 0))
    right, exp, value, sign, flags = cut(m, f"{name}_room", back, exp - GUARD_BITS - shift, value,
                                        sign, flags)
    return _round(m, f"{name}_result", (value >> right)[:len(total)], exp + right, sign, flags[2],
                  flags[3])


def round_fixed(m: Module, name: str, value: Value, unit: Value, flags: data.View) -> data.View:
    """Fixed point ``value * 2**unit`` (signed, many bits) rounded; no result is subnormal but
    exactly so. ``flags``: ``nan``, ``positive`` and ``negative`` infinities that were in it;
    ``unit`` is that of the value UNIT cycles before."""
    width = len(value)
    negative = value < 0
    both = flags.positive & flags.negative
    nan = flags.nan | both
    inf = (flags.positive | flags.negative) & ~nan
    magnitude, kind = cut(m, f"{name}_magnitude", Mux(negative, -value, value)[:width],
                          Cat(Mux(inf, flags.negative, negative), nan, inf))
    top, shift, (kind,) = normalize(m, name, magnitude, kind)

    low = width - MANT_BITS - 2
    short: Value = Cat(top[:low].any(), top[low:])
    drop = len(short) - MANT_BITS
    highest, least = cut(m, f"{name}_unit", unit + (low - 1), LOWEST - drop - (low - 1) - unit)
    exp, missing = highest - shift, least + shift
    back = Signal(range(MANT_BITS + 4), name=f"{name}_back")
    m.d.comb += back.eq(Mux(missing <= 0, 0, Mux(missing > MANT_BITS + 2, MANT_BITS + 3, missing)))
    short, right, exp, kind = cut(m, f"{name}_short", short, back,
                                 Mux(missing > 0, LOWEST - drop, exp), kind)
    moved, exp, kind = cut(m, f"{name}_moved", (short >> right)[:len(short)], exp, kind)
    return _round(m, f"{name}_result", moved, exp, kind[0], kind[1], kind[2])


def pattern(number: data.View) -> Value:
    """The binary32 pattern of a number or an infinity."""
    field = (number.exp - (LOWEST - 1))[:8] & number.mant[-1].replicate(8)
    return Cat(Mux(number.inf, Const(0, 23), number.mant[:-1]),
               Mux(number.inf, Const(255, 8), field), number.sign)


def key(number: data.View) -> Value:
    """Integers in the order of values, +0 above -0; infinities and normal values alone."""
    whole = Cat(pattern(number)[:31], Const(0, 1))
    return Mux(number.sign, ~whole, whole).as_signed()


def clip(m: Module, name: str, number: data.View, low: data.View, high: data.View) -> data.View:
    """``number`` between ``low`` and ``high``, which are looked at a cycle apart; NaN stays,
    a bound that is NaN is none, and zeros keep their sign."""
    def below(a: data.View, b: data.View) -> Value:
        none = (a.mant == 0) & (b.mant == 0) & ~a.inf & ~b.inf
        return (key(a) < key(b)) & ~none & ~a.nan & ~b.nan

    raised, result = named(f"{name}_raised"), named(name)
    m.d.comb += raised.eq(Mux(below(number, low), low.as_value(), number.as_value()))
    raised = later(m, raised, 1, f"{name}_low")
    m.d.comb += result.eq(Mux(below(high, raised), high.as_value(), raised.as_value()))
    return later(m, result, 1, f"{name}_high")


def convert(m: Module, name: str, number: data.View, dtype: Value) -> tuple[Value, Value]:
    """A number rounded to FP16, BF16 or FP32, which is looked at in the last cycle: the pattern (32
    bits, the low ones first), and ``Cat(nan, inf)`` of the result."""
    single = Signal(32, name=f"{name}_single")
    brain = Signal(32, name=f"{name}_brain")
    far = Signal(signed(12), name=f"{name}_far")
    m.d.comb += [single.eq(Mux(number.nan, 0x7FC00000, pattern(number))),
                 far.eq(-24 - number.exp)]
    drop = Mux(far > MANT_BITS + 1, MANT_BITS + 1, Mux(far < MANT_BITS - 11, MANT_BITS - 11, far))
    base = Mux(far > MANT_BITS - 11, 0, (number.exp + 37) << 10)
    bits32, drop, base, mant, sign, nan, inf = cut(
        m, f"{name}_pattern", single, drop[:5], base[:20].as_signed(), number.mant, number.sign,
        number.nan, number.inf)

    kept = Signal(2 * MANT_BITS + 2, name=f"{name}_kept")
    m.d.comb += [kept.eq(Cat(Const(0, MANT_BITS + 2), mant) >> drop),
                 brain.eq(bits32 + 0x7FFF + bits32[16])]
    whole, guard = kept[MANT_BITS + 2:], kept[MANT_BITS + 1]
    up = guard & (kept[:MANT_BITS + 1].any() | whole[0])
    bits32, upper, whole, up, base, sign, nan, inf = cut(
        m, f"{name}_kept", bits32, brain, whole[:12], up, base, sign, nan, inf)

    code = Signal(signed(20), name=f"{name}_code")
    infinite = inf | (code >= 31 << 10)
    m.d.comb += code.eq(base + whole + up)
    half = Mux(nan, 0x7E00, Cat(Mux(infinite, Const(31 << 10, 15), code[:15]), sign))
    bits, special = Signal(32, name=f"{name}_bits"), Signal(name=f"{name}_inf")
    with m.Switch(dtype):
        with m.Case(DType.FP16):
            m.d.comb += [bits.eq(half), special.eq(infinite)]
        with m.Case(DType.BF16):
            m.d.comb += [bits.eq(Mux(nan, 0x7FC0, upper[16:])),
                         special.eq(inf | upper[23:31].all())]
        with m.Default():
            m.d.comb += [bits.eq(bits32), special.eq(inf)]
    result, kind = cut(m, f"{name}_out", bits, Cat(nan, special & ~nan))
    return result, kind
