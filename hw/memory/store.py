# SPDX-License-Identifier: Apache-2.0
"""The STORE engine: strided copies from the scratchpad to DRAM.

::

    instr ─► Pattern ─► BurstSplitter ─┬─► addresses ─┬────────────────────► aw
                                       │              └─► lengths owed ─┐
                                       └─► Beats ─┬─► shapes of beats ──┤
                                 read ◄─ a lane ◄─┘                     ▼
                                   └─► words, a FIFO a lane ────────► assemble ─► w
                                                    b ─► bursts in flight ─► done

An address goes out while the burst before it is being written, so that short bursts follow one
another without a gap. From then on the burst is owed to the memory: when the machine halts, what is
owed is finished at once with empty strobes, without waiting for the scratchpad.

``done`` is the cycle of the response to the last burst of an instruction. Throughput one beat a
cycle, also across instructions, with up to ``config.outstanding`` bursts unanswered.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from hw.engine.ports import Engine, EnginePort, SpmRead, SpmReader, instruction_layout
from hw.engine.profile import events_layout
from hw.engine.settings import REGIONS
from hw.memory.axi import (RESPONSE, STORE_ID, BurstSplitter, address_layout, burst_layout,
                           write_layout)
from hw.memory.beats import Beats, beat_layout
from hw.memory.lanes import Lanes, Status, tag_layout
from hw.memory.pattern import Pattern
from hw.parts.fifo import Fifo
from hw.parts.skid import Skid
from hw.scratchpad.read_port import ReadPort
from isa.config import Config
from isa.instructions import INDEX_BITS, Opcode


class StoreEngine(wiring.Component):
    """Executes STORE instructions. Latency and throughput: as the module says. Stall: ``w`` waits
    for the words of its beat, addresses for bursts that are not answered.

    Parameters
    ----------
    config : Config
    pattern : Pattern, optional
        Another address generator, for a proof.

    Members
    -------
    instr : stream of ``instruction_layout(Opcode.STORE)``
        Their waits are satisfied.
    engine : :class:`hw.engine.ports.Engine`
        ``done`` when the memory has answered all bursts of the instruction.
    regions : REGIONS
    aw : stream of ``address_layout(config)``
    final : 1
        The address at ``aw`` is the last one of its instruction.
    w : stream of ``write_layout(config)``
        ``valid`` of both may fall without a transfer when the machine halts.
    b : stream of ``RESPONSE``
    owed : 1
        Not all bursts have been answered.
    read : array of ``Lanes(config).words`` SpmRead
    events : events_layout("store")
        At most one bit is set.
    """

    ADDRESSES = 4
    """Addresses that wait for a stalled port while other lanes go on."""

    BEATS = 16
    """Beats whose words are asked for or present: covers the scratchpad's latency and stalls."""

    OWED = 2
    """Bursts whose address is out and whose data has not begun."""

    instr: stream.Interface
    engine: EnginePort
    regions: data.View
    aw: stream.Interface
    final: Signal
    w: stream.Interface
    b: stream.Interface
    owed: Signal
    read: list[SpmReader]
    events: data.View

    def __init__(self, config: Config, pattern: Pattern | None = None):
        self._config, self._pattern = config, pattern or Pattern(config, Opcode.STORE)
        super().__init__({
            "instr": In(stream.Signature(instruction_layout(Opcode.STORE))),
            "engine": Out(Engine()), "regions": In(REGIONS),
            "aw": Out(stream.Signature(address_layout(config))), "final": Out(1),
            "w": Out(stream.Signature(write_layout(config))),
            "b": In(stream.Signature(RESPONSE)), "owed": Out(1),
            "read": Out(SpmRead(config)).array(Lanes(config).words),
            "events": Out(events_layout("store"))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config, lanes = self._config, Lanes(self._config)
        layout = burst_layout(config, tag_layout(config))
        m.submodules.pattern = pattern = self._pattern
        m.submodules.splitter = splitter = BurstSplitter(config, tag_layout(config))
        m.submodules.beats = beats = Beats(config)
        m.submodules.cut = cut = Skid(beat_layout(config))
        m.submodules.addresses = addresses = Fifo(
            data.StructLayout({"addr": config.addr_bits, "len": layout["len"].shape,
                               "final": 1, "index": INDEX_BITS}), self.BEATS)
        m.submodules.shapes = shapes = Fifo(beat_layout(config), self.BEATS,
                                            registered=True)
        m.submodules.flight = flight = Fifo(
            data.StructLayout({"final": 1, "index": INDEX_BITS}), config.outstanding)
        m.submodules.lengths = lengths = Fifo(layout["len"].shape, self.OWED)
        m.submodules.status = status = Status()
        ports = [ReadPort(config, self.ADDRESSES) for _ in range(lanes.words)]
        connect(m, flipped(self.instr), pattern.instr)
        connect(m, pattern.runs, splitter.i)
        connect(m, beats.o, cut.i)
        connect(m, status.engine, flipped(self.engine))
        for p, port in enumerate(ports):
            m.submodules[f"port{p}"] = port
            connect(m, port.port, flipped(self.read[p]))
        halted, done = Signal(), Signal()
        m.d.comb += [
            pattern.regions.eq(self.regions), pattern.halt.eq(halted), halted.eq(status.halted),
            status.bad.eq(pattern.fault), status.bad_code.eq(pattern.fault_code),
            status.bad_index.eq(pattern.fault_index),
            status.start.eq(self.instr.valid & self.instr.ready), status.done.eq(done),
        ]

        # a burst: its address waits, its beats are expanded
        burst = splitter.o.payload
        m.d.comb += [
            beats.i.valid.eq(splitter.o.valid & addresses.i.ready), beats.i.payload.eq(burst),
            addresses.i.valid.eq(splitter.o.valid & beats.i.ready),
            addresses.i.payload.addr.eq(burst.beat << exact_log2(config.bus_bytes)),
            addresses.i.payload.len.eq(burst.len),
            addresses.i.payload.final.eq(burst.last & burst.tag.final),
            addresses.i.payload.index.eq(burst.tag.index),
            splitter.o.ready.eq(beats.i.ready & addresses.i.ready),
        ]

        # a beat: its words are asked for, its shape waits
        beat = cut.o.payload
        ask = Signal()
        m.d.comb += [
            ask.eq(cut.o.valid & shapes.i.ready & Cat(p.addr.ready for p in ports).all()),
            cut.o.ready.eq(ask), shapes.i.valid.eq(ask), shapes.i.payload.eq(beat)]
        for p, port in enumerate(ports):
            m.d.comb += [port.addr.valid.eq(ask & beat.mask[p] & (beat.part == 0)),
                         port.addr.payload.eq(beat.spm + p)]

        # addresses, not far ahead of the data
        asked, free = addresses.o.payload, Signal()
        m.d.comb += [
            free.eq(~halted & flight.i.ready & lengths.i.ready),
            self.aw.valid.eq(addresses.o.valid & free),
            self.aw.payload.addr.eq(asked.addr), self.aw.payload.len.eq(asked.len),
            self.final.eq(asked.final),
            addresses.o.ready.eq(self.aw.ready & free),
            flight.i.valid.eq(self.aw.valid & self.aw.ready),
            flight.i.payload.final.eq(asked.final), flight.i.payload.index.eq(asked.index),
            lengths.i.valid.eq(self.aw.valid & self.aw.ready), lengths.i.payload.eq(asked.len),
        ]

        # data
        shape, w = shapes.o.payload, self.w.payload
        owed = Signal(layout["len"].width + 1)
        owes, present, send = Signal(), Signal(), Signal()
        words = Cat(port.data.payload for port in ports)
        m.d.comb += [
            present.eq(shapes.o.valid & (~shape.mask | Cat(p.data.valid for p in ports)).all()),
            w.data.eq(words if lanes.beats == 1
                      else words.word_select(shape.part, 8 * config.bus_bytes)),
        ]
        with m.If(halted):
            m.d.comb += [self.w.valid.eq(owes), w.last.eq(owed == 1), lengths.o.ready.eq(~owes)]
            with m.If(~owes):
                m.d.sync += [owed.eq(lengths.o.payload + 1), owes.eq(lengths.o.valid)]
            with m.Elif(self.w.ready):
                m.d.sync += [owed.eq(owed - 1), owes.eq(owed != 1)]
        with m.Else():
            m.d.comb += [
                self.w.valid.eq(present & (~shape.first | lengths.o.valid)),
                w.strb.eq(Cat(bit.replicate(config.bus_bytes // lanes.words)
                              for bit in shape.mask)),
                w.last.eq(shape.last), send.eq(self.w.valid & self.w.ready),
                lengths.o.ready.eq(send & shape.first),
            ]
            with m.If(send):
                m.d.sync += [owed.eq(Mux(shape.first, lengths.o.payload, owed - 1)),
                             owes.eq(~shape.last)]
        m.d.comb += shapes.o.ready.eq(send)
        for p, port in enumerate(ports):
            m.d.comb += port.data.ready.eq(
                send & shape.mask[p] & (shape.part == lanes.beats - 1))

        # answers
        m.d.comb += [
            self.owed.eq(flight.o.valid), status.breach.eq(
                self.b.valid & (~self.owed | (self.b.payload.id != STORE_ID))),
            self.b.ready.eq(1), flight.o.ready.eq(self.b.valid),
            status.response.eq(self.b.valid), status.resp.eq(self.b.payload.resp),
            status.index.eq(flight.o.payload.index),
            done.eq(self.b.valid & self.owed & flight.o.payload.final & ~status.error & ~halted),
        ]
        with m.If(self.w.valid):
            m.d.comb += [self.events.active.eq(self.w.ready),
                         self.events.wait_out.eq(~self.w.ready)]
        with m.Elif(self.aw.valid & ~self.aw.ready):
            m.d.comb += self.events.wait_out.eq(1)
        with m.Elif(shapes.o.valid & ~present):
            m.d.comb += self.events.wait_data.eq(1)
        with m.Elif(self.owed):
            m.d.comb += self.events.wait_dram.eq(1)
        return m
