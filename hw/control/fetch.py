# SPDX-License-Identifier: Apache-2.0
"""Instruction fetch: reads the program ahead of the sequencer.

::

    start ─► next block, checked ─► BurstSplitter ─► ar
    r ─► prefetch buffer (beats) ─► skid ─► instructions ─► instr

The program is read in blocks of 128 bytes, each as soon as the buffer has room for it, so that this
unit never holds up the R channel. Where an instruction ends is seen in its first word when that
leaves the buffer. Reading goes on behind END until the sequencer says ``stop``, and only within
region PROGRAM: running off its end is a fault of the instruction that is not all there, and so is
an error response, and both are only reported when the sequencer gets to that instruction.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import exact_log2

from hw.engine.settings import REGION
from hw.memory.axi import FETCH_ID, BurstSplitter, Resp, address_layout, read_layout
from hw.parts.delay import register
from hw.parts.fifo import Fifo
from hw.parts.skid import Skid
from isa.config import Config
from isa.instructions import FETCH_BYTES, HEAD, INDEX_BITS, UNIT_BYTES, Fault


def fetched_layout(config: Config) -> data.StructLayout:
    """A bus word of an instruction as it lies in memory; whether it is its ``first`` or ``last``;
    the instruction's position; why the word could not be read (0: it was)."""
    return data.StructLayout({"word": 8 * config.bus_bytes, "first": 1, "last": 1,
                              "index": INDEX_BITS, "fault": 8})


