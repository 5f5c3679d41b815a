# SPDX-License-Identifier: Apache-2.0
"""One group of the window engine: L lanes of multiply-accumulators in transposed-FIR form.

::

    weight store ─► step's weights ─┐
    word ─► operands ───────────────┴─► products ─► running sums of the live outputs ─► sums

An activation is an operand of every output whose kernel row covers it, so a lane adds its products
with ``window_taps`` weights to as many running sums in a cycle, and needs neither a window of
activations nor a line buffer. Running sum k belongs to the output k macro columns back; at the end
of a macro column all move up by one. The output that is complete is among those that the last step
changes, hence the sums need no selection among all of them.

A step goes through STAGES registers, which all stand still together while ``go`` is low.
"""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from hw.ports import view_of
from hw.operand import OPERAND_BITS
from hw.vector import MAX_START
from isa.config import Config
from isa.instructions import WINDOW_KERNEL, WINDOW_STEPS

PRODUCT_BITS = 2 * OPERAND_BITS
SUM_BITS = PRODUCT_BITS - 1 + (WINDOW_KERNEL ** 2 - 1).bit_length()
"""A product of two operands has a magnitude of at most 2**(PRODUCT_BITS - 2)."""

CONTROL = data.StructLayout({
    "g": range(WINDOW_KERNEL), "fresh": 1, "shift": 1, "max": 1, "slot": 2})
"""What the groups do in the last stage; see :mod:`hw.window_read`."""


class WindowGroup(wiring.Component):
    """Parameters
    ----------
    config : Config

    Members
    -------
    load : In(1)
        Write ``weights`` to place ``slot`` of step ``load_step``; bank and step are its bits.
    load_step, slot, weights : In
    go : In(1)
        The stages move.
    word, inside, a_signed, a_zp, step : In
        First stage: activations, if there are any, and the step whose weights they meet.
    max : In(1)
        Second stage.
    valid, control : In(1), In(CONTROL)
        Last stage.
    sums : Out(array of signed)
        Last stage: the complete output, if the step completes one.
    """

    STAGES = 3

    load: Signal
    load_step: Signal
    slot: Signal
    weights: data.View
    go: Signal
    word: Signal
    inside: Signal
    a_signed: Signal
    a_zp: Signal
    step: Signal
    max: Signal
    valid: Signal
    control: data.View
    sums: data.View

    def __init__(self, config: Config):
        self._config = config
        vector = data.ArrayLayout(signed(OPERAND_BITS), config.lanes)
        step = range(2 * WINDOW_STEPS)
        super().__init__({
            "load": In(1), "load_step": In(step), "slot": In(range(max(2, config.window_taps))),
            "weights": In(vector), "go": In(1), "word": In(8 * config.word_bytes),
            "inside": In(1), "a_signed": In(1), "a_zp": In(signed(9)), "step": In(step),
            "max": In(1), "valid": In(1), "control": In(CONTROL),
            "sums": Out(data.ArrayLayout(signed(SUM_BITS), config.lanes))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        lanes, taps = self._config.lanes, self._config.window_taps
        vector = data.ArrayLayout(signed(OPERAND_BITS), lanes)
        weights = []
        for j in range(taps):
            store: memory.Memory = memory.Memory(
                shape=vector.size, depth=2 * WINDOW_STEPS, init=[],
                attrs={"no_rw_check": 1})  # type: ignore[dict-item]  # stubs: only str
            m.submodules[f"store{j}"] = store
            write, read = store.write_port(), store.read_port()
            m.d.comb += [write.en.eq(self.load & (self.slot == j)), write.addr.eq(self.load_step),
                         write.data.eq(self.weights), read.en.eq(self.go),
                         read.addr.eq(self.step)]
            weights.append(data.View(vector, read.data))
        operands, inside = view_of(vector, reset_less=True), Signal(reset_less=True)
        with m.If(self.go):
            m.d.sync += inside.eq(self.inside)
            for k in range(lanes):
                byte = self.word[8 * k:8 * k + 8]
                m.d.sync += operands[k].eq(
                    Cat(byte, byte[7] & self.a_signed).as_signed() - self.a_zp)
        for k in range(lanes):
            self._lane(m, k, operands[k], [w[k] for w in weights], inside)
        return m

    def _lane(self, m: Module, k: int, operand: Value, weights: list[Value],
              inside: Value) -> None:
        taps, c = self._config.window_taps, self.control
        start = Mux(c.max, MAX_START, 0)
        sums = [Signal(signed(SUM_BITS), name=f"sum{k}_{n}", reset_less=True)
                for n in range(WINDOW_KERNEL)]
        now = [Mux(c.fresh, start, s) for s in sums]
        results = []
        for j, weight in enumerate(weights):
            product = Signal(signed(PRODUCT_BITS), name=f"product{k}_{j}")
            term = Signal(signed(PRODUCT_BITS), name=f"term{k}_{j}", reset_less=True)
            counts = Signal(name=f"counts{k}_{j}", reset_less=True)
            old, result = (Signal(signed(SUM_BITS), name=f"{name}{k}_{j}")
                           for name in ("old", "result"))
            m.d.comb += [
                product.eq(operand * weight), old.eq(Array(now[j::taps])[c.g]),
                result.eq(Mux(~counts, old, Mux(c.max, Mux(term > old, term, old), old + term)))]
            with m.If(self.go):
                m.d.sync += [term.eq(Mux(self.max, operand, product)),
                             counts.eq(inside & (~self.max | (weight != 0)))]
            results.append(result)
        m.d.comb += self.sums[k].eq(Array(results)[c.slot])
        new = [Mux(c.g == n // taps, results[n % taps], now[n]) for n in range(WINDOW_KERNEL)]
        with m.If(self.go & self.valid):
            for n, s in enumerate(sums):
                m.d.sync += s.eq(Mux(c.shift, new[n - 1] if n else start, new[n]))
