# SPDX-License-Identifier: Apache-2.0
"""Binary32 arithmetic as IEEE 754 has it, subnormals, infinities and NaN included, in pipelines.

A number is :data:`NUMBER`: ``(-1)**sign * mant * 2**exp``, with ``exp`` at least -149 and the
leading one in bit 23 unless ``exp`` is -149, which are just the binary32 numbers; or NaN or an
infinity, whose ``mant`` is of no account. :func:`unpack` gives numbers that are not normalized but
exact, which only :func:`multiply` takes. Every rounding is to nearest, ties to even. A function
takes operands of one cycle and gives its result so many cycles later, as its name in
:data:`STAGES` says; it has no stall.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data

from hw.binary32 import MANT_BITS, normalize, round_even
from hw.delay import delay, later
from hw.ports import view_of
from isa.instructions import DType

LOWEST, HIGHEST = -149, 104
"""Exponents of the lowest bit of subnormals and of the largest numbers."""

NUMBER = data.StructLayout({"sign": 1, "exp": signed(11), "mant": MANT_BITS, "nan": 1, "inf": 1})

STAGES = {"multiply": 3, "add": 3, "round_fixed": 3, "convert": 1}
"""Cycles that the functions take."""

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


def from_half(m: Module, name: str, bits: Value) -> data.View:
    """The number of a binary16 pattern, normalized."""
    f = _fields(bits, 10, 5, -24)
    assert isinstance(f["mant"], Value)
    value, shift = normalize(m, name, f["mant"])
    zero = ~value[-1]
    return assign(m, named(name), sign=f["sign"], nan=f["nan"], inf=f["inf"],
                  mant=Cat(Const(0, MANT_BITS - 11), value),
                  exp=Mux(zero, LOWEST, f["exp"] - (MANT_BITS - 11) - shift))


def _round(m: Module, name: str, value: Value, exp: Value, sign: Value, nan: Value, inf: Value
           ) -> data.View:
    """The number nearest to ``value * 2**exp``; ``value`` has its leading one on top, or lies at
    the smallest exponent, where ``exp + len(value) - MANT_BITS`` is LOWEST."""
    drop = len(value) - MANT_BITS
    mant, carry = round_even(m, name, value, drop)
    rounded = Signal(signed(12), name=f"{name}_exp")
    m.d.comb += rounded.eq(exp + drop + carry)
    zero = mant == 0
    return assign(m, named(name), sign=sign, mant=mant, exp=Mux(zero, LOWEST, rounded), nan=nan,
                  inf=inf | ((rounded > HIGHEST) & ~zero))


def multiply(m: Module, name: str, a: data.View, b: data.View) -> data.View:
    """``a * b`` rounded."""
    def zero(n: data.View) -> Value:
        return (n.mant == 0) & ~n.nan & ~n.inf

    nan = a.nan | b.nan | (a.inf & zero(b)) | (zero(a) & b.inf)
    flags = Cat(a.sign ^ b.sign, nan, (a.inf | b.inf) & ~nan)
    flags1 = delay(m, flags, 1, f"{name}_flags1")
    product = delay(m, a.mant * b.mant, 1, f"{name}_product")
    exp1 = delay(m, a.exp + b.exp, 1, f"{name}_exp1")

    value, shift = normalize(m, f"{name}_product", product)
    top = Signal(signed(12), name=f"{name}_top")
    m.d.comb += top.eq(exp1 - shift)
    flags2 = delay(m, flags1, 1, f"{name}_flags2")
    value2 = delay(m, value, 1, f"{name}_value2")
    top2 = delay(m, top, 1, f"{name}_top2")

    # subnormals lose as many bits more as their exponent is too small
    least = LOWEST - MANT_BITS
    missing = Signal(signed(13), name=f"{name}_missing")
    few = Signal(range(MANT_BITS + 3), name=f"{name}_few")
    wide = Signal(3 * MANT_BITS + 2, name=f"{name}_wide")
    m.d.comb += [
        missing.eq(least - top2),
        few.eq(Mux(missing <= 0, 0, Mux(missing > MANT_BITS + 1, MANT_BITS + 2, missing))),
        wide.eq(Cat(Const(0, MANT_BITS + 2), value2) >> few)]
    lost = wide[:MANT_BITS + 2].any()
    shifted = Cat(wide[MANT_BITS + 2] | lost, wide[MANT_BITS + 3:])
    number = _round(m, name, shifted, Mux(missing > 0, least, top2), flags2[0], flags2[1],
                    flags2[2])
    return later(m, number, 1, f"{name}_result")


def add(m: Module, name: str, a: data.View, b: data.View) -> data.View:
    """``a + b`` rounded."""
    swap = Signal(name=f"{name}_swap")
    m.d.comb += swap.eq((b.exp > a.exp) | ((b.exp == a.exp) & (b.mant > a.mant)))
    big, small = view_of(NUMBER, name=f"{name}_big"), view_of(NUMBER, name=f"{name}_small")
    m.d.comb += [big.eq(Mux(swap, b.as_value(), a.as_value())),
                 small.eq(Mux(swap, a.as_value(), b.as_value()))]
    nan = a.nan | b.nan | (a.inf & b.inf & (a.sign ^ b.sign))
    inf = (a.inf | b.inf) & ~nan
    distance = Signal(11, name=f"{name}_distance")
    far = Signal(5, name=f"{name}_far")
    wide = Signal(2 * MANT_BITS + GUARD_BITS, name=f"{name}_aligned")
    # beyond MANT_BITS + 2 only the sticky bit is left
    m.d.comb += [distance.eq(big.exp - small.exp),
                 far.eq(Mux(distance > MANT_BITS + 2, MANT_BITS + 2, distance)),
                 wide.eq(Cat(Const(0, MANT_BITS + GUARD_BITS), small.mant) >> far)]
    sticky = wide[:MANT_BITS].any()
    large = delay(m, Cat(Const(0, GUARD_BITS), big.mant), 1, f"{name}_large")
    little = delay(m, Cat(wide[MANT_BITS] | sticky, wide[MANT_BITS + 1:]), 1, f"{name}_little")
    # an exact zero is positive unless both are negative
    flags = Cat(Mux(a.inf, a.sign, Mux(b.inf, b.sign, big.sign)), a.sign ^ b.sign, nan, inf)
    flags1 = delay(m, flags, 1, f"{name}_flags1")
    exp1 = delay(m, big.exp, 1, f"{name}_exp1")

    total = Signal(unsigned(MANT_BITS + GUARD_BITS + 1), name=f"{name}_total")
    m.d.comb += total.eq(Mux(flags1[1], large - little, large + little))
    total2 = delay(m, total, 1, f"{name}_total2")
    flags2 = delay(m, flags1, 1, f"{name}_flags2")
    exp2 = delay(m, exp1, 1, f"{name}_exp2")

    value, shift = normalize(m, f"{name}_total", total2)
    room = Signal(signed(12), name=f"{name}_room")
    top = Signal(len(total), name=f"{name}_top")
    back = Signal(range(len(total) + 1), name=f"{name}_back")
    # a total has one bit more than a number: its exponent may go down to LOWEST, no further
    m.d.comb += [room.eq(exp2 + 1 - LOWEST),
                 back.eq(Mux(shift > room, shift - room, 0)),
                 top.eq(value >> back)]
    sign = flags2[0] & ~((total2 == 0) & flags2[1] & ~flags2[3])
    number = _round(m, name, top, exp2 - GUARD_BITS - shift + back, sign, flags2[2], flags2[3])
    return later(m, number, 1, f"{name}_result")


def round_fixed(m: Module, name: str, value: Value, unit: Value, flags: data.View) -> data.View:
    """Fixed point ``value * 2**unit`` (signed, many bits) rounded; no result is subnormal but
    exactly so. ``flags``: ``nan``, ``positive`` and ``negative`` infinities that were in it."""
    width = len(value)
    negative = value < 0
    magnitude = delay(m, Mux(negative, -value, value)[:width], 1, f"{name}_magnitude")
    both = flags.positive & flags.negative
    nan = flags.nan | both
    inf = (flags.positive | flags.negative) & ~nan
    kind = delay(m, Cat(Mux(inf, flags.negative, negative), nan, inf), 1, f"{name}_kind")

    top, shift = normalize(m, name, magnitude)
    low = width - MANT_BITS - 2
    short = delay(m, Cat(top[:low].any(), top[low:]), 1, f"{name}_short")
    shift2 = delay(m, shift, 1, f"{name}_shift2")
    kind2 = delay(m, kind, 1, f"{name}_kind2")

    exp = Signal(signed(12), name=f"{name}_low")
    back = Signal(range(MANT_BITS + 4), name=f"{name}_back")
    moved = Signal(len(short), name=f"{name}_moved")
    drop = len(short) - MANT_BITS
    missing = Signal(signed(13), name=f"{name}_missing")
    m.d.comb += [exp.eq(unit + (low - 1) - shift2), missing.eq(LOWEST - drop - exp),
                 back.eq(Mux(missing <= 0, 0, Mux(missing > MANT_BITS + 2, MANT_BITS + 3,
                                                  missing))),
                 moved.eq(short >> back)]
    number = _round(m, f"{name}_number", moved, Mux(missing > 0, LOWEST - drop, exp), kind2[0],
                    kind2[1], kind2[2])
    return later(m, number, 1, f"{name}_result")


def pattern(number: data.View) -> Value:
    """The binary32 pattern of a number or an infinity."""
    field = (number.exp - (LOWEST - 1))[:8] & number.mant[-1].replicate(8)
    return Cat(Mux(number.inf, Const(0, 23), number.mant[:-1]),
               Mux(number.inf, Const(255, 8), field), number.sign)


def key(number: data.View) -> Value:
    """Integers in the order of numbers, +0 above -0; infinities and normal numbers alone."""
    whole = Cat(pattern(number)[:31], Const(0, 1))
    return Mux(number.sign, ~whole, whole).as_signed()


def clip(m: Module, name: str, number: data.View, low: data.View, high: data.View) -> data.View:
    """``number`` between ``low`` and ``high``; NaN stays, and of zeros its own sign."""
    def below(a: data.View, b: data.View) -> Value:
        none = (a.mant == 0) & (b.mant == 0) & ~a.inf & ~b.inf
        return (key(a) < key(b)) & ~none & ~a.nan

    raised, result = named(f"{name}_raised"), named(name)
    m.d.comb += [raised.eq(Mux(below(number, low), low.as_value(), number.as_value())),
                 result.eq(Mux(below(high, raised) & ~raised.nan, high.as_value(),
                               raised.as_value()))]
    return result


def convert(m: Module, name: str, number: data.View, dtype: Value) -> tuple[Value, Value]:
    """A number rounded to FP16, BF16 or FP32: the pattern (32 bits, the low ones first), and
    ``Cat(nan, inf)`` of the result; a cycle later."""
    single = Signal(32, name=f"{name}_single")
    m.d.comb += single.eq(Mux(number.nan, 0x7FC00000, pattern(number)))
    brain = Signal(32, name=f"{name}_brain")
    m.d.comb += brain.eq(single + 0x7FFF + single[16])

    drop = Signal(range(MANT_BITS + 2), name=f"{name}_drop")
    far = Signal(signed(12), name=f"{name}_far")
    kept = Signal(2 * MANT_BITS + 2, name=f"{name}_kept")
    m.d.comb += [
        far.eq(-24 - number.exp),
        drop.eq(Mux(far > MANT_BITS + 1, MANT_BITS + 1, Mux(far < MANT_BITS - 11, MANT_BITS - 11,
                                                            far))),
        kept.eq(Cat(Const(0, MANT_BITS + 2), number.mant) >> drop)]
    whole, guard = kept[MANT_BITS + 2:], kept[MANT_BITS + 1]
    up = guard & (kept[:MANT_BITS + 1].any() | whole[0])
    code = Signal(signed(20), name=f"{name}_code")
    base = Mux(far > MANT_BITS - 11, 0, (number.exp + 37) << 10)
    m.d.comb += code.eq(base + whole[:12] + up)
    infinite = Signal(name=f"{name}_infinite")
    m.d.comb += infinite.eq(number.inf | (code >= 31 << 10))
    half = Mux(number.nan, 0x7E00, Cat(Mux(infinite, Const(31 << 10, 15), code[:15]), number.sign))
    bits, inf = Signal(32, name=f"{name}_bits"), Signal(name=f"{name}_inf")
    with m.Switch(dtype):
        with m.Case(DType.FP16):
            m.d.comb += [bits.eq(half), inf.eq(infinite)]
        with m.Case(DType.BF16):
            m.d.comb += [bits.eq(Mux(number.nan, 0x7FC0, brain[16:])),
                         inf.eq(number.inf | brain[23:31].all())]
        with m.Default():
            m.d.comb += [bits.eq(single), inf.eq(number.inf)]
    return (delay(m, bits, 1, f"{name}_pattern"),
            delay(m, Cat(number.nan, inf & ~number.nan), 1, f"{name}_class"))
