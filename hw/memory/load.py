# SPDX-License-Identifier: Apache-2.0
"""The LOAD engine: strided copies from DRAM to the scratchpad.

::

    instr ─► Pattern ─► BurstSplitter ─┬─► ar
                                       └─► bursts in flight ─► Beats ─┐
    r ────────────────────────────────────────────────────────────────┴─► a FIFO a lane ─► write

Addresses run ahead of the data by up to ``config.outstanding`` bursts, across instructions, so
that a memory that delivers a beat a cycle is taken at a beat a cycle. The FIFOs let the lanes'
scratchpad ports stall each on its own.

Latency, with an idle machine: ``Pattern.LATENCY`` + 2 cycles from instruction to ``ar``; 2 cycles
from ``r`` to ``write``; ``done`` comes when every lane's last word has been written
(:mod:`hw.scratchpad.last_write`).
On halt, data under way is taken and dropped.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from hw.engine.ports import Engine, EnginePort, SpmWrite, SpmWriter, instruction_layout
from hw.engine.profile import events_layout
from hw.engine.settings import REGIONS
from hw.memory.axi import (LOAD_ID, BurstSplitter, Resp, asked_layout, burst_layout,
                           read_layout)
from hw.memory.beats import Beats
from hw.memory.lane_writer import LaneWriter, write_ports
from hw.memory.lanes import Lanes, Status, tag_layout
from hw.memory.pattern import Pattern
from hw.parts.fifo import Fifo
from isa.config import Config
from isa.instructions import Opcode


class LoadEngine(wiring.Component):
    """Executes LOAD instructions. Throughput: a beat a cycle. Stall: ``r`` is not ready while
    :class:`hw.memory.lane_writer.LaneWriter` has no room.

    Parameters
    ----------
    config : Config
    pattern : Pattern, optional
        Another address generator, for a proof.

    Members
    -------
    instr : stream of ``instruction_layout(Opcode.LOAD)``
        Their waits are satisfied.
    engine : :class:`hw.engine.ports.Engine`
        ``done`` when the scratchpad has accepted all words of the instruction.
    regions : REGIONS
    ar : stream of ``asked_layout(config)``
        ``valid`` may fall without a transfer when the machine halts.
    r : stream of ``read_layout(config)``
        This engine's data only.
    owed : 1
        Not all that was asked for has come.
    held : 1
        As of :class:`hw.core.Core`.
    write : array of ``write_ports(config)`` SpmWrite
    ends : a bit for each port of ``write``
        Its last write of an instruction, if it has one there, is done with this cycle.
    events : events_layout("load")
        At most one bit is set.
    """

    instr: stream.Interface
    engine: EnginePort
    regions: data.View
    ar: stream.Interface
    r: stream.Interface
    owed: Signal
    held: Signal
    write: list[SpmWriter]
    ends: Signal
    events: data.View

    def __init__(self, config: Config, pattern: Pattern | None = None):
        self._config, self._pattern = config, pattern or Pattern(config, Opcode.LOAD)
        super().__init__({
            "instr": In(stream.Signature(instruction_layout(Opcode.LOAD))),
            "engine": Out(Engine()), "regions": In(REGIONS),
            "ar": Out(stream.Signature(asked_layout(config))),
            "r": In(stream.Signature(read_layout(config))), "owed": Out(1),
            "held": In(1), "write": Out(SpmWrite(config)).array(write_ports(config)),
            "ends": Out(write_ports(config)), "events": Out(events_layout("load"))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config, lanes = self._config, Lanes(self._config)
        m.submodules.pattern = pattern = self._pattern
        m.submodules.splitter = splitter = BurstSplitter(config, tag_layout(config))
        m.submodules.flight = flight = Fifo(burst_layout(config, tag_layout(config)),
                                            config.outstanding)
        m.submodules.beats = beats = Beats(config)
        connect(m, flipped(self.instr), pattern.instr)
        connect(m, pattern.runs, splitter.i)
        connect(m, flight.o, beats.i)
        m.submodules.status = status = Status()
        connect(m, status.engine, flipped(self.engine))
        halted, done, taken = Signal(), Signal(), Signal()
        m.d.comb += [
            pattern.regions.eq(self.regions), pattern.halt.eq(halted), halted.eq(status.halted),
            status.bad.eq(pattern.fault), status.bad_code.eq(pattern.fault_code),
            status.bad_index.eq(pattern.fault_index),
            status.start.eq(self.instr.valid & self.instr.ready), status.done.eq(done),
            status.response.eq(taken), status.resp.eq(self.r.payload.resp),
            status.index.eq(beats.o.payload.index), status.together.eq(beats.o.payload.group),
        ]

        # one burst to the memory and into the list of those in flight
        bursts = Signal(range(config.outstanding + 1))
        free, most, goes, ends_one = Signal(), Signal(), Signal(), Signal()
        burst, beat = splitter.o.payload, beats.o.payload
        m.d.comb += [
            free.eq(~halted & flight.i.ready & ~most),
            self.ar.valid.eq(splitter.o.valid & free),
            self.ar.payload.addr.eq(burst.beat << exact_log2(config.bus_bytes)),
            self.ar.payload.len.eq(burst.len), self.ar.payload.user.eq(burst.tag.group),
            splitter.o.ready.eq(self.ar.ready & free),
            goes.eq(self.ar.valid & self.ar.ready), flight.i.valid.eq(goes),
            flight.i.payload.eq(burst),
        ]
        m.d.comb += [taken.eq(self.r.valid & self.r.ready),
                     ends_one.eq(taken & beats.o.valid & beat.last)]
        with m.If(goes ^ ends_one):
            m.d.sync += [bursts.eq(Mux(goes, bursts + 1, bursts - 1)),
                         most.eq(goes & (bursts == config.outstanding - 1)),
                         self.owed.eq(goes | (bursts != 1))]
        r = self.r.payload
        m.d.comb += status.breach.eq(Mux(
            self.owed, taken & ((r.last != beat.last) | (r.id != LOAD_ID)), self.r.valid))

        # data beats into the lanes
        m.submodules.lanes = writer = LaneWriter(config)
        for ours, theirs in zip(self.write, writer.write, strict=True):
            connect(m, theirs, flipped(ours))
        room, gathered = writer.room, writer.lines.data
        m.d.comb += [
            self.r.ready.eq(halted | (beats.o.valid & room)),
            beats.o.ready.eq(self.r.valid & (halted | room)),
            # without regard to what is taken on halt, and to r.ready
            writer.enters.eq(self.r.valid & beats.o.valid & room & ~halted
                             & (self.r.payload.resp < Resp.SLVERR)),
            writer.lines.mask.eq(Mux(beat.part == lanes.beats - 1, beat.mask, 0)),
            writer.lines.spm.eq(beat.spm), writer.lines.last.eq(beat.final),
            done.eq(writer.done), self.ends.eq(writer.ends)]
        if lanes.beats == 1:
            m.d.comb += gathered.eq(self.r.payload.data)
        else:
            keep = Signal(8 * config.bus_bytes * (lanes.beats - 1))
            m.d.comb += gathered.eq(Cat(keep, self.r.payload.data))
            with m.If(taken):
                m.d.sync += keep.eq(gathered >> (8 * config.bus_bytes))
        with m.If(self.r.valid):
            m.d.comb += [self.events.active.eq(taken), self.events.wait_out.eq(~taken)]
        with m.Elif(self.owed | self.ar.valid):
            m.d.comb += [self.events.wait_gang.eq(self.held), self.events.wait_dram.eq(~self.held)]
        with m.Else():
            m.d.comb += self.events.wait_out.eq(writer.blocked)
        return m
