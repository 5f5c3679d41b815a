# SPDX-License-Identifier: Apache-2.0
"""The vector engine's way for everything that is not INT8 alone: parts of words in, words out.

::

    words a, b ─► the unit's part ─► elements ─► taps ─► slices ─► lanes ─► word ─► landing

A unit is L / S elements, S being the size of the largest type (:mod:`golden.vector`): the whole
word of that one, a part of the others' words. The lanes take a slice of a unit a cycle, and the
results of the units of an output word gather until it is whole.
"""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from hw.float_lane import KIND
from hw.float_output import OUTPUT
from hw.ports import SpmWrite, SpmWriter, instruction_layout, view_of
from hw.vector_lane import ELEMENT, VectorLane, is_function
from hw.vector_taps import STATE, accumulate
from isa.config import Config
from isa.instructions import DType, Opcode, VectorOp

HALF_UNIT = -24
"""Exponent of the lowest bit of a sum of FP16 elements."""


def log_size(dtype: Value) -> Value:
    """The logarithm of a type's bytes."""
    return Array(t.size.bit_length() - 1 for t in DType)[dtype]


def unit_layout(config: Config) -> data.StructLayout:
    """What goes with a pair of taps: ``sub_a``, ``sub_b``: which part of the words; ``there``: the
    unit exists; ``part``: its place in the output word; ``ends``: it is the last one there."""
    return data.StructLayout({"sub_a": 2, "sub_b": 2, "there": 1, "part": 2, "ends": 1})


