# SPDX-License-Identifier: Apache-2.0
"""The functions of a vector lane: exponential, reciprocal, sigmoid, hyperbolic tangent, reciprocal
square root and GELU.

::

                                             E ─┐       ┌─── E × table ───┐
    x ─┬──────┬─ fixed ─ × log2 e ─ POWER ──────┼─ table ┴─ select ─ × x ──┴─ normalize ─ round
       └─ x² ─┘                        1 + f ───┘

Square and product with ``x`` are GELU's. The first table is POWER; the second one is a page of
:data:`isa.functions.PAGES`, looked up with E or with the significand ``1 + f`` of ``x``. The
arithmetic is that of :mod:`golden.functions`. There is no stall: what enters in cycle ``t``
is out in ``t + LATENCY``. The operation stands still.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, memory

from hw.arith import ieee
from hw.arith.ieee import HIGHEST, LOWEST
from hw.arith.normal import MANT_BITS, NORMALIZE, PRODUCT, ROUND, normalize, product, round_even
from hw.parts.delay import cut, delay, later, register
from isa.functions import (INVERSE, LOG2_E, LOG2_E_BITS, PAGES, POWER, ROOTS, TAILS, VALUE_BITS,
                           Table)
from isa.instructions import VectorOp

FRACTION_BITS, FIXED_BITS = 24, 32
"""Bits of the argument of an exponential below the point, and all; as many of a square are kept."""

EXPONENT_BITS = 12
"""Width of an exponent of 2, signed: an argument is below 2^8, and doubled for TANH."""

LOOKUP = 4 + 2 * PRODUCT
"""Address, row; curve × offset, a sum; slope × offset, a sum."""

ARGUMENT = 2 + 2 * PRODUCT
"""Square, fixed point in two cycles, × log2 e."""

LATENCY = ARGUMENT + 2 * LOOKUP + 6 + 2 * PRODUCT + NORMALIZE + ROUND
"""Argument; two tables; E in two cycles, 1 in its place, × E, its place, select, × x; normalize,
round; what is no such number."""

WIDE = 17
"""Bits of an operand of a DSP block."""

SMALL = -8 - (MANT_BITS - 1)
"""Exponent of the lowest bit of the values from 2^-8 on."""


def function(m: Module, name: str, x: data.View, vop: Value) -> data.View:
    """The function ``vop`` of a number, LATENCY cycles later."""
    tanh, exp, reciprocal, root, gelu = (vop == op for op in (
        VectorOp.TANH, VectorOp.EXP, VectorOp.RECIPROCAL, VectorOp.RSQRT, VectorOp.GELU))
    late = later(m, x, ARGUMENT + LOOKUP, f"{name}_x")
    inverse, power, i = _second(m, name, late, _power(m, name, x, tanh, exp, gelu),
                                reciprocal | root, root, gelu)
    late = later(m, late, 3 + LOOKUP, f"{name}_later")

    right = Mux(i < -VALUE_BITS - 1, VALUE_BITS + 2, -i)[:(VALUE_BITS + 2).bit_length()]
    both, (inverse, power, i, right) = product(m, f"{name}_scaled", power, inverse, inverse, power,
                                               i, right)
    scaled = both >> VALUE_BITS
    moved, scaled, inverse, power, i = cut(m, f"{name}_moved", scaled >> right, scaled, inverse,
                                           power, i)
    late = later(m, late, PRODUCT + 1, f"{name}_selected")
    value, exponent = _select(m, name, vop, late, scaled, moved, inverse, power, i.as_signed())
    factor = register(m, f"{name}_factor", Mux(gelu, late.mant, 1 << MANT_BITS - 1)[:MANT_BITS])
    raised, (exponent,) = product(m, f"{name}_raised", value, factor, exponent, part=WIDE)
    number = _round(m, name, (raised >> MANT_BITS - 1)[:VALUE_BITS + 2], exponent)
    late = later(m, late, 1 + PRODUCT + NORMALIZE + ROUND, f"{name}_last")

    result, ends = ieee.named(f"{name}_chosen"), late.inf | ~late.mant[-1]
    m.d.comb += [result.eq(number),
                 result.nan.eq(late.nan | (root & late.sign & (late.inf | late.mant[-1]))),
                 result.sign.eq(late.sign & (tanh | reciprocal | root | gelu))]
    with m.If(((reciprocal | root) & ends) | (gelu & late.inf)):
        m.d.comb += [result.inf.eq(Mux(gelu, ~late.sign, ~late.inf)), result.mant.eq(0),
                     result.exp.eq(LOWEST)]
    with m.If(tanh & ~late.inf & (late.exp < SMALL)):
        m.d.comb += result.eq(late)
    return later(m, result, 1, f"{name}_result")


def _power(m: Module, name: str, x: data.View, tanh: Value, exp: Value, gelu: Value
           ) -> tuple[Value, Value]:
    """e^x, or E, as a value in [1, 2) and an exponent of 2."""
    square, (low, wide) = product(m, f"{name}_square", x.mant, x.mant, Mux(
        gelu, (x.exp << 1) + (2 * MANT_BITS - FIXED_BITS - 1), x.exp + (MANT_BITS - FIXED_BITS)),
        Mux(x.nan, 0, x.mant))
    # low: exponent of the lowest bit of what becomes fixed point
    away = Signal(signed(12), name=f"{name}_away")
    m.d.comb += away.eq(-FRACTION_BITS - low.as_signed())
    infinite = delay(m, x.inf, PRODUCT, f"{name}_infinite")
    right, above, wide = cut(
        m, f"{name}_down", Mux(away > FIXED_BITS, FIXED_BITS, away)[:6], (away < 0) | infinite,
        Mux(gelu, square[-FIXED_BITS:], wide << FIXED_BITS - MANT_BITS))
    fixed = Signal(FIXED_BITS, name=f"{name}_fixed")
    m.d.comb += fixed.eq(Mux(above, (1 << FIXED_BITS) - 1, wide >> right))
    argument = register(m, f"{name}_argument", Mux(tanh, fixed << 1, fixed))
    binary, _ = product(m, f"{name}_binary", argument, Const(LOG2_E), part=WIDE)
    binary = binary >> (FRACTION_BITS + LOG2_E_BITS - POWER.fraction_bits)
    rises = delay(m, exp & ~x.sign, ARGUMENT, f"{name}_rises")
    exponent = Signal(signed(EXPONENT_BITS + POWER.fraction_bits), name=f"{name}_binary")
    m.d.comb += exponent.eq(Mux(rises, binary, -binary))
    i = delay(m, exponent[POWER.fraction_bits:].as_signed(), LOOKUP, f"{name}_whole_exponent")
    power = _lookup(m, f"{name}_power", (POWER,), exponent[:POWER.fraction_bits])
    return power, i.as_signed()


def _second(m: Module, name: str, x: data.View, e: tuple[Value, Value], direct: Value, root: Value,
            gelu: Value) -> tuple[Value, Value, Value]:
    """The second table's value, the value of ``e``, and the exponent of their product, 3 + LOOKUP
    cycles later. ``direct``: the table's argument is the significand ``1 + f`` of ``x``; so it is
    for GELU where ``|x| >= 1``, below it is ``|x|``."""
    power, i = e
    n = Signal(signed(len(x.exp) + 1), name=f"{name}_n")
    far = Signal(signed(EXPONENT_BITS + 1), name=f"{name}_far")
    shift = Signal(range(VALUE_BITS + 2), name=f"{name}_right")
    chosen = Signal(range(len(PAGES)), name=f"{name}_page")
    tail, last = PAGES.index(TAILS[0]), len(TAILS) - 2
    m.d.comb += [
        n.eq(x.exp + (MANT_BITS - 1)),
        far.eq(VALUE_BITS - INVERSE.fraction_bits - Mux(gelu, n, i)),
        shift.eq(Mux(far > VALUE_BITS + 1, VALUE_BITS + 1, far)),
        chosen.eq(Mux(gelu, tail + Mux(n < 0, 0, 1 + Mux(n > last, last, n[:2])),
                      Mux(root, PAGES.index(ROOTS[0]) + n[0], PAGES.index(INVERSE))))]
    moved = Mux(gelu, x.mant << VALUE_BITS + 1 - MANT_BITS, power)
    lower = Mux(gelu, Mux(n < 0, 0, n) + 1, 0)
    right, moved, direct, page, mantissa, power, i, lower = cut(
        m, f"{name}_e_shift", shift, moved, direct | (gelu & (n >= 0)), chosen,
        x.mant[:MANT_BITS - 1], power, i, lower)
    wide = Signal(INVERSE.fraction_bits + 2, name=f"{name}_e")
    m.d.comb += wide.eq(moved >> right)
    fraction, page = cut(
        m, f"{name}_fraction",
        Mux(direct, mantissa << INVERSE.fraction_bits - (MANT_BITS - 1), wide)
        [:INVERSE.fraction_bits], page)
    whole = delay(m, ~direct & wide[INVERSE.fraction_bits], 1 + LOOKUP, f"{name}_whole")
    value = Mux(whole, 1 << VALUE_BITS - 1,
                _lookup(m, f"{name}_inverse", PAGES, Cat(fraction, page)))
    i = (i.as_signed() - lower.as_signed())[:EXPONENT_BITS].as_signed()
    power, i = (delay(m, v, 1 + LOOKUP, f"{name}_{n}") for n, v in (("power", power), ("i", i)))
    value, power, i = cut(m, f"{name}_factors", value, power, i)
    return value, power, i.as_signed()


def _select(m: Module, name: str, vop: Value, x: data.View, scaled: Value, moved: Value,
            inverse: Value, power: Value, i: Value) -> tuple[Value, Value]:
    """Value and exponent of the result, that of GELU without its factor, a cycle later. ``moved``:
    ``scaled * 2**i``."""
    n, one = x.exp + (MANT_BITS - 1), 1 << VALUE_BITS
    value = Signal(VALUE_BITS + 1, name=f"{name}_value", reset_less=True)
    exponent = Signal(signed(EXPONENT_BITS), name=f"{name}_exponent", reset_less=True)
    with m.Switch(vop):
        with m.Case(VectorOp.EXP):
            m.d.sync += [value.eq(power), exponent.eq(i)]
        with m.Case(VectorOp.RECIPROCAL):
            m.d.sync += [value.eq(inverse), exponent.eq(-n)]
        with m.Case(VectorOp.SIGMOID):
            m.d.sync += [value.eq(Mux(x.sign, scaled, inverse)), exponent.eq(Mux(x.sign, i, 0))]
        with m.Case(VectorOp.RSQRT):
            m.d.sync += [value.eq(inverse), exponent.eq(-(n >> 1))]
        with m.Case(VectorOp.GELU):
            m.d.sync += [value.eq(Mux(x.sign, scaled, one - moved)),
                         exponent.eq(n + Mux(x.sign, i, 0))]
        with m.Default():
            m.d.sync += [value.eq((inverse << 1) - one), exponent.eq(0)]
    return value, exponent


def _lookup(m: Module, name: str, tables: Sequence[Table], fraction: Value) -> Value:
    """A value of one of several tables of a shape, whose number is above the ``fraction``, LOOKUP
    cycles later."""
    table, rows = tables[0], [row for t in tables for row in t.rows]
    k, u = fraction[table.offset_bits:], fraction[:table.offset_bits]
    shapes = [Shape.cast(range(min(0, *column), max(column) + 1))
              for column in zip(*rows, strict=True)]
    row = data.StructLayout({str(n): shape for n, shape in enumerate(shapes)})
    rom: memory.Memory = memory.Memory(
        shape=row, depth=len(rows),
        init=[{str(n): v for n, v in enumerate(values)} for values in rows],
        attrs={"rom_style": "block"})
    m.submodules[f"{name}_rom"] = rom
    port = rom.read_port()
    m.d.comb += port.addr.eq(k)
    base, slope, curve, offset = cut(m, f"{name}_row", *(port.data[str(n)] for n in range(3)),
                                     register(m, f"{name}_offset", u))
    curved, (base, slope, offset) = product(m, f"{name}_curve", offset, curve, base, slope, offset,
                                            part=WIDE)
    slope, base, offset = cut(m, f"{name}_slope", slope + (curved >> table.drop2), base, offset)
    raised, (base,) = product(m, f"{name}_raised", slope, offset, base)
    raised = raised.as_signed() if slope.shape().signed else raised
    return register(m, f"{name}_table", (base + (raised >> table.drop1))[:VALUE_BITS + 1])


def _round(m: Module, name: str, value: Value, exponent: Value) -> data.View:
    """``value * 2**(exponent - VALUE_BITS)`` as a number, NORMALIZE + ROUND cycles later; zero if
    too small."""
    top, shift, (exponent,) = normalize(m, f"{name}_value", value, exponent)
    mant, exp, _ = round_even(m, name, top, len(value) - MANT_BITS,
                              exponent - VALUE_BITS - shift)
    none = (mant == 0) | (exp < LOWEST)
    return ieee.assign(m, ieee.named(f"{name}_rounded"), mant=Mux(none, 0, mant),
                          exp=Mux(none, LOWEST, exp), inf=~none & (exp > HIGHEST))
