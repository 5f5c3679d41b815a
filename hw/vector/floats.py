# SPDX-License-Identifier: Apache-2.0
"""The vector engine's way for everything that is not INT8 alone: parts of words in, words out.

::

    words a, b ─► the unit's part ─► elements ─► taps ─► windows ─► slices ─► lanes ─► word
                                                         └ fold ┘     │                 └─► landing
                             word of operand b ─► part ───────────────┘

A unit is L / S elements, S being the size of the largest type (:mod:`golden.vector`): the whole
word of that one, a part of the others' words. The lanes take a slice of a unit a cycle, and the
results of the units of an output word gather until it is whole. Nothing stalls, as in
:mod:`hw.vector.post`.
"""

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.float_lane import KIND
from hw.arith.output import OUTPUT
from hw.engine.ports import SpmWrite, SpmWriter, instruction_layout, view_of
from hw.parts.delay import delay, later, register
from hw.parts.fifo import Fifo
from hw.parts.places import places
from hw.scratchpad.words import behind, quarters
from hw.vector.fold import fold, fold_latency
from hw.vector.lane import VECTOR_CONSTANTS, VectorLane, is_function
from hw.vector.post import Slices, side_layout, windows_depth
from hw.vector.taps import TAP_CONSTANTS, accumulate, state_layout, tap, tap_latency
from isa.config import Config
from isa.instructions import DType, Opcode, VectorOp
from isa.numerics import BF16_UNIT, FP16_UNIT


def log_size(dtype: Value) -> Value:
    """The logarithm of a type's bytes."""
    return Array(t.size.bit_length() - 1 for t in DType)[dtype]


