# SPDX-License-Identifier: Apache-2.0
"""What other cores send, on its way into the scratchpad."""

from amaranth.hdl import Assert, Elaboratable, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.engine.ports import SpmWrite, SpmWriter
from hw.exchange.ports import COUNTER, landing_layout
from hw.memory.lane_writer import LaneWriter, lines_layout, write_ports
from hw.parts.fifo import Fifo
from isa.config import Config


class Landing(wiring.Component):
    """Latency: 3 cycles from ``land`` to ``write``; ``landed`` comes when the scratchpad has all
    words of a burst. Throughput: a beat a cycle. Stall: as
    :class:`hw.memory.lane_writer.LaneWriter`.

    Parameters
    ----------
    config : Config

    Members
    -------
    land : stream of ``landing_layout(config)``
    landed : 1
        Strobe: of the next burst all words are in the scratchpad.
    rises : 1
        Strobe, with ``landed``: it was a signal, of ``counter``.
    counter : COUNTER
    write : array of ``write_ports(config)`` SpmWrite
    """

    BURSTS = 32
    """Ends of bursts under way: more than the writer holds beats."""

    land: stream.Interface
    landed: Signal
    rises: Signal
    counter: Signal
    write: list[SpmWriter]

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "land": In(stream.Signature(landing_layout(config))), "landed": Out(1),
            "rises": Out(1), "counter": Out(COUNTER),
            "write": Out(SpmWrite(config)).array(write_ports(config))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.writer = writer = LaneWriter(self._config)
        m.submodules.ends = ends = Fifo(data.StructLayout({"signal": 1, "counter": COUNTER}),
                                        self.BURSTS)
        for ours, theirs in zip(self.write, writer.write, strict=True):
            connect(m, theirs, flipped(ours))
        beat, lines = self.land.payload, lines_layout(self._config).members
        m.d.comb += [
            self.land.ready.eq(writer.room), writer.enters.eq(self.land.valid & writer.room),
            *(writer.lines[name].eq(beat[name]) for name in lines),
            ends.i.valid.eq(writer.enters & beat.last), ends.i.payload.signal.eq(beat.signal),
            ends.i.payload.counter.eq(beat.counter), ends.o.ready.eq(writer.done),
            self.landed.eq(writer.done), self.counter.eq(ends.o.payload.counter),
            self.rises.eq(writer.done & ends.o.payload.signal)]
        m.d.sync += [Assert(~ends.i.valid | ends.i.ready, "the end of a burst has no place"),
                     Assert(~writer.done | ends.o.valid, "a burst landed that never came")]
        return m
