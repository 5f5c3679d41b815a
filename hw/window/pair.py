# SPDX-License-Identifier: Apache-2.0
"""A pair of lanes of the window engine in a machine with floating point.

::

    packed a, w ─► operands ─► products ─┬─────────────────────────► integers ─┐
                                         └─► align to fixed point ─► floats ───┴─► running sums

The two lanes are two INT8 channels, or one FP16 or BF16 channel, whose significands go through the
first lane's multipliers. A number's running sum has two segments; the carry from one to the other
is kept between them and added with the next product. A maximum is kept as an integer in the order
of floats.
"""

from amaranth.hdl import (Cat, Const, Elaboratable, EnableInserter, Module, Mux, Signal, Value,
                          signed)
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.align import FLAGS, align
from hw.arith.operand import OPERAND_BITS, PAIR, assign, field
from hw.arith.order import ordered
from hw.engine.ports import view_of
from hw.parts.delay import register
from hw.window.fir import TAP_SUM_BITS, control_layout, running_sums, stages
from isa.config import Config
from isa.instructions import DType
from isa.numerics import MAX_START

LOW_BITS, HIGH_BITS = 44, 43
"""Width of a sum of up to 49 products below 2^80."""

KEY_BITS = 17

NUMBER = data.StructLayout({"low": LOW_BITS, "high": HIGH_BITS, "to_high": 1, "flags": FLAGS})
"""A sum of floats: fixed point, with a carry out of ``low`` that is not yet in ``high``."""

PAIR_SUM = data.UnionLayout({
    "number": NUMBER, "key": signed(KEY_BITS),
    "integers": data.ArrayLayout(signed(TAP_SUM_BITS), 2)})

PACKED_BITS = 2 * OPERAND_BITS
"""Two integers, or a number's pattern in the low bits."""

MANTISSAS = {DType.FP16: 10, DType.BF16: 7}


def pack(integers: list[Value], raw: Value, dtype: Value) -> Value:
    """A pair of operands as it is stored."""
    return Mux(dtype == DType.INT8, Cat(*(v[:OPERAND_BITS] for v in integers)), raw)


class WindowPair(wiring.Component):
    """Latency: a stage less than :func:`hw.window.fir.stages` from ``a`` to ``sum``. Throughput: a
    step a cycle. Stall: while ``go`` is low all stages keep what they have.

    Parameters
    ----------
    config : Config
        With floating point.

    Members
    -------
    go : In(1)
        The stages move.
    a, weights, inside : In
        Second stage: the packed activations, the weights that they meet, whether there are any.
    controls : In(control_layout).array(stages)
        Of the step in each stage.
    valid : In(1)
        Last stage.
    sum : Out(PAIR_SUM)
        Last stage: the complete output, if the step completes one.
    """

    go: Signal
    a: Signal
    weights: data.View
    inside: Signal
    controls: list[data.View]
    valid: Signal
    sum: data.View

    def __init__(self, config: Config):
        self._config = config
        taps = config.window_taps
        super().__init__({
            "go": In(1), "a": In(PACKED_BITS), "weights": In(data.ArrayLayout(PACKED_BITS, taps)),
            "inside": In(1),
            "controls": In(control_layout(config)).array(stages(config)),
            "valid": In(1), "sum": Out(PAIR_SUM)})

    def elaborate(self, platform: object) -> Elaboratable:
        outer, m = Module(), Module()
        outer.submodules.stages = EnableInserter(self.go)(m)
        decoding, multiplying, aligning, c = (self.controls[k] for k in range(1, 5))
        a = self._operand(m, "a", self.a, decoding, field(decoding, "base"))
        order = Signal(signed(KEY_BITS), name="order")
        with m.Switch(decoding.dtype):
            for t, mantissa in MANTISSAS.items():
                with m.Case(t):
                    m.d.comb += order.eq(ordered(self.a[:16], mantissa))
        for stage in range(2, 5):
            order = register(m, f"order{stage}", order)
        inside = register(m, "inside2", self.inside)

        aligned, integers, counts = [], [], []
        for j in range(self._config.window_taps):
            w = self._operand(m, f"w{j}", self.weights[j], decoding, 0)
            floating = multiplying.dtype != DType.INT8
            first = register(m, f"first{j}", a.first * w.first)
            second = register(m, f"second{j}", a.second * w.second)
            aligned.append(align(m, str(j), a, w, first, self._config))
            weighted = Mux(floating, (~w.absent).replicate(2), Mux(
                multiplying.max, Cat(w.first.any(), w.second.any()), 3))
            wanted = register(m, f"wanted{j}", inside.replicate(2) & weighted)
            counts.append(register(m, f"counts{j}", wanted))
            operands = (register(m, f"a_{n}{j}", a[n]) for n in ("first", "second"))
            integers.append([
                register(m, f"term{j}_{h}", Mux(aligning.max, v, p)[:2 * OPERAND_BITS].as_signed())
                for h, (v, p) in enumerate(zip(operands, (first, second), strict=True))])

        def result(j: int, bits: Value) -> Value:
            old, new = data.View(PAIR_SUM, bits), view_of(PAIR_SUM, name=f"new{j}")
            value, flags = aligned[j]
            m.d.comb += new.eq(old)
            low = Signal(LOW_BITS + 1, name=f"low{j}")
            m.d.comb += low.eq(old.number.low + value[:LOW_BITS])
            with m.If(c.dtype == DType.INT8):
                for h, term in enumerate(integers[j]):
                    total = old.integers[h]
                    with m.If(counts[j][h]):
                        m.d.comb += new.integers[h].eq(
                            Mux(c.max, Mux(term > total, term, total), total + term))
            with m.Elif(counts[j][0] & c.max):
                m.d.comb += new.key.eq(Mux(order > old.key, order, old.key))
            with m.Elif(counts[j][0]):
                m.d.comb += [
                    new.number.low.eq(low), new.number.to_high.eq(low[-1]),
                    new.number.high.eq(old.number.high + value[LOW_BITS:].as_signed()
                                       + old.number.to_high),
                    new.number.flags.eq(old.number.flags.as_value() | flags.as_value())]
            return new.as_value()

        lowest: Value = Cat(Const(MAX_START, TAP_SUM_BITS), Const(MAX_START, TAP_SUM_BITS))
        for t, mantissa in MANTISSAS.items():
            infinity = ((1 << 15 - mantissa) - 1) << mantissa
            lowest = Mux(c.dtype == t, Const(~infinity, KEY_BITS).as_unsigned(), lowest)
        start = Signal(PAIR_SUM.size, name="start")
        m.d.comb += start.eq(Mux(c.max, lowest, 0))
        m.d.comb += self.sum.eq(running_sums(m, "sum", start.shape(), start, result, c,
                                             self._config.window_taps, self.valid))
        return outer

    def _operand(self, m: Module, name: str, packed: Value, c: data.View, base: Value | int
                 ) -> data.View:
        """An operand taken apart, in the third stage."""
        now = view_of(data.ArrayLayout(PAIR, 1), name=f"{name}_now")
        integers: list[Value] = [packed[k * OPERAND_BITS:(k + 1) * OPERAND_BITS].as_signed()
                                 for k in range(2)]
        assign(m, name, now, packed[:16], integers, c.dtype, base)
        kept = view_of(PAIR, name=name, reset_less=True)
        m.d.sync += kept.eq(now[0])
        return kept
