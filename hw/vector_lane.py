# SPDX-License-Identifier: Apache-2.0
"""One lane of the vector engine for everything that is not INT8 alone.

::

    sum ─ round ─────┐
    a, or maximum ───┴─ × scale_a ─┬─ + ─── clip ─ to the type of the output
    b ─── × scale_b ───────────────┘
    b ─────────────────────────────── × (MUL)
    a × scale_a ── function ── × scale_b

The arithmetic is that of :mod:`golden.vector`. There is no stall: what enters in cycle ``t`` is out
in ``t + LATENCY``, and FUNCTION cycles later if there is a function. The constants of the
instruction stand still.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw import float32, float_function, float_output
from hw.align import FLAGS
from hw.delay import delay, later
from hw.float32 import STAGES
from hw.float_lane import KIND
from hw.float_output import OUTPUT, output
from isa.instructions import VectorOp

SUM_BITS = 66
"""Of a sum: 2^16 elements below 2^48, and the sign."""

ELEMENT = data.StructLayout({
    "a": 32, "a_integer": signed(10), "none": 1, "b": 32, "b_integer": signed(10),
    "sum": signed(SUM_BITS), "flags": FLAGS})
"""What a lane gets: the first operand or the maximum (or that there is ``none``) and the second,
their first bytes and their values if they are INT8; or the sum and what other than numbers is in
it."""

VECTOR_CONSTANTS = data.StructLayout({
    "vop": 3, "a_type": 2, "b_type": 2, "unit": signed(10), "scale_a": 32, "scale_b": 32,
    **{name: field.shape for name, field in OUTPUT}})
"""What stands still during an instruction. ``unit``: exponent of a sum's lowest bit."""


def is_function(vop: Value) -> Value:
    """:attr:`isa.instructions.VectorOp.function`."""
    return vop >= VectorOp.EXP


class VectorLane(wiring.Component):
    """Members
    -------
    element : In(ELEMENT)
    constants : In(VECTOR_CONSTANTS)
    out : Out(32)
        The result in the low bytes.
    kind : Out(KIND)
    """

    LATENCY = (STAGES["round_fixed"] + STAGES["multiply"] + STAGES["add"]
               + float_output.LATENCY)
    FUNCTION = float_function.LATENCY

    element: data.View
    constants: data.View
    out: Signal
    kind: data.View

    def __init__(self) -> None:
        super().__init__({"element": In(ELEMENT), "constants": In(VECTOR_CONSTANTS),
                          "out": Out(32), "kind": Out(KIND)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        e, c = self.element, self.constants
        at = STAGES["round_fixed"]
        total = float32.round_fixed(m, "total", e.sum, c.unit, e.flags)
        a = float32.unpack(m, "a", e.a, c.a_type, e.a_integer)
        b = float32.unpack(m, "b", e.b, c.b_type, e.b_integer)
        with m.If(e.none & (c.vop == VectorOp.MAX)):
            float32.assign(m, a, sign=1, inf=1)
        a, b = later(m, a, at, "a_later"), later(m, b, at, "b_later")
        first = float32.named("first")
        m.d.comb += first.eq(Mux(c.vop == VectorOp.SUM, total.as_value(), a.as_value()))
        scale_a, scale_b = (float32.from_pattern(m, n, c[n]) for n in ("scale_a", "scale_b"))
        scaled = float32.multiply(m, "scaled", first, scale_a)
        other = float32.multiply(m, "other", b, scale_b)
        b = later(m, b, STAGES["multiply"], "b_last")

        added = float32.add(m, "added", scaled, other)
        function = is_function(c.vop)
        value = float_function.function(m, "function", scaled, c.vop)
        factors = float32.named("factor_a"), float32.named("factor_b")
        m.d.comb += [factors[0].eq(Mux(function, value.as_value(), scaled.as_value())),
                     factors[1].eq(Mux(function, scale_b.as_value(), b.as_value()))]
        product = later(m, float32.multiply(m, "product", *factors),
                        STAGES["add"] - STAGES["multiply"], "product_later")
        alone = later(m, scaled, STAGES["add"], "alone")
        result = float32.named("result")
        with m.Switch(c.vop):
            with m.Case(VectorOp.ADD):
                m.d.comb += result.eq(added)
            with m.Case(VectorOp.MAX, VectorOp.SUM):
                m.d.comb += result.eq(alone)
            with m.Default():
                m.d.comb += result.eq(product)
        out, kind = output(m, result, c)
        overflow = delay(m, e.flags.overflow & (c.vop == VectorOp.SUM), self.LATENCY, "overflow")
        m.d.comb += [self.out.eq(out), Cat(self.kind.nan, self.kind.infinite).eq(kind),
                     self.kind.overflow.eq(overflow)]
        return m
