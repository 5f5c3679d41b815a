# SPDX-License-Identifier: Apache-2.0
"""One lane of the vector engine for everything that is not INT8 alone.

::

    sum ─ round ──┬─ × scale_a ─┬──────────────────────────────────────────────┐
    key ─ number ─┘             ├──────────── × b (MUL) ───────────────────────┤
                                ├─ function ─ × scale_b ───────────────────────┼─ clip ─ to the type
                                └─────────────────── + (ADD) ──┬───────────────┤    of the output
    b ─────────────────────────── × scale_b ─────────┘         └─ function ────┘
                                                                    (plus)

The three products behind ``scale_a`` are those of one multiplier: an operation has one of them.
There is one function, too, of one operand or of the sum.
The arithmetic is that of :mod:`golden.vector`. There is no stall: what enters in cycle ``t`` is out
in ``t + LATENCY``, and FUNCTION cycles later if there is a function. The constants of the
instruction stand still.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arith import ieee
from hw.arith.float_lane import KIND
from hw.arith.ieee import STAGES
from hw.arith.operand import OPERAND_BITS, integer
from hw.arith.output import LATENCY as OUTPUT_LATENCY, OUTPUT, output
from hw.arith.sums import UNIT_BITS
from hw.parts.delay import cut, delay, later, register
from hw.vector.function import LATENCY as FUNCTION_LATENCY, function
from hw.vector.taps import KEY_BITS, number_of, state_layout
from isa.config import Config
from isa.instructions import VectorOp

VECTOR_CONSTANTS = data.StructLayout({
    "vop": 4, "plus": 1, "a_type": 2, "b_type": 2, "b_signed": 1, "b_zp": signed(OPERAND_BITS),
    "unit": signed(UNIT_BITS), "scale_a": 32, "scale_b": 32,
    **{name: field.shape for name, field in OUTPUT}})
"""What stands still during an instruction. ``unit``: exponent of a sum's lowest bit."""


def is_function(vop: Value) -> Value:
    """:attr:`isa.instructions.VectorOp.function`."""
    return vop >= VectorOp.EXP


class VectorLane(wiring.Component):
    """Latency: LATENCY cycles, FUNCTION more for a function. Throughput: an element a cycle. There
    is no stall.

    Parameters
    ----------
    config : Config

    Members
    -------
    window : In(state_layout(config))
    b : In(32)
        First bytes of the second operand.
    constants : In(VECTOR_CONSTANTS)
    out : Out(32)
        The result in the low bytes.
    kind : Out(KIND)
    """

    LATENCY = (STAGES["round_fixed"] + 2 * STAGES["multiply"] + 1 + STAGES["add"] + 1
               + OUTPUT_LATENCY)
    FUNCTION = 1 + FUNCTION_LATENCY

    window: data.View
    b: Signal
    constants: data.View
    out: Signal
    kind: data.View

    def __init__(self, config: Config):
        self._config = config
        super().__init__({"window": In(state_layout(config)), "b": In(32),
                          "constants": In(VECTOR_CONSTANTS), "out": Out(32), "kind": Out(KIND)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        c = self.constants
        total = ieee.round_fixed(m, "total", self.window.value, c.unit, self.window.flags)
        a, b = self._operands(m, STAGES["round_fixed"])
        is_sum = register(m, "is_sum", c.vop == VectorOp.SUM)
        first = ieee.named("first")
        m.d.comb += first.eq(Mux(is_sum, total.as_value(), a.as_value()))
        scale_a, scale_b = (later(m, ieee.from_pattern(m, n, c[n]), 1, f"{n}_number")
                            for n in ("scale_a", "scale_b"))
        scaled = ieee.multiply(m, "scaled", first, scale_a)
        b = later(m, b, STAGES["multiply"], "b_last")

        applied = register(m, "is_function", is_function(c.vop))
        plus = register(m, "plus", c.plus)
        adds = register(m, "adds", (c.vop == VectorOp.ADD) | c.plus)
        argument, added = ieee.named("argument"), ieee.named("added")
        m.d.comb += argument.eq(Mux(plus, added.as_value(), scaled.as_value()))
        value = function(m, "function", later(m, argument, 1, "argument_later"), c.vop)
        factors = ieee.named("factor_a"), ieee.named("factor_b")
        m.d.comb += [
            factors[0].eq(Mux(adds, b.as_value(), Mux(applied, value.as_value(),
                                                      scaled.as_value()))),
            factors[1].eq(Mux(adds | applied, scale_b.as_value(), b.as_value()))]
        product = ieee.multiply(m, "product", *(
            later(m, f, 1, f"factor{k}") for k, f in enumerate(factors)))
        scaled = later(m, scaled, 1 + STAGES["multiply"], "scaled_later")
        m.d.comb += added.eq(ieee.add(m, "added", scaled, product))
        single = register(m, "is_single", (c.vop == VectorOp.MAX) | (c.vop == VectorOp.SUM))
        alone, result = ieee.named("alone"), ieee.named("result")
        m.d.comb += alone.eq(Mux(single, scaled.as_value(), product.as_value()))
        alone = later(m, alone, STAGES["add"], "alone_later")
        m.d.comb += result.eq(Mux(plus, value.as_value(), Mux(adds, added.as_value(),
                                                              alone.as_value())))
        result = later(m, result, 1, "result_later")
        out, kind = output(m, result, c)
        overflow = delay(m, self.window.flags.overflow & is_sum, self.LATENCY, "overflow")
        m.d.comb += [self.out.eq(out), Cat(self.kind.nan, self.kind.infinite).eq(kind),
                     self.kind.overflow.eq(overflow)]
        return m

    def _operands(self, m: Module, wait: int) -> list[data.View]:
        """The values of the window's key and of the second operand, ``wait`` cycles later."""
        c, window = self.constants, self.window
        found, none, second = (delay(m, value, wait - 3, name) for value, name in (
            (window.value[:KEY_BITS], "key"), (window.none, "none"), (self.b, "second")))
        whole = integer(second[:8], c.b_signed, c.b_zp)[:OPERAND_BITS].as_signed()
        raw = number_of(m, "raw", self._config, found, c.a_type)
        none = delay(m, none, 2, "nothing")
        first, found, second, whole = cut(m, "operands", raw, found[:OPERAND_BITS].as_signed(),
                                          second, whole)
        a = later(m, ieee.unpack(m, "a", first, c.a_type, found), 1, "a_number")
        b = later(m, ieee.unpack(m, "b", second, c.b_type, whole), 2, "b_number")
        # no tap: the maximum of nothing, or an operand outside the image
        is_max = register(m, "is_max", c.vop == VectorOp.MAX)
        used = ieee.named("a_used")
        m.d.comb += used.eq(a)
        with m.If(none):
            ieee.assign(m, used, sign=is_max, inf=is_max, exp=ieee.LOWEST)
        return [later(m, used, 1, "a_later"), b]
