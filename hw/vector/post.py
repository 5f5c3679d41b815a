# SPDX-License-Identifier: Apache-2.0
"""The vector engine's lanes: accumulators of a whole window in, a word in the scratchpad out.

::

    accumulators ─► windows ─► slices ─► lanes (PostLane) ─► word ─► landing ─► scratchpad

The lanes take a slice of ``vector_lanes`` accumulators a cycle, so a word takes
``L / vector_lanes``. Nothing stalls: a pair of taps that completes a window enters only when there
is a place for the window, and a window's slices only when there is one for its word.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.integer_lane import PostLane, arrivals
from hw.engine.ports import SpmWrite, SpmWriter, instruction_layout
from hw.parts.delay import register
from hw.parts.fifo import Fifo
from hw.parts.places import places
from hw.scratchpad.words import behind
from isa.config import Config
from isa.instructions import Opcode, VectorOp


def side_layout(config: Config) -> data.StructLayout:
    """What goes beside a window to the lanes: ``addr``: where the result goes; ``second``: the word
    of the second operand. With floating point ``from_b``: the quarter of that word at which the
    unit begins; ``there``: the unit exists; ``ends``: it is the last one of the output word."""
    return data.StructLayout({
        "addr": range(config.spm_words), "second": 8 * config.word_bytes,
        **({"from_b": 2, "there": 1, "ends": 1} if config.floats else {})})


def windows_depth(config: Config) -> int:
    """Windows that may be between their last taps and the lanes: enough for the fewest slices."""
    elements = config.lanes // 4 if config.floats else config.lanes
    return 11 // (elements // min(config.vector_lanes, elements)) + 2


class Slices:
    """Whole windows out of a buffer into the lanes, a slice a cycle.

    Parameters
    ----------
    m : Module
    windows : Fifo
    count : int
        Most slices of a window.
    final : Value or int
        Slices of a window, less one.
    may : Value
        A window may begin.

    Attributes
    ----------
    load : Signal
        The first window leaves the buffer.
    running, last : Signal
        A slice enters the lanes; it is the last one of its window.
    """

    def __init__(self, m: Module, windows: Fifo, count: int, final: Value | int,
                 may: Value):
        self.load, self.running = Signal(), Signal()
        self.last = Signal(name="last_slice")
        left = Signal(range(max(2, count)), name="slices_left")
        m.d.comb += [self.load.eq(windows.o.valid & may & (~self.running | self.last)),
                     windows.o.ready.eq(self.load)]
        with m.If(self.load):
            m.d.sync += [self.running.eq(1), left.eq(final), self.last.eq(final == 0)]
        with m.Else():
            m.d.sync += [self.running.eq(self.running & ~self.last), left.eq(left - 1),
                         self.last.eq(left == 1)]


class VectorPost(wiring.Component):
    """Latency: that of :class:`hw.arith.integer_lane.PostLane` from a slice to its bytes.
    Throughput: a slice a cycle, a word every ``L / vector_lanes``. Stall: none before the landing,
    whose words wait for ``out``.

    Parameters
    ----------
    config : Config

    Members
    -------
    instr : In(VECTOR's fields)
        Its constants; they stand still until ``idle``.
    whole, acc : In(1), In(array of signed(32))
        A window is complete, and its accumulators.
    side : In(stream of side_layout(config))
        What goes beside windows, there before them.
    out : Out(SpmWrite(config))
    idle : Out(1)
        No word is under way.
    """

    instr: data.View
    whole: Signal
    acc: data.View
    side: stream.Interface
    out: SpmWriter
    idle: Signal

    def __init__(self, config: Config):
        self._config = config
        self._slices = config.lanes // config.vector_lanes
        self._landing = (PostLane.LATENCY + 2) // self._slices + 6
        super().__init__({
            "instr": In(instruction_layout(Opcode.VECTOR)), "whole": In(1),
            "acc": In(data.ArrayLayout(signed(32), config.lanes)),
            "side": In(stream.Signature(side_layout(config))),
            "out": Out(SpmWrite(config)), "idle": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config, count, i, side = self._config, self._slices, self.instr, self.side.payload
        width, lanes, address_bits = config.vector_lanes, config.lanes, len(side.addr)
        m.submodules.windows = windows = Fifo(32 * lanes, windows_depth(config))
        m.submodules.landing = landing = Fifo(8 * lanes + address_bits, self._landing)
        m.submodules.pending = pending = Fifo(address_bits, self._landing)
        m.d.comb += [windows.i.payload.eq(self.acc), windows.i.valid.eq(self.whole)]
        popped, free = Signal(), Signal()
        m.d.sync += popped.eq(self.out.valid & self.out.ready)
        slices = Slices(m, windows, count, count - 1, free)
        some, every = places(m, "landing", self._landing, slices.load, popped)
        m.d.comb += [free.eq(some), self.side.ready.eq(slices.load),
                     pending.i.valid.eq(slices.load), pending.i.payload.eq(side.addr)]
        acc, second = Signal(32 * lanes, reset_less=True), Signal(8 * lanes, reset_less=True)
        with m.If(slices.load):
            m.d.sync += [acc.eq(windows.o.payload), second.eq(side.second)]
        with m.Else():
            m.d.sync += [acc.eq(behind(acc, 32 * width)), second.eq(behind(second, 8 * width))]
        values = []
        add = register(m, "add", i.vop == VectorOp.ADD)
        for k in range(width):
            m.submodules[f"lane{k}"] = lane = PostLane()
            byte = second[8 * k:8 * k + 8]
            c = lane.constants
            m.d.comb += [
                lane.acc.eq(acc[32 * k:32 * k + 32]), lane.scale.eq(i.scale_a),
                lane.b.eq(Cat(byte, byte[7] & i.b_signed).as_signed() - i.b_zp),
                c.z1.eq(i.z), c.lo1.eq(i.lo), c.hi1.eq(i.hi), c.z2.eq(i.z), c.lo2.eq(i.lo),
                c.hi2.eq(i.hi), c.scale_a.eq(i.scale_a), c.scale_b.eq(i.scale_b), c.add.eq(add),
                c.direct.eq(add)]
            values.append(lane.out[:8])
        arrived = arrivals(m, slices.running, add)
        word, position = Signal(8 * lanes, reset_less=True), Signal(range(max(2, count)))
        last, finished = position == count - 1, Signal()
        with m.If(arrived):
            m.d.sync += [word.eq(Cat(word, *values)[8 * width:]),
                         position.eq(Mux(last, 0, position + 1))]
        m.d.sync += finished.eq(arrived & last)
        m.d.comb += [
            landing.i.payload.eq(Cat(word, pending.o.payload)), landing.i.valid.eq(finished),
            pending.o.ready.eq(finished), Cat(self.out.data, self.out.addr).eq(landing.o.payload),
            self.out.valid.eq(landing.o.valid), landing.o.ready.eq(self.out.ready),
            self.idle.eq(every & ~self.out.pending)]
        return m
