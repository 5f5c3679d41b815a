# SPDX-License-Identifier: Apache-2.0
"""One group of the window engine: L lanes of multiply-accumulators.

::

    weight store ─► step's weights ─┐
    word ─► operands ───────────────┴─► products ─► running sums of the live outputs ─► sums

A step goes through the stages of :func:`hw.window.fir.stages`, which all stand still together while
``go`` is low. A machine with floating point has pairs of lanes (:mod:`hw.window.pair`).
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.operand import OPERAND_BITS, field, integer
from hw.arith.requantize import CODE
from hw.engine.ports import view_of
from hw.window.fir import TAP_PRODUCT_BITS, TAP_SUM_BITS, control_layout, running_sums, stages
from hw.window.pair import PACKED_BITS, PAIR_SUM, WindowPair, pack
from isa.config import Config
from isa.instructions import WINDOW_STEPS
from isa.numerics import MAX_START


def sums_layout(config: Config) -> data.ArrayLayout:
    """A complete output of each lane, or of each pair of lanes."""
    if config.floats:
        return data.ArrayLayout(PAIR_SUM, config.lanes // 2)
    return data.ArrayLayout(signed(TAP_SUM_BITS), config.lanes)


class WindowGroup(wiring.Component):
    """Latency: :func:`hw.window.fir.stages` cycles from a word to ``sums``. Throughput: a step a
    cycle. Stall: while ``go`` is low all stages keep what they have.

    Parameters
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
    controls : In(control_layout).array(stages)
        Of the step in each stage.
    valid : In(1)
        Last stage.
    sums : Out(sums_layout)
        Last stage: the complete output, if the step completes one.
    """

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
    controls: list[data.View]
    valid: Signal
    sums: data.View

    def __init__(self, config: Config):
        self._config = config
        vector = data.ArrayLayout(signed(OPERAND_BITS), config.lanes)
        step = range(2 * WINDOW_STEPS)
        super().__init__({
            "load": In(1), "load_step": In(step), "slot": In(range(max(2, config.window_taps))),
            "weights": In(vector), "go": In(1), "word": In(8 * config.word_bytes),
            "inside": In(1), "a_signed": In(1), "a_zp": In(CODE), "step": In(step),
            "controls": In(control_layout(config)).array(stages(config)),
            "valid": In(1), "sums": Out(sums_layout(config))})

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
            weights.append(read.data)
        operands, inside = view_of(vector, reset_less=True), Signal(reset_less=True)
        integers = [integer(self.word[8 * k:8 * k + 8], self.a_signed, self.a_zp)
                    for k in range(lanes)]
        with m.If(self.go):
            m.d.sync += inside.eq(self.inside)
            if self._config.floats:
                dtype = field(self.controls[0], "dtype")
                m.d.sync += operands.as_value().eq(Cat(
                    pack(integers[k:k + 2], self.word[8 * k:8 * k + 16], dtype)
                    for k in range(0, lanes, 2)))
            else:
                m.d.sync += [o.eq(v) for o, v in zip(operands, integers, strict=True)]
        if not self._config.floats:
            views = [data.View(vector, w) for w in weights]
            for k in range(lanes):
                self._lane(m, k, operands[k], [w[k] for w in views], inside)
            return m
        for k in range(lanes // 2):
            m.submodules[f"pair{k}"] = pair = WindowPair(self._config)
            at = slice(k * PACKED_BITS, (k + 1) * PACKED_BITS)
            m.d.comb += [pair.go.eq(self.go), pair.a.eq(operands.as_value()[at]),
                         *(pair.weights[j].eq(w[at]) for j, w in enumerate(weights)),
                         pair.inside.eq(inside), pair.valid.eq(self.valid),
                         *(c.eq(o) for c, o in zip(pair.controls, self.controls, strict=True)),
                         self.sums[k].eq(pair.sum)]
        return m

    def _lane(self, m: Module, k: int, operand: Value, weights: list[Value],
              inside: Value) -> None:
        multiplying, c = self.controls[1], self.controls[2]
        terms = []
        for j, weight in enumerate(weights):
            product = Signal(signed(TAP_PRODUCT_BITS), name=f"product{k}_{j}")
            term = Signal(signed(TAP_PRODUCT_BITS), name=f"term{k}_{j}", reset_less=True)
            counts = Signal(name=f"counts{k}_{j}", reset_less=True)
            m.d.comb += product.eq(operand * weight)
            with m.If(self.go):
                m.d.sync += [term.eq(Mux(multiplying.max, operand, product)),
                             counts.eq(inside & (~multiplying.max | (weight != 0)))]
            terms.append((term, counts))

        def result(j: int, old: Value) -> Value:
            term, counts = terms[j]
            return Mux(~counts, old, Mux(c.max, Mux(term > old, term, old), old + term))

        m.d.comb += self.sums[k].eq(running_sums(
            m, f"sum{k}", signed(TAP_SUM_BITS), Mux(c.max, MAX_START, 0), result, c,
            self._config.window_taps, self.go & self.valid))
