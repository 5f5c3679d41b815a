# SPDX-License-Identifier: Apache-2.0
"""The requantizing half of an output lane, which the window engine uses alone.

::

    acc ─ + bias ─ normalize ─ round ─ × scale ─ round ─ integer + z, clip ─► out

There is no stall, and every sum taken in cycle ``t`` gives its result in ``t + LATENCY``. The
arithmetic is that of :func:`golden.arith.requantize`, each step rounded to nearest even in
binary32. ``scale`` and ``bias`` travel with the element; ``z`` is looked at ``OFFSET`` cycles after
the element has entered, ``lo`` one later, ``hi`` two.
"""

from amaranth.hdl import Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.normal import (FLOAT, INTEGER, MANT_BITS, NORMALIZE, PRODUCT, ROUND, leading_product,
                             normalize, product, round_even, to_integer, unpack_scale)
from hw.engine.ports import view_of
from hw.parts.delay import cut, register
from isa.numerics import ZERO_POINT_BITS

CODE = signed(ZERO_POINT_BITS)
"""Shape of a quantized value of either signedness, a zero point or a clip bound."""

CLIP = INTEGER + 3
"""Cycles of :func:`clip_register`."""


def clip_register(m: Module, name: str, number: data.View, zero: Value, low: Value,
                  high: Value) -> Signal:
    """``number`` rounded, offset and clipped, CLIP cycles later; the offset is looked at three
    cycles before the end, the lower bound two, the upper one."""
    offset = register(m, f"{name}_offset", to_integer(m, name, number) + zero)
    raised = register(m, f"{name}_raised", Mux(offset < low, low, offset))
    return register(m, f"{name}_clipped", Mux(raised > high, high, raised), CODE)


class Requantizer(wiring.Component):
    """Latency: LATENCY cycles. Throughput: an element a cycle. There is no stall.

    Members
    -------
    acc, bias : In(signed(32))
    scale : In(32)
        binary32 pattern.
    z, lo, hi : In(CODE)
        Zero point and clip, each of the element that has come to them.
    out : Out(CODE)
        The result, LATENCY cycles later.
    """

    LATENCY = 2 + NORMALIZE + 2 * ROUND + PRODUCT + CLIP
    OFFSET = LATENCY - 3
    """Cycles from an element's entry until its zero point is looked at; its lower bound is one
    later, its upper one two."""

    acc: Signal
    bias: Signal
    scale: Signal
    z: Signal
    lo: Signal
    hi: Signal
    out: Signal

    def __init__(self) -> None:
        super().__init__({"acc": In(signed(32)), "bias": In(signed(32)), "scale": In(32),
                          "z": In(CODE), "lo": In(CODE), "hi": In(CODE),
                          "out": Out(CODE)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        biased, scale = cut(m, "biased", (self.acc + self.bias)[:32].as_signed(), self.scale)
        sign = biased < 0
        magnitude, sign, scale = cut(m, "magnitude", Mux(sign, -biased, biased)[:32], sign, scale)
        value, shift, (sign, scale) = normalize(m, "int", magnitude, sign, scale)
        mant, exp, (sign, scale) = round_even(m, "int", value, 8, -shift, sign, scale)
        factor, exp2 = unpack_scale(scale)
        value, (exp, sign) = product(m, "scaled", mant, factor, exp + exp2, sign)
        value, lower = leading_product(value)
        mant, exp, (sign,) = round_even(m, "scaled", value, MANT_BITS, exp - lower, sign)
        number = view_of(FLOAT, name="scaled")
        m.d.comb += [number.sign.eq(sign), number.exp.eq(exp), number.mant.eq(mant)]
        m.d.comb += self.out.eq(clip_register(m, "requantized", number, self.z, self.lo, self.hi))
        return m
