# SPDX-License-Identifier: Apache-2.0
"""One output lane of the post-processor and of the vector engine: requantize, then add.

::

    acc ─ + bias ─ normalize ─ round ─ × scale ─ round ─ integer + z1, clip ─┬───────────────► out
                                                                             │ (residual)
               (direct) acc ───────────────────────────────────── a × scale_a ─ round ┐
                                                          operand b × scale_b ─ round ┴ + ─ round
                                                                      integer + z2, clip ─► out

Each arrow is a pipeline register; there is no stall, and every operand taken in cycle ``t`` gives
its result in ``t + LATENCY``. The arithmetic is that of :mod:`golden.arith`, each step rounded to
nearest even in binary32. Constants of an instruction (zero points, clips, scales of the addition)
have to stand still while its elements are under way; ``scale`` and ``bias`` travel with the
element.
"""

from amaranth.hdl import (Cat, Const, Elaboratable, Module, Mux, Shape, Signal, Value, signed,
                          unsigned)
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.binary32 import FLOAT, MANT_BITS, normalize, round_even, to_integer, unpack_scale
from hw.ports import view_of

POST_CONSTANTS = data.StructLayout({
    "z1": signed(9), "lo1": signed(9), "hi1": signed(9), "scale_a": 32, "scale_b": 32,
    "z2": signed(9), "lo2": signed(9), "hi2": signed(9), "add": 1, "direct": 1})
"""What stands still during an instruction. ``add``: the second half of the lane is used;
``direct``: its first operand is ``acc`` itself, not the requantized value."""

GUARD_BITS = 3


