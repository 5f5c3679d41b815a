# SPDX-License-Identifier: Apache-2.0
"""One output lane of the post-processor and of the vector engine: requantize, then add.

::

    acc, bias, scale ─► requantizer (z1, lo1, hi1) ──────────────────────────┬───────────────► out
                                                                             │ (residual)
               (direct) acc ───────────────────────────────────── a × scale_a ─ round ┐
                                                          operand b × scale_b ─ round ┴ + ─ round
                                                                      integer + z2, clip ─► out

There is no stall, and every operand taken in cycle ``t`` gives its result in ``t + LATENCY``, or
without an addition in ``t + PLAIN``. The arithmetic is that of :mod:`golden.arith`, each step
rounded to nearest even in binary32. Constants of an instruction (zero points, clips, scales of the
addition) have to stand still while its elements are under way; ``scale`` and ``bias`` travel with
the element.
"""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.normal import (FLOAT, MANT_BITS, NORMALIZE, PRODUCT, ROUND, leading_product,
                             normalize, product, round_even, unpack_scale)
from hw.arith.requantize import CLIP, CODE, Requantizer, clip_register
from hw.engine.ports import view_of
from hw.parts.clock_gate import clocked
from hw.parts.delay import cut, delay

POST_CONSTANTS = data.StructLayout({
    "z1": CODE, "lo1": CODE, "hi1": CODE, "scale_a": 32, "scale_b": 32,
    "z2": CODE, "lo2": CODE, "hi2": CODE, "add": 1, "direct": 1})
"""What stands still during an instruction. ``add``: the second half of the lane is used;
``direct``: its first operand is ``acc`` itself, not the requantized value."""

GUARD_BITS = 3


class PostLane(wiring.Component):
    """Latency: LATENCY cycles, PLAIN without an addition. Throughput: an element a cycle. There is
    no stall.

    Members
    -------
    acc, bias : In(signed(32))
        Sum and bias; with ``direct``, ``acc`` is an operand of ten bits.
    scale : In(32)
        binary32 pattern of the requantization.
    b : In(CODE)
        Second operand of the addition.
    constants : In(POST_CONSTANTS)
    out : Out(CODE)
        The result, LATENCY cycles later, or PLAIN without an addition.
    """

    PLAIN = Requantizer.LATENCY
    LATENCY = PLAIN + 1 + PRODUCT + 2 * (NORMALIZE + ROUND) + 6 + CLIP

    acc: Signal
    bias: Signal
    scale: Signal
    b: Signal
    constants: data.View
    out: Signal

    def __init__(self) -> None:
        super().__init__({"acc": In(signed(32)), "bias": In(signed(32)), "scale": In(32),
                          "b": In(CODE), "constants": In(POST_CONSTANTS),
                          "out": Out(CODE)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.requantizer = requantizer = Requantizer()
        c, v1 = self.constants, requantizer.out
        m.d.comb += [requantizer.acc.eq(self.acc), requantizer.bias.eq(self.bias),
                     requantizer.scale.eq(self.scale), requantizer.z.eq(c.z1),
                     requantizer.lo.eq(c.lo1), requantizer.hi.eq(c.hi1)]
        operand_a = delay(m, self.acc[:10].as_signed(), Requantizer.LATENCY, "direct")
        operand_b = delay(m, self.b, Requantizer.LATENCY, "operand")
        a, adder = Signal(signed(10)), Module()
        place = clocked(m, platform, "adding", wants=c.add, lasts=1)
        m.submodules.adder = place(adder)
        m.d.comb += [a.eq(Mux(c.direct, operand_a, v1 - c.z1)),
                     self.out.eq(Mux(c.add, self._add(adder, a, operand_b), v1))]
        return m

    def _scaled(self, m: Module, name: str, integer: Value, scale: Value) -> data.View:
        """``f32(integer * scale)`` for a ten-bit integer."""
        factor, exp = unpack_scale(scale)
        sign = integer < 0
        magnitude, sign = cut(m, f"{name}_magnitude", Mux(sign, -integer, integer)[:9], sign)
        value, shift, (sign,) = normalize(m, name, magnitude, sign)
        value, (shift, sign) = product(m, name, value, factor, shift, sign)
        value, lower = leading_product(value)
        mant, exp, (sign,) = round_even(m, name, value, len(value) - MANT_BITS,
                                        exp - shift - lower, sign)
        number = view_of(FLOAT, name=f"{name}_scaled")
        m.d.comb += [number.sign.eq(sign), number.exp.eq(exp), number.mant.eq(mant)]
        return number

    def _add(self, m: Module, a: Value, b: Value) -> Signal:
        """``clip(rint(f32(f32(a * scale_a) + f32(b * scale_b))) + z2)``."""
        c = self.constants
        x, y = self._scaled(m, "a", a, c.scale_a), self._scaled(m, "b", b, c.scale_b)

        # The larger magnitude first. A zero has the smallest exponent, whatever its field says.
        swap = (x.mant == 0) | ((y.mant != 0) & (
            (y.exp > x.exp) | ((y.exp == x.exp) & (y.mant > x.mant))))
        swap, *both = cut(m, "ordered", swap, x.as_value(), y.as_value())
        x, y = (data.View(FLOAT, v) for v in both)
        big, small = (data.View(FLOAT, v) for v in cut(
            m, "swapped", Mux(swap, y.as_value(), x.as_value()),
            Mux(swap, x.as_value(), y.as_value())))
        distance = Signal(signed(11))
        m.d.comb += distance.eq(big.exp - small.exp)
        # beyond MANT_BITS + 2 only the sticky bit is left
        far = (distance < 0) | (distance > MANT_BITS + 2)
        right, large, little, exp, sign, minus = cut(
            m, "distance", Mux(far, MANT_BITS + 2, distance)[:5], big.mant, small.mant, big.exp,
            big.sign, big.sign ^ small.sign)

        wide = (Cat(Const(0, MANT_BITS + GUARD_BITS), little) >> right)[:2 * MANT_BITS + GUARD_BITS]
        wide, large, exp, sign, minus = cut(m, "aligned", wide, large, exp, sign, minus)
        little, large, exp, sign, minus = cut(
            m, "sticky", Cat(wide[:MANT_BITS + 1].any(), wide[MANT_BITS + 1:]),
            Cat(Const(0, GUARD_BITS), large), exp, sign, minus)
        total, exp, sign = cut(
            m, "total", Mux(minus, large - little, large + little)[:MANT_BITS + GUARD_BITS + 1],
            exp, sign)
        value, shift, (exp, sign) = normalize(m, "total", total, exp, sign)
        mant, exp, (sign,) = round_even(m, "total", value, GUARD_BITS + 1,
                                        exp - GUARD_BITS - shift, sign)
        number = view_of(FLOAT, name="added")
        m.d.comb += [number.sign.eq(sign), number.exp.eq(exp), number.mant.eq(mant)]
        return clip_register(m, "sum", number, c.z2, c.lo2, c.hi2)


def arrivals(m: Module, enters: Value, add: Value) -> Value:
    """Whether results leave the lanes, given whether operands enter them; ``add`` stands still as
    long as any are under way."""
    plain, added = Signal(PostLane.PLAIN), Signal(PostLane.LATENCY - PostLane.PLAIN)
    m.d.sync += [plain.eq(Cat(enters, plain)), added.eq(Cat(plain[-1] & add, added))]
    return Mux(add, added[-1], plain[-1])