class Fetch(wiring.Component):
    """Fetches a program. Throughput: a beat a cycle. Stall: while ``instr`` is not taken the
    prefetch buffer fills, and nothing is asked for that has no room in it.

    Parameters
    ----------
    config : Config

    Members
    -------
    start, stop : 1
        Strobes: read from the beginning; read no more and forget what was read ahead. ``start``
        is ignored unless ``idle``.
    halt : 1
        Ask the memory for nothing more, from the next cycle on.
    program : 32
        Byte offset of the first instruction in the region, a multiple of 128.
    region : REGION
    ar, r : streams
        The AXI read channels; ``ar.valid`` may fall on ``halt``.
    owed : 1
        Not all that was asked for has come.
    instr : stream of ``fetched_layout(config)``
        What of an instruction is outside the region is one word with a fault.
    idle : 1
        Nothing is read and no data is under way.
    """

    AHEAD = 8
    """Blocks that are read ahead."""

    start: Signal
    stop: Signal
    halt: Signal
    program: Signal
    region: data.View
    ar: stream.Interface
    r: stream.Interface
    owed: Signal
    instr: stream.Interface
    idle: Signal

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "start": In(1), "stop": In(1), "halt": In(1), "program": In(32), "region": In(REGION),
            "ar": Out(stream.Signature(address_layout(config))),
            "r": In(stream.Signature(read_layout(config))), "owed": Out(1),
            "instr": Out(stream.Signature(fetched_layout(config))), "idle": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self._config
        beats = FETCH_BYTES // config.bus_bytes
        m.submodules.splitter = splitter = BurstSplitter(config, unsigned(1))
        beat = data.StructLayout({"data": 8 * config.bus_bytes, "resp": 2})
        m.submodules.buffer = buffer = Fifo(beat, self.AHEAD * beats)
        m.submodules.shown = shown = Skid(beat)
        connect(m, buffer.o, shown.i)
        running, nothing, begin, room = Signal(), Signal(init=1), Signal(), Signal()
        halt = register(m, "halted", self.halt)
        under_way = Signal(range(self.AHEAD * beats + 1))
        used = buffer.o.valid & buffer.o.ready
        m.d.comb += [
            begin.eq(self.start & self.idle),
            self.idle.eq(~running & nothing),
            # to the memory
            self.ar.valid.eq(splitter.o.valid & ~halt),
            splitter.o.ready.eq(self.ar.ready & ~halt),
            self.ar.payload.addr.eq(splitter.o.payload.beat << exact_log2(config.bus_bytes)),
            self.ar.payload.len.eq(splitter.o.payload.len),
        ]
        # asking does not wait for the splitter's comparisons
        m.submodules.asked = asked = Skid(splitter.i.payload.shape())
        connect(m, asked.o, splitter.i)
        absent, ask = self._addresses(m, asked, running & ~halt & room, begin)
        end = absent & (under_way == 0) & ~shown.o.valid
        self._beats(m, asked.i.payload.beat[:exact_log2(splitter.window)], begin, ask, buffer)
        self._words(m, shown.o, running, end, begin)
        m.d.sync += [
            nothing.eq(~running & (under_way == 0)),
            under_way.eq(under_way + Mux(ask, beats, 0) - used),
            # known before the next block's verdict
            room.eq(under_way <= (self.AHEAD - 1) * beats),
        ]
        with m.If(begin):
            m.d.sync += running.eq(1)
        with m.Elif(self.stop):
            m.d.sync += running.eq(0)
        return m

    def _addresses(self, m: Module, asked: Skid, allowed: Value,
                   begin: Signal) -> tuple[Signal, Signal]:
        """Asks for the next block when ``allowed``; returns ``absent``, it is outside the region,
        and ``ask``. A verdict takes three cycles, less than the data of a block."""
        config = self._config
        size = exact_log2(FETCH_BYTES)
        at = Signal(32 - size + INDEX_BITS)
        first, end, beyond = Signal(65), Signal(65), Signal(66)
        outside, absent, ask = Signal(), Signal(), Signal()
        settled = Signal(3)
        m.d.sync += [
            first.eq(self.region.base + (at << size)), end.eq((at + 1) << size),
            beyond.eq(first + FETCH_BYTES), outside.eq(end > self.region.size),
            absent.eq(outside | (beyond > (1 << config.addr_bits))),
            settled.eq(Cat(1, settled)),
        ]
        m.d.comb += [
            ask.eq(allowed & settled.all() & ~absent & asked.i.ready),
            asked.i.valid.eq(ask),
            asked.i.payload.beat.eq(first >> exact_log2(config.bus_bytes)),
            asked.i.payload.beats.eq(FETCH_BYTES // config.bus_bytes)]
        with m.If(begin):
            m.d.sync += [at.eq(self.program >> size), settled.eq(0)]
        with m.Elif(ask):
            m.d.sync += [at.eq(at + 1), settled.eq(0)]
        known_absent = Signal()
        m.d.comb += known_absent.eq(settled.all() & absent)
        return known_absent, ask

    def _beats(self, m: Module, asked: Value, begin: Signal, ask: Signal, buffer: Fifo) -> None:
        """Takes the beats from memory, those that nobody asked for excepted. A beat has the
        response EXOKAY, which none has on this bus, where the memory breaks the rules.

        A burst ends with its block, or where the splitter cuts; so a beat's place in its block and
        the low bits of its address, which were ``asked`` first after ``begin``, tell whether it is
        the last one."""
        config, r, beat = self._config, self.r.payload, buffer.i.payload
        place = Signal(range(FETCH_BYTES // config.bus_bytes))
        at, fresh = Signal.like(asked), Signal()
        bursts = Signal(range(self.AHEAD * FETCH_BYTES // config.bus_bytes + 1))
        last, goes, comes, breach, strayed = (Signal() for _ in range(5))
        m.d.comb += [
            last.eq(place.all() | at.all()), goes.eq(self.ar.valid & self.ar.ready),
            comes.eq(self.r.valid & self.r.ready & self.owed),
            breach.eq((r.last != last) | (r.id != FETCH_ID) | strayed),
            self.r.ready.eq(buffer.i.ready), buffer.i.valid.eq(self.r.valid & self.owed),
            beat.data.eq(r.data), beat.resp.eq(Mux(r.resp[1] | ~breach, r.resp, Resp.EXOKAY))]
        with m.If(comes):
            m.d.sync += [place.eq(place + 1), at.eq(at + 1), strayed.eq(0)]
        with m.Elif(self.r.valid):
            m.d.sync += strayed.eq(1)
        m.d.sync += fresh.eq(begin | (fresh & ~ask))
        with m.If(fresh & ask):
            m.d.sync += at.eq(asked)
        with m.If(goes ^ (comes & last)):
            m.d.sync += [bursts.eq(Mux(goes, bursts + 1, bursts - 1)),
                         self.owed.eq(goes | (bursts != 1))]

    def _words(self, m: Module, beats: stream.Interface, running: Signal, end: Value,
               begin: Signal) -> None:
        """Shows the beats as words of instructions; when the program has come to an ``end`` without
        END, a faulty one."""
        m.submodules.skid = skid = Skid(self.instr.payload.shape())
        instr, beat = skid.i.payload, beats.payload
        size = beat.data[HEAD[0].width:][:HEAD[1].width]
        words = Mux(size == 0, 1, size) << exact_log2(UNIT_BYTES // self._config.bus_bytes)
        first, left = Signal(init=1), Signal.like(words)
        index, goes = Signal(INDEX_BITS), Signal()
        with m.If(end):
            m.d.comb += instr.fault.eq(Fault.DRAM_RANGE)
        with m.Elif(beat.resp == Resp.SLVERR):
            m.d.comb += instr.fault.eq(Fault.AXI_SLVERR)
        with m.Elif(beat.resp == Resp.DECERR):
            m.d.comb += instr.fault.eq(Fault.AXI_DECERR)
        with m.Elif(beat.resp == Resp.EXOKAY):
            m.d.comb += instr.fault.eq(Fault.AXI_PROTOCOL)
        m.d.comb += [
            instr.word.eq(beat.data), instr.index.eq(index), instr.first.eq(first),
            instr.last.eq((Mux(first, words, left) == 1) | end),
            skid.i.valid.eq(running & (beats.valid | end)),
            beats.ready.eq(~running | skid.i.ready), goes.eq(skid.i.valid & skid.i.ready),
            self.instr.payload.eq(skid.o.payload), self.instr.valid.eq(skid.o.valid & running),
            skid.o.ready.eq(~running | self.instr.ready),
        ]
        with m.If(begin):
            m.d.sync += index.eq(0)
        with m.Elif(goes & instr.last):
            m.d.sync += index.eq(index + 1)
        with m.If(~running):
            m.d.sync += first.eq(1)
        with m.Elif(goes):
            m.d.sync += [first.eq(instr.last), left.eq(Mux(first, words, left) - 1)]