class VectorFloat(wiring.Component):
    """Latency: that of :class:`hw.vector.lane.VectorLane` from a slice to its bytes. Throughput: a
    pair of taps, and a slice, a cycle. Stall: none; the engine lets the last pair of a window in
    only if there is a place for the window, and a window's slices start only if there is one for
    its word.

    Parameters
    ----------
    config : Config

    Members
    -------
    instr : In(VECTOR's fields)
        Stands still until ``idle``, and for two cycles before the first taps.
    largest : In(2)
        Logarithm of the bytes of the largest type, with ``fold`` of the output's; it stands still
        as ``instr`` does.
    take, first, last : In(1)
        A pair of taps enters; it is the first, the last one of its window.
    from_a : In(2)
        The quarter of their words at which the unit begins.
    with_a, with_b, word_a, word_b : In
        Which taps count, and their words.
    side : In(stream of side_layout(config))
        What goes beside windows, there before them.
    out : Out(SpmWrite(config))
    idle : Out(1)
        No word is under way.
    nan, infinite, overflow : Out
        Results of these kinds, a cycle after they have left the lanes.
    """

    instr: data.View
    largest: Signal
    take: Signal
    first: Signal
    last: Signal
    from_a: Signal
    with_a: Signal
    with_b: Signal
    word_a: Signal
    word_b: Signal
    side: stream.Interface
    out: SpmWriter
    idle: Signal
    nan: Signal
    infinite: Signal
    overflow: Signal

    def __init__(self, config: Config):
        self._config = config
        self._elements = config.lanes // 2
        self._width = min(config.vector_lanes, self._elements)
        self._slices = self._elements // self._width
        latency = VectorLane.LATENCY + VectorLane.FUNCTION
        self._depth = latency // self._slices + 7
        word = 8 * config.lanes
        super().__init__({
            "instr": In(instruction_layout(Opcode.VECTOR)), "largest": In(2), "take": In(1),
            "first": In(1), "last": In(1), "from_a": In(2), "with_a": In(1), "with_b": In(1),
            "word_a": In(word), "word_b": In(word),
            "side": In(stream.Signature(side_layout(config))), "out": Out(SpmWrite(config)),
            "idle": Out(1), **{kind: Out(range(self._width + 1)) for kind, _ in KIND}})
        self._pending = data.StructLayout({
            "addr": range(config.spm_words), "there": 1, "ends": 1})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        self._sizes = {n: register(m, f"size_{n}", log_size(self.instr[f"{n}_type"]))
                       for n in "abo"}
        # a unit of few elements takes half the slices, or half of its only one
        few, count = self.largest == 2, self._slices
        self._half = register(m, "half", few if count == 1 else Const(0, 1))
        self._final = register(m, "final", Mux(few, max(count // 2, 1), count) - 1)
        windows = self._windows(m)
        self._lanes(m, windows)
        return m

    def _elements_of(self, m: Module, name: str, word: Value, size: Value, count: int
                     ) -> list[Signal]:
        """First bytes of the elements that lie at the beginning of a word, ``size`` being the
        logarithm of their bytes."""
        found = [Signal(32, name=f"{name}{k}") for k in range(count)]
        with m.Switch(size):
            for log in range(3):
                with m.Case(log):
                    bits = 8 << log
                    m.d.comb += [f.eq(word[bits * k:bits * (k + 1)]) for k, f in enumerate(found)
                                 if bits * k < len(word)]
        return found

    def _windows(self, m: Module) -> Fifo:
        """From words to whole windows, an element each of the unit."""
        config, i = self._config, self.instr
        c = view_of(TAP_CONSTANTS, reset_less=True)
        m.d.sync += [c.dtype.eq(i.a_type), c.signed.eq(i.a_signed), c.zero_point.eq(i.a_zp),
                     c.base.eq(BF16_UNIT - i.anchor), c.sum.eq(i.vop == VectorOp.SUM)]
        elements = [
            [register(m, f"{n}_element{k}", e) for k, e in enumerate(self._elements_of(
                m, f"{n}_first", quarters(word, self.from_a), self._sizes["a"], self._elements))]
            for n, word in (("a", self.word_a), ("b", self.word_b))]
        counts = [register(m, f"counts_{n}", v) for n, v in (("a", self.with_a),
                                                             ("b", self.with_b))]
        cycles = 1 + tap_latency(config)
        enters, first, last = (delay(m, v, cycles, n) for v, n in (
            (self.take, "enters"), (self.first, "starts"), (self.last, "completes")))
        states = []
        for k, pair in enumerate(zip(*elements, strict=True)):
            taken = tap(m, f"lane{k}", config, c, list(zip(pair, counts, strict=True)))
            states.append(accumulate(m, f"window{k}", config, c, taken, first, enters))
        every = Cat(s.as_value() for s in states)
        m.submodules.windows = windows = Fifo(len(every), windows_depth(config))
        folds, whole = register(m, "folds", i.fold), register(m, "whole", enters & last)
        folded = fold(m, config, c, states).as_value().replicate(len(states))
        m.d.comb += [
            windows.i.payload.eq(Mux(folds, folded, every)),
            windows.i.valid.eq(Mux(folds, delay(m, whole, fold_latency(config), "folded"), whole))]
        return windows

    def _lanes(self, m: Module, windows: Fifo) -> None:
        """Slices through the lanes, results into words."""
        config, count, width, i = self._config, self._slices, self._width, self.instr
        side, lanes = self.side.payload, self._config.lanes
        m.submodules.landing = landing = Fifo(8 * lanes + len(side.addr), self._depth)
        m.submodules.pending = pending = Fifo(self._pending, self._depth)
        popped, free = self.out.valid & self.out.ready, Signal()
        slices = Slices(m, windows, count, self._final, free)
        words, no_words = places(m, "landing", self._depth, slices.load & side.ends, popped)
        finished = Signal()
        units, no_units = places(m, "pending", self._depth, slices.load, finished)
        what = view_of(self._pending)
        m.d.comb += [
            free.eq(words & units), self.side.ready.eq(slices.load), what.addr.eq(side.addr),
            what.there.eq(side.there), what.ends.eq(side.ends), pending.i.valid.eq(slices.load),
            pending.i.payload.eq(what)]
        shape = state_layout(config)
        held, second = Signal(len(windows.o.payload), reset_less=True), Signal(8 * lanes,
                                                                            reset_less=True)
        passed = Array(behind(second, width * 8 << log) for log in range(3))[self._sizes["b"]]
        with m.If(slices.load):
            m.d.sync += [held.eq(windows.o.payload), second.eq(quarters(side.second, side.from_b))]
        with m.Else():
            m.d.sync += [held.eq(behind(held, shape.size * width)), second.eq(passed)]
        operands = self._elements_of(m, "second", second, self._sizes["b"], width)
        c = self._constants(m)
        results: list[Value] = []
        kinds: list[data.View] = []
        for k in range(width):
            m.submodules[f"lane{k}"] = lane = VectorLane(config)
            m.d.comb += [lane.window.eq(held[shape.size * k:shape.size * (k + 1)]),
                         lane.b.eq(operands[k]), lane.constants.eq(c)]
            results.append(lane.out)
            kinds.append(lane.kind)

        function = register(m, "function", is_function(i.vop))
        arriving, evaluated = Signal(VectorLane.LATENCY), Signal(VectorLane.FUNCTION)
        m.d.sync += [arriving.eq(Cat(slices.running, arriving)),
                     evaluated.eq(Cat(arriving[-1] & function, evaluated))]
        arrived = Mux(function, evaluated[-1], arriving[-1])
        self._gather(m, arrived, results, kinds, pending, landing, finished)
        m.d.comb += [
            Cat(self.out.data, self.out.addr).eq(landing.o.payload),
            self.out.valid.eq(landing.o.valid), landing.o.ready.eq(self.out.ready),
            self.idle.eq(no_words & no_units & ~self.out.pending)]

    def _constants(self, m: Module) -> data.View:
        """Constants of the lanes."""
        i = self.instr
        c = view_of(VECTOR_CONSTANTS, name="lane_constants")
        m.d.comb += [*(c[f].eq(i[f]) for f, _ in OUTPUT),
                     *(c[f].eq(i[f]) for f in ("vop", "plus", "a_type", "b_type", "b_signed",
                                               "b_zp", "scale_a", "scale_b"))]
        with m.Switch(i.a_type):
            with m.Case(DType.FP16):
                m.d.comb += c.unit.eq(FP16_UNIT)
            with m.Case(DType.BF16):
                m.d.comb += c.unit.eq(i.anchor)
        return later(m, c, 1, "constants")

    def _gather(self, m: Module, arrived: Value, results: list[Value], kinds: list[data.View],
                pending: Fifo, landing: Fifo, finished: Signal) -> None:
        """Results of a unit's slices one behind the other into the word, units one behind the
        other; slices behind its elements are left out."""
        width, bits = self._width, 8 * self._config.lanes
        head = pending.o.payload
        position, last = Signal(range(max(2, self._slices))), Signal()
        word, addr = Signal(bits, reset_less=True), Signal.like(head.addr, reset_less=True)
        m.d.comb += [last.eq(position == self._final), pending.o.ready.eq(arrived & last)]
        gathered = Signal(bits)
        with m.Switch(Cat(self._sizes["o"], self._half)):
            for log in range(3):
                for half in range(2):
                    chunk = Cat(r[:8 << log] for r in results[:width >> half])
                    if 0 < len(chunk) <= bits:
                        with m.Case(log | half << 2):
                            m.d.comb += gathered.eq(Cat(word, Mux(head.there, chunk, 0)[
                                :len(chunk)])[len(chunk):])
        ends = Signal()
        with m.If(arrived):
            m.d.sync += [word.eq(gathered), position.eq(Mux(last, 0, position + 1)),
                         addr.eq(head.addr)]
        m.d.sync += [finished.eq(arrived & last), ends.eq(head.ends)]
        m.d.comb += [landing.i.payload.eq(Cat(word, addr)), landing.i.valid.eq(finished & ends)]
        for kind, _ in KIND:
            flags = [arrived & head.there & value[kind] & (~self._half if 2 * k >= width else 1)
                     for k, value in enumerate(kinds)]
            m.d.sync += getattr(self, kind).eq(sum(flags[1:], flags[0]))