class VectorFloat(wiring.Component):
    """Parameters
    ----------
    config : Config

    Members
    -------
    instr : In(VECTOR's fields)
        Stands still until ``idle``.
    take, first, last : In(1)
        A pair of taps enters; it is the first, the last one of its window.
    unit : In(unit_layout)
    addr : In(range)
        Where the output word goes.
    want_a, want_b, word_a, word_b : In
        Which taps count, and their words; for ADD and MUL b is the second operand.
    room : Out(1)
        A last pair may enter.
    out : Out(SpmWrite(config))
    idle : Out(1)
        Nothing is under way.
    nan, infinite, overflow : Out
        Results of these kinds in this cycle.
    """

    instr: data.View
    take: Signal
    first: Signal
    last: Signal
    unit: data.View
    addr: Signal
    want_a: Signal
    want_b: Signal
    word_a: Signal
    word_b: Signal
    room: Signal
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
        self._landing = (VectorLane.LATENCY + VectorLane.FUNCTION) // self._slices + 6
        word = 8 * config.lanes
        super().__init__({
            "instr": In(instruction_layout(Opcode.VECTOR)), "take": In(1), "first": In(1),
            "last": In(1), "unit": In(unit_layout(config)), "addr": In(range(config.spm_words)),
            "want_a": In(1), "want_b": In(1), "word_a": In(word), "word_b": In(word),
            "room": Out(1), "out": Out(SpmWrite(config)), "idle": Out(1),
            **{kind: Out(range(self._width + 1)) for kind, _ in KIND}})
        self._pending = data.StructLayout({
            "addr": range(config.spm_words), "there": 1, "part": 2, "ends": 1})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        i = self.instr
        two = (i.vop == VectorOp.ADD) | (i.vop == VectorOp.MUL)
        sizes = {n: log_size(i[f"{n}_type"]) for n in "abo"}
        self._largest = Signal(2)
        larger = Mux(sizes["a"] > sizes["o"], sizes["a"], sizes["o"])
        m.d.comb += self._largest.eq(Mux(two & (sizes["b"] > larger), sizes["b"], larger))
        a = self._elements_of(m, "a", self.word_a, self.unit.sub_a, i.a_type, i.a_signed, i.a_zp)
        odd = self._elements_of(m, "odd", self.word_b, self.unit.sub_a, i.a_type, i.a_signed,
                                i.a_zp)
        b = self._elements_of(m, "b", self.word_b, self.unit.sub_b, i.b_type, i.b_signed, i.b_zp)

        have, done = Signal(), Signal()
        held = view_of(data.ArrayLayout(ELEMENT, self._elements), reset_less=True)
        what = view_of(self._pending)
        for k in range(self._elements):
            old = view_of(STATE, name=f"acc{k}", reset_less=True)
            # an operand outside the image is zero
            counted = [(self.want_a, *a[k]), (self.want_b & ~two, *odd[k])]
            state = accumulate(m, k, i, self.first, old, counted)
            zero = (i.vop != VectorOp.MAX) & state.none
            with m.If(self.take):
                m.d.sync += old.eq(state)
                with m.If(self.last):
                    m.d.sync += [
                        held[k].a.eq(Mux(zero, 0, state.raw)), held[k].none.eq(state.none),
                        held[k].a_integer.eq(Mux(zero, 0, state.integer)),
                        held[k].b.eq(b[k][0]), held[k].b_integer.eq(b[k][1]),
                        held[k].sum.eq(state.sum), held[k].flags.eq(state.flags)]
        with m.If(self.take & self.last):
            m.d.sync += [what.addr.eq(self.addr), what.there.eq(self.unit.there),
                         what.part.eq(self.unit.part), what.ends.eq(self.unit.ends)]
        m.d.sync += have.eq((self.take & self.last) | (have & ~done))
        m.d.comb += self.room.eq(~have | done)
        empty = self._lanes(m, i, have, done, held, what)
        m.d.comb += self.idle.eq(empty & ~have)
        return m

    def _elements_of(self, m: Module, name: str, word: Value, sub: Value, dtype: Value,
                     is_signed: Value, zero_point: Value) -> list[tuple[Value, Value]]:
        """First bytes of the elements of a unit's part of a word, and their values if INT8."""
        bits = 8 * self._config.lanes
        ratio = self._largest - log_size(dtype)
        shifts = Array(bits >> n for n in range(3))
        part = Signal(bits, name=f"{name}_part")
        m.d.comb += part.eq(word >> (sub * shifts[ratio[:2]]))
        found: list[tuple[Value, Value]] = []
        for k in range(self._elements):
            raw = Signal(32, name=f"{name}_raw{k}")
            with m.Switch(dtype):
                for t in DType:
                    with m.Case(t):
                        m.d.comb += raw.eq(part[8 * t.size * k:8 * t.size * (k + 1)])
            value = Signal(signed(10), name=f"{name}_value{k}")
            m.d.comb += value.eq(Cat(raw[:8], raw[7] & is_signed).as_signed() - zero_point)
            found.append((raw, value))
        return found

    def _lanes(self, m: Module, i: data.View, have: Signal, done: Signal, held: data.View,
               what: data.View) -> Value:
        """Slices through the lanes, results into words; returns whether nothing is under way."""
        config, count, width = self._config, self._slices, self._width
        slice_ = Signal(range(max(2, count)))
        room = Signal(range(self._landing + 1), init=self._landing)
        running = have & ((slice_ != 0) | (room != 0))
        m.submodules.landing = landing = fifo.SyncFIFO(
            width=8 * config.lanes + len(self.addr), depth=self._landing)
        m.submodules.pending = pending = fifo.SyncFIFO(
            width=self._pending.size, depth=VectorLane.LATENCY + VectorLane.FUNCTION + 2)
        m.d.comb += [done.eq(running & (slice_ == count - 1)),
                     pending.w_en.eq(running & (slice_ == 0)), pending.w_data.eq(what)]
        with m.If(running):
            m.d.sync += slice_.eq(Mux(slice_ == count - 1, 0, slice_ + 1))
        results: list[Value] = []
        kinds: list[data.View] = []
        for k in range(width):
            m.submodules[f"lane{k}"] = lane = VectorLane()
            at = [s * width + k for s in range(count)]
            c = lane.constants
            m.d.comb += [
                lane.element.eq(Array(held[n].as_value() for n in at)[slice_]),
                *(c[f].eq(i[f]) for f, _ in OUTPUT),
                *(c[f].eq(i[f]) for f in ("vop", "a_type", "b_type", "scale_a", "scale_b"))]
            with m.Switch(i.a_type):
                with m.Case(DType.FP16):
                    m.d.comb += c.unit.eq(HALF_UNIT)
                with m.Case(DType.BF16):
                    m.d.comb += c.unit.eq(i.anchor)
            results.append(lane.out)
            kinds.append(lane.kind)

        head = data.View(self._pending, pending.r_data)
        function, position = is_function(i.vop), Signal(range(max(2, count)))
        arriving, evaluated = Signal(VectorLane.LATENCY), Signal(VectorLane.FUNCTION)
        m.d.sync += [arriving.eq(Cat(running, arriving)),
                     evaluated.eq(Cat(arriving[-1] & function, evaluated))]
        arrived = Mux(function, evaluated[-1], arriving[-1])
        kept = Signal(32 * self._elements, reset_less=True)
        every = Cat(*results) if count == 1 else Cat(kept[32 * width:], *results)
        last = position == count - 1
        with m.If(arrived):
            m.d.sync += [kept.eq(every), position.eq(Mux(last, 0, position + 1))]
        finished = arrived & last

        # the unit's bytes, and where they go in the word
        bits = 8 * config.lanes
        chunk, word = Signal(bits), Signal(bits, reset_less=True)
        share = self._largest - log_size(i.o_type)
        with m.Switch(Cat(i.o_type, share[:2])):
            for t in DType:
                for n in range(3):
                    elements = bits // (8 * t.size) >> n
                    if elements <= self._elements:
                        with m.Case(t | n << 2):
                            m.d.comb += chunk.eq(Cat(
                                every[32 * k:32 * k + 8 * t.size] for k in range(elements)))
        placed = Mux(head.there, chunk, 0) << (head.part * Array(bits >> n for n in range(3))[
            share[:2]])
        whole = Signal(bits)
        m.d.comb += whole.eq(Mux(head.part == 0, 0, word) | placed)
        with m.If(finished):
            m.d.sync += word.eq(whole)
        popped = self.out.valid & self.out.ready
        lands = finished & head.ends
        m.d.comb += [
            landing.w_data.eq(Cat(whole, head.addr)), landing.w_en.eq(lands),
            pending.r_en.eq(finished), Cat(self.out.data, self.out.addr).eq(landing.r_data),
            self.out.valid.eq(landing.r_rdy), landing.r_en.eq(self.out.ready)]
        m.d.sync += room.eq(room - (running & (slice_ == 0) & what.ends) + popped)
        # elements of the unit in this slice
        used = Signal(width)
        number = Array(self._config.lanes >> n for n in range(3))[self._largest]
        m.d.comb += used.eq(Cat(position * width + k < number for k in range(width)))
        for kind, _ in KIND:
            flags = [arrived & head.there & used[k] & kinds[k][kind] for k in range(width)]
            m.d.comb += getattr(self, kind).eq(sum(flags[1:], flags[0]))
        return ~pending.r_rdy & ~landing.r_rdy & ~self.out.pending
