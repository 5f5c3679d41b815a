# SPDX-License-Identifier: Apache-2.0
"""The requantizing half of an output lane, which the window engine uses alone.

::

    acc ─ + bias ─ normalize ─ round ─ × scale ─ round ─ integer + z, clip ─► out

Each arrow is a pipeline register; there is no stall, and every sum taken in cycle ``t`` gives its
result in ``t + LATENCY``. The arithmetic is that of :func:`golden.arith.requantize`, each step
rounded to nearest even in binary32. ``scale`` and ``bias`` travel with the element; ``z``, ``lo``
and ``hi`` are looked at in the last stage, ``LATENCY - 1`` cycles after the element has entered.
"""

from amaranth.hdl import Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.binary32 import FLOAT, MANT_BITS, normalize, round_even, to_integer, unpack_scale
from hw.delay import register
from hw.ports import view_of


def float_register(m: Module, name: str, sign: Value, exp: Value, mant: Value) -> data.View:
    """The binary32 number of these parts, a cycle later."""
    number = view_of(FLOAT, name=name, reset_less=True)
    m.d.sync += [number.sign.eq(sign), number.exp.eq(exp), number.mant.eq(mant)]
    return number


def clip_register(m: Module, name: str, number: data.View, zero: Value, low: Value,
                  high: Value) -> Signal:
    """``number`` rounded, offset and clipped, a cycle later."""
    offset = Signal(signed(13), name=f"{name}_offset")
    m.d.comb += offset.eq(to_integer(m, name, number) + zero)
    raised = Mux(offset < low, low, offset)
    return register(m, f"{name}_clipped", Mux(raised > high, high, raised), signed(9))


class Requantizer(wiring.Component):
    """Members
    -------
    acc, bias : In(signed(32))
    scale : In(32)
        binary32 pattern.
    z, lo, hi : In(signed(9))
        Zero point and clip of the element in the last stage.
    out : Out(signed(9))
        The result, LATENCY cycles later.
    """

    LATENCY = 6

    acc: Signal
    bias: Signal
    scale: Signal
    z: Signal
    lo: Signal
    hi: Signal
    out: Signal

    def __init__(self) -> None:
        super().__init__({"acc": In(signed(32)), "bias": In(signed(32)), "scale": In(32),
                          "z": In(signed(9)), "lo": In(signed(9)), "hi": In(signed(9)),
                          "out": Out(signed(9))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        biased = register(m, "biased", (self.acc + self.bias)[:32].as_signed())
        scale = register(m, "scale1", self.scale)

        magnitude = Signal(32)
        m.d.comb += magnitude.eq(Mux(biased < 0, -biased, biased))
        value, shift = normalize(m, "int", magnitude)
        value2 = register(m, "value2", value)
        shift2 = register(m, "shift2", shift)
        sign2 = register(m, "sign2", biased < 0)
        scale2 = register(m, "scale2", scale)

        mant, carry = round_even(m, "int", value2, 8)
        number = float_register(m, "number", sign2, 8 - shift2 + carry, mant)
        scale3 = register(m, "scale3", scale2)

        factor, exp = unpack_scale(scale3)
        product = register(m, "product", number.mant * factor)
        exp4 = register(m, "exp4", number.exp + exp, signed(10))
        sign4 = register(m, "sign4", number.sign)

        high = product[2 * MANT_BITS - 1]
        aligned = Signal(2 * MANT_BITS)
        m.d.comb += aligned.eq(Mux(high, product, product << 1))
        mant, carry = round_even(m, "product", aligned, MANT_BITS)
        scaled = float_register(m, "scaled", sign4, exp4 + MANT_BITS - 1 + high + carry, mant)
        m.d.comb += self.out.eq(clip_register(m, "requantized", scaled, self.z, self.lo, self.hi))
        return m