class PostLane(wiring.Component):
    """Members
    -------
    acc, bias : In(signed(32))
        Sum and bias; with ``direct``, ``acc`` is an operand of ten bits.
    scale : In(32)
        binary32 pattern of the requantization.
    b : In(signed(9))
        Second operand of the addition.
    constants : In(POST_CONSTANTS)
    out : Out(signed(9))
        The result, LATENCY cycles later.
    """

    REQUANTIZE_LATENCY = 6
    LATENCY = 12

    acc: Signal
    bias: Signal
    scale: Signal
    b: Signal
    constants: data.View
    out: Signal

    def __init__(self) -> None:
        super().__init__({"acc": In(signed(32)), "bias": In(signed(32)), "scale": In(32),
                          "b": In(signed(9)), "constants": In(POST_CONSTANTS),
                          "out": Out(signed(9))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        v1 = self._requantize(m)
        operand_a = self._delay(m, "direct", self.acc[:10].as_signed(), self.REQUANTIZE_LATENCY)
        operand_b = self._delay(m, "operand", self.b, self.REQUANTIZE_LATENCY)
        c = self.constants
        a = Signal(signed(10))
        m.d.comb += a.eq(Mux(c.direct, operand_a, v1 - c.z1))
        total = self._add(m, a, operand_b)
        plain = self._delay(m, "plain", v1, self.LATENCY - self.REQUANTIZE_LATENCY)
        m.d.comb += self.out.eq(Mux(c.add, total, plain))
        return m

    @staticmethod
    def _register(m: Module, name: str, value: Value, shape: Shape | None = None) -> Signal:
        kept = Signal(value.shape() if shape is None else shape, name=name, reset_less=True)
        m.d.sync += kept.eq(value)
        return kept

    def _delay(self, m: Module, name: str, value: Value, cycles: int) -> Value:
        for i in range(cycles):
            value = self._register(m, f"{name}{i}", value)
        return value

    def _clip(self, m: Module, name: str, number: data.View, zero: Value, low: Value,
              high: Value) -> Signal:
        """Rounded, offset, clipped and registered."""
        offset = Signal(signed(13), name=f"{name}_offset")
        m.d.comb += offset.eq(to_integer(m, name, number) + zero)
        raised = Mux(offset < low, low, offset)
        return self._register(m, f"{name}_clipped", Mux(raised > high, high, raised), signed(9))

    def _float(self, m: Module, name: str, sign: Value, exp: Value, mant: Value) -> data.View:
        number = view_of(FLOAT, name=name, reset_less=True)
        m.d.sync += [number.sign.eq(sign), number.exp.eq(exp), number.mant.eq(mant)]
        return number

    def _requantize(self, m: Module) -> Signal:
        """``clip(rint(f32(f32(acc + bias) * scale)) + z1)`` in REQUANTIZE_LATENCY cycles."""
        biased = self._register(m, "biased", (self.acc + self.bias)[:32].as_signed())
        scale = self._register(m, "scale1", self.scale)

        magnitude = Signal(32)
        m.d.comb += magnitude.eq(Mux(biased < 0, -biased, biased))
        value, shift = normalize(m, "int", magnitude)
        value2 = self._register(m, "value2", value)
        shift2 = self._register(m, "shift2", shift)
        sign2 = self._register(m, "sign2", biased < 0)
        scale2 = self._register(m, "scale2", scale)

        mant, carry = round_even(m, "int", value2, 8)
        number = self._float(m, "number", sign2, 8 - shift2 + carry, mant)
        scale3 = self._register(m, "scale3", scale2)

        factor, exp = unpack_scale(scale3)
        product = self._register(m, "product", number.mant * factor)
        exp4 = self._register(m, "exp4", number.exp + exp, signed(10))
        sign4 = self._register(m, "sign4", number.sign)

        high = product[2 * MANT_BITS - 1]
        aligned = Signal(2 * MANT_BITS)
        m.d.comb += aligned.eq(Mux(high, product, product << 1))
        mant, carry = round_even(m, "product", aligned, MANT_BITS)
        scaled = self._float(m, "scaled", sign4, exp4 + MANT_BITS - 1 + high + carry, mant)
        c = self.constants
        return self._clip(m, "requantized", scaled, c.z1, c.lo1, c.hi1)

    def _scaled(self, m: Module, name: str, integer: Value, scale: Value) -> data.View:
        """``f32(integer * scale)`` for a ten-bit integer, in two cycles."""
        factor, exp = unpack_scale(scale)
        magnitude = Signal(9, name=f"{name}_magnitude")
        m.d.comb += magnitude.eq(Mux(integer < 0, -integer, integer))
        product = self._register(m, f"{name}_product", magnitude * factor)
        sign = self._register(m, f"{name}_sign", integer < 0)
        value, shift = normalize(m, name, product)
        mant, carry = round_even(m, name, value, len(product) - MANT_BITS)
        return self._float(m, f"{name}_scaled", sign,
                           exp + (len(product) - MANT_BITS) - shift + carry, mant)

    def _add(self, m: Module, a: Value, b: Value) -> Signal:
        """``clip(rint(f32(f32(a * scale_a) + f32(b * scale_b))) + z2)`` in six cycles."""
        c = self.constants
        x, y = self._scaled(m, "a", a, c.scale_a), self._scaled(m, "b", b, c.scale_b)

        # The larger magnitude first. A zero has the smallest exponent, whatever its field says.
        swap = Signal()
        m.d.comb += swap.eq((x.mant == 0) | ((y.mant != 0) & (
            (y.exp > x.exp) | ((y.exp == x.exp) & (y.mant > x.mant)))))
        big, small = view_of(FLOAT), view_of(FLOAT)
        m.d.comb += [big.eq(Mux(swap, y.as_value(), x.as_value())),
                     small.eq(Mux(swap, x.as_value(), y.as_value()))]
        distance = Signal(signed(11))
        m.d.comb += distance.eq(big.exp - small.exp)
        wide = Signal(2 * MANT_BITS + GUARD_BITS)
        # beyond MANT_BITS + 2 only the sticky bit is left
        far = (distance < 0) | (distance > MANT_BITS + 2)
        m.d.comb += wide.eq(Cat(Const(0, MANT_BITS + GUARD_BITS), small.mant)
                            >> Mux(far, MANT_BITS + 2, distance)[:5])
        sticky = wide[:MANT_BITS].any()
        large = self._register(m, "large", Cat(Const(0, GUARD_BITS), big.mant))
        little = self._register(m, "little", Cat(wide[MANT_BITS] | sticky, wide[MANT_BITS + 1:]))
        exp = self._register(m, "add_exp", big.exp)
        sign = self._register(m, "add_sign", big.sign)
        minus = self._register(m, "minus", big.sign ^ small.sign)

        total = self._register(m, "total", Mux(minus, large - little, large + little),
                               unsigned(MANT_BITS + GUARD_BITS + 1))
        exp, sign = self._register(m, "add_exp2", exp), self._register(m, "add_sign2", sign)

        value, shift = normalize(m, "total", total)
        mant, carry = round_even(m, "total", value, GUARD_BITS + 1)
        number = self._float(m, "added", sign, exp + 1 - shift + carry, mant)
        return self._clip(m, "sum", number, c.z2, c.lo2, c.hi2)

