# SPDX-License-Identifier: Apache-2.0
"""The functions of a vector lane: exponential, reciprocal, sigmoid, hyperbolic tangent.

::

    x ─► |x| fixed ─► × log2 e ─► POWER ─► E ─► INVERSE ─► select ─► normalize ─► round
     └───────────────────────────────────── 1 + f ──┘ (RECIPROCAL)

The arithmetic is that of :mod:`golden.functions`. There is no stall: what enters in cycle ``t`` is
out in ``t + LATENCY``. The operation stands still.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, memory

from hw.arith import ieee
from hw.arith.ieee import HIGHEST, LOWEST
from hw.arith.normal import MANT_BITS, NORMALIZE, PRODUCT, ROUND, normalize, product, round_even
from hw.parts.delay import cut, delay, later, register
from isa.functions import INVERSE, LOG2_E, LOG2_E_BITS, POWER, VALUE_BITS, Table
from isa.instructions import VectorOp

FRACTION_BITS, WHOLE_BITS = 24, 8
"""Bits of the argument of an exponential, below and above the point."""

EXPONENT_BITS = 12
"""Width of an exponent of 2, signed: an argument is below 2^8, and doubled for TANH."""

LOOKUP = 4 + 2 * PRODUCT
"""Address, row; curve × offset, a sum; slope × offset, a sum."""

ARGUMENT = 2 + PRODUCT
"""Fixed point in two cycles, × log2 e."""

LATENCY = ARGUMENT + 2 * LOOKUP + 5 + PRODUCT + NORMALIZE + ROUND
"""Argument; two tables; E in two cycles, 1 in its place, × E, select; normalize, round; what is no
such number."""

WIDE = 17
"""Bits of an operand of a DSP block."""

SMALL = -8 - (MANT_BITS - 1)
"""Exponent of the lowest bit of the values from 2^-8 on."""


def function(m: Module, name: str, x: data.View, vop: Value) -> data.View:
    """The function ``vop`` of a number, LATENCY cycles later."""
    tanh, exp, reciprocal = (vop == op for op in (VectorOp.TANH, VectorOp.EXP,
                                                  VectorOp.RECIPROCAL))
    power, i = _power(m, name, x, tanh, exp)
    late = later(m, x, ARGUMENT + LOOKUP + 1, f"{name}_x")

    shift = Signal(range(VALUE_BITS + 2), name=f"{name}_right")
    far = Signal(signed(EXPONENT_BITS + 1), name=f"{name}_far")
    wide = Signal(INVERSE.fraction_bits + 2, name=f"{name}_e")
    m.d.comb += [far.eq(VALUE_BITS - INVERSE.fraction_bits - i),
                 shift.eq(Mux(far > VALUE_BITS + 1, VALUE_BITS + 1, far))]
    right, power, i = cut(m, f"{name}_e_shift", shift, power, i)
    m.d.comb += wide.eq(power >> right)
    mantissa = late.mant[:MANT_BITS - 1] << (INVERSE.fraction_bits - (MANT_BITS - 1))
    fraction = register(m, f"{name}_fraction",
                        Mux(reciprocal, mantissa, wide[:INVERSE.fraction_bits])
                        [:INVERSE.fraction_bits])
    whole = delay(m, ~reciprocal & wide[INVERSE.fraction_bits], 1 + LOOKUP, f"{name}_whole")
    inverse = Mux(whole, 1 << (VALUE_BITS - 1), _lookup(m, f"{name}_inverse", INVERSE, fraction))
    power, i = (delay(m, v, 1 + LOOKUP, f"{name}_{n}") for n, v in (("power", power), ("i", i)))
    inverse, power, i = cut(m, f"{name}_factors", inverse, power, i)
    scaled, (inverse, power, i) = product(m, f"{name}_scaled", power, inverse, inverse, power, i)
    scaled = scaled >> VALUE_BITS
    late = later(m, late, 2 + LOOKUP + PRODUCT, f"{name}_later")

    value = Signal(VALUE_BITS + 1, name=f"{name}_value", reset_less=True)
    exponent = Signal(signed(EXPONENT_BITS), name=f"{name}_exponent", reset_less=True)
    with m.Switch(vop):
        with m.Case(VectorOp.EXP):
            m.d.sync += [value.eq(power), exponent.eq(i)]
        with m.Case(VectorOp.RECIPROCAL):
            m.d.sync += [value.eq(inverse), exponent.eq(-(MANT_BITS - 1) - late.exp)]
        with m.Case(VectorOp.SIGMOID):
            m.d.sync += [value.eq(Mux(late.sign, scaled, inverse)),
                         exponent.eq(Mux(late.sign, i, 0))]
        with m.Default():
            m.d.sync += [value.eq((inverse << 1) - (1 << VALUE_BITS)), exponent.eq(0)]
    number = _round(m, name, value, exponent)
    late = later(m, late, 1 + NORMALIZE + ROUND, f"{name}_last")

    result = ieee.named(f"{name}_chosen")
    m.d.comb += [result.eq(number), result.nan.eq(late.nan),
                 result.sign.eq(late.sign & (tanh | reciprocal))]
    with m.If(reciprocal & (late.inf | ~late.mant[-1])):
        m.d.comb += [result.inf.eq(~late.inf), result.mant.eq(0), result.exp.eq(LOWEST)]
    with m.If(tanh & ~late.inf & (late.exp < SMALL)):
        m.d.comb += result.eq(late)
    return later(m, result, 1, f"{name}_result")


def _power(m: Module, name: str, x: data.View, tanh: Value, exp: Value) -> tuple[Value, Value]:
    """e^x, or E, as a value in [1, 2) and an exponent of 2."""
    bits = FRACTION_BITS + WHOLE_BITS
    away = Signal(signed(12), name=f"{name}_away")
    m.d.comb += away.eq(WHOLE_BITS - MANT_BITS - x.exp)
    right, above, mant = cut(m, f"{name}_down", Mux(away > bits, bits, away)[:6],
                             (x.exp > WHOLE_BITS - MANT_BITS) | x.inf, Mux(x.nan, 0, x.mant))
    fixed = Signal(bits, name=f"{name}_fixed")
    m.d.comb += fixed.eq(Mux(above, (1 << bits) - 1,
                             Cat(Const(0, bits - MANT_BITS), mant) >> right))
    argument = register(m, f"{name}_argument", Mux(tanh, fixed << 1, fixed))
    binary, _ = product(m, f"{name}_binary", argument, Const(LOG2_E), part=WIDE)
    binary = binary >> (FRACTION_BITS + LOG2_E_BITS - POWER.fraction_bits)
    rises = delay(m, exp & ~x.sign, ARGUMENT, f"{name}_rises")
    exponent = Signal(signed(EXPONENT_BITS + POWER.fraction_bits), name=f"{name}_binary")
    m.d.comb += exponent.eq(Mux(rises, binary, -binary))
    i = delay(m, exponent[POWER.fraction_bits:].as_signed(), LOOKUP, f"{name}_whole_exponent")
    return _lookup(m, f"{name}_power", POWER, exponent[:POWER.fraction_bits]), i.as_signed()


def _lookup(m: Module, name: str, table: Table, fraction: Value) -> Value:
    """A table's value, LOOKUP cycles later."""
    k, u = fraction[table.offset_bits:], fraction[:table.offset_bits]
    shapes = [Shape.cast(range(min(0, *column), max(column) + 1))
              for column in zip(*table.rows, strict=True)]
    row = data.StructLayout({str(n): shape for n, shape in enumerate(shapes)})
    rom: memory.Memory = memory.Memory(
        shape=row, depth=len(table.rows),
        init=[{str(n): v for n, v in enumerate(values)} for values in table.rows],
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
    mant, exp, _ = round_even(m, name, top, VALUE_BITS + 1 - MANT_BITS,
                              exponent - VALUE_BITS - shift)
    none = (mant == 0) | (exp < LOWEST)
    return ieee.assign(m, ieee.named(f"{name}_rounded"), mant=Mux(none, 0, mant),
                          exp=Mux(none, LOWEST, exp), inf=~none & (exp > HIGHEST))
