# SPDX-License-Identifier: Apache-2.0
"""One output lane of the post-processor and of the vector engine: requantize, then add.

::

    acc, bias, scale ─► requantizer (z1, lo1, hi1) ──────────────────────────┬───────────────► out
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

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.binary32 import FLOAT, MANT_BITS, normalize, round_even, unpack_scale
from hw.delay import delay, register
from hw.ports import view_of
from hw.requantize import Requantizer, clip_register, float_register

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

    LATENCY = Requantizer.LATENCY + 6

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
        m.submodules.requantizer = requantizer = Requantizer()
        c, v1 = self.constants, requantizer.out
        m.d.comb += [requantizer.acc.eq(self.acc), requantizer.bias.eq(self.bias),
                     requantizer.scale.eq(self.scale), requantizer.z.eq(c.z1),
                     requantizer.lo.eq(c.lo1), requantizer.hi.eq(c.hi1)]
        operand_a = delay(m, self.acc[:10].as_signed(), Requantizer.LATENCY, "direct")
        operand_b = delay(m, self.b, Requantizer.LATENCY, "operand")
        a = Signal(signed(10))
        m.d.comb += a.eq(Mux(c.direct, operand_a, v1 - c.z1))
        total = self._add(m, a, operand_b)
        plain = delay(m, v1, self.LATENCY - Requantizer.LATENCY, "plain")
        m.d.comb += self.out.eq(Mux(c.add, total, plain))
        return m

    def _scaled(self, m: Module, name: str, integer: Value, scale: Value) -> data.View:
        """``f32(integer * scale)`` for a ten-bit integer, in two cycles."""
        factor, exp = unpack_scale(scale)
        magnitude = Signal(9, name=f"{name}_magnitude")
        m.d.comb += magnitude.eq(Mux(integer < 0, -integer, integer))
        product = register(m, f"{name}_product", magnitude * factor)
        sign = register(m, f"{name}_sign", integer < 0)
        value, shift = normalize(m, name, product)
        mant, carry = round_even(m, name, value, len(product) - MANT_BITS)
        return float_register(m, f"{name}_scaled", sign,
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
        large = register(m, "large", Cat(Const(0, GUARD_BITS), big.mant))
        little = register(m, "little", Cat(wide[MANT_BITS] | sticky, wide[MANT_BITS + 1:]))
        exp = register(m, "add_exp", big.exp)
        sign = register(m, "add_sign", big.sign)
        minus = register(m, "minus", big.sign ^ small.sign)

        total = register(m, "total", Mux(minus, large - little, large + little),
                               unsigned(MANT_BITS + GUARD_BITS + 1))
        exp, sign = register(m, "add_exp2", exp), register(m, "add_sign2", sign)

        value, shift = normalize(m, "total", total)
        mant, carry = round_even(m, "total", value, GUARD_BITS + 1)
        number = float_register(m, "added", sign, exp + 1 - shift + carry, mant)
        return clip_register(m, "sum", number, c.z2, c.lo2, c.hi2)

