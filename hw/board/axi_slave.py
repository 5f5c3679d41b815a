# SPDX-License-Identifier: Apache-2.0
"""The machine's AXI4 master in front of a memory port of beats.

::

    ar ─► read burst ──┐                 ┌─► tags ─┐
                       ├─► beats.request │         ├─► r
    aw ─► write burst ─┤                 answers ──┘
    w  ────────────────┘        b ◄─ last beat of a write is taken

Bursts are INCR, of full beats, and within the address space's 4 KiB blocks, as :mod:`hw.memory.axi`
makes them. Reads and writes alternate burst by burst when both are there, and nobody waits for
write data that are not there. The memory works in order, so that a write is answered when its last
beat is taken. Addresses behind the memory's end answer DECERR and change nothing.
"""

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.board.beats import BEAT_BITS, BEAT_BYTES, Beats, BeatsPort
from hw.engine.ports import view_of
from hw.memory.axi import AXI4, LEN_BITS, AXIPort, Resp
from hw.parts.fifo import Fifo
from isa.config import Config, ConfigError


def check_bus(config: Config) -> None:
    """Raises ConfigError if a machine's bus is not as wide as a beat."""
    if config.bus_bytes != BEAT_BYTES:
        raise ConfigError(f"configuration {config.name!r} has a bus of {config.bus_bytes} bytes, "
                          f"but the board's memory takes {BEAT_BYTES}: set bus_bytes to "
                          f"{BEAT_BYTES}")


class AxiSlave(wiring.Component):
    """AXI4 to beats.

    Latency: two cycles from an address to the first request, one from an answer to its beat.
    Throughput: a beat a cycle, and a cycle between bursts of one direction.

    Parameters
    ----------
    config : Config
        The machine.
    beat_bits : int
        Width of a beat's address in the memory.

    Members
    -------
    bus : :class:`hw.memory.axi.AXI4`, as the slave
    beats : :class:`hw.board.beats.Beats`

    Raises
    ------
    ConfigError
        If the machine's bus is not as wide as a beat.
    """

    READS = 16
    """Beats that are asked for and not handed over, at most."""

    bus: AXIPort
    beats: BeatsPort

    def __init__(self, config: Config, beat_bits: int):
        check_bus(config)
        self._config, self._beat_bits = config, beat_bits
        super().__init__({"bus": In(AXI4(config)), "beats": Out(Beats(beat_bits))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        bus, request = self.bus, self.beats.request
        read, write = self._burst(m, "read"), self._burst(m, "write")
        tag = data.StructLayout({"id": 1, "resp": 2, "last": 1})
        m.submodules.tags = tags = Fifo(tag, self.READS)
        m.submodules.answers = answers = Fifo(BEAT_BITS, self.READS)

        favor_write, to_write, can_read, can_write = Signal(), Signal(), Signal(), Signal()
        burst = data.View(read.shape(), Mux(to_write, write.as_value(), read.as_value()))
        taken, last = Signal(), Signal()
        m.d.comb += [
            can_read.eq(read.active & tags.i.ready), can_write.eq(write.active & bus.w.valid),
            to_write.eq(can_write & (favor_write | ~can_read)), last.eq(burst.left == 0),
            request.valid.eq(can_read | can_write), taken.eq(request.valid & request.ready),
            request.payload.write.eq(to_write), request.payload.beat.eq(burst.beat),
            request.payload.data.eq(bus.w.payload.data),
            request.payload.strb.eq(Mux(burst.resp == 0, bus.w.payload.strb, 0)),
            bus.w.ready.eq(taken & to_write),
            tags.i.valid.eq(taken & ~to_write), tags.i.payload.id.eq(read.id),
            tags.i.payload.resp.eq(read.resp), tags.i.payload.last.eq(last)]
        with m.If(taken):
            m.d.sync += favor_write.eq(to_write ^ last)
        for name, state in (("read", read), ("write", write)):
            with m.If(taken & (to_write == (name == "write"))):
                m.d.sync += [state.beat.eq(state.beat + 1), state.left.eq(state.left - 1),
                             state.active.eq(~last)]
        self._accept(m, bus.ar, read, ~read.active)
        self._accept(m, bus.aw, write, ~write.active & ~bus.b.valid)

        with m.If(taken & to_write & last):
            m.d.sync += [bus.b.valid.eq(1), bus.b.payload.id.eq(write.id),
                         bus.b.payload.resp.eq(write.resp)]
        with m.Elif(bus.b.ready):
            m.d.sync += bus.b.valid.eq(0)
        m.d.comb += [
            answers.i.payload.eq(self.beats.answer.data),
            answers.i.valid.eq(self.beats.answer.valid),
            bus.r.valid.eq(answers.o.valid), answers.o.ready.eq(bus.r.ready),
            tags.o.ready.eq(bus.r.ready & answers.o.valid),
            bus.r.payload.data.eq(answers.o.payload), bus.r.payload.id.eq(tags.o.payload.id),
            bus.r.payload.resp.eq(tags.o.payload.resp),
            bus.r.payload.last.eq(tags.o.payload.last)]
        return m

    def _burst(self, m: Module, name: str) -> data.View:
        """A burst under way: its next beat, and the beats behind that one."""
        return view_of(data.StructLayout({"active": 1, "id": 1, "beat": self._beat_bits,
                                          "left": LEN_BITS, "resp": 2}), name=name)

    def _accept(self, m: Module, address: stream.Interface, burst: data.View, free: Signal
                ) -> None:
        first = exact_log2(BEAT_BYTES)
        end = first + self._beat_bits
        p = address.payload
        m.d.comb += address.ready.eq(free)
        with m.If(address.valid & address.ready):
            m.d.sync += [burst.active.eq(1), burst.id.eq(p.id), burst.left.eq(p.len),
                         burst.beat.eq(p.addr[first:end]),
                         burst.resp.eq(Mux(p.addr[end:].any(), Resp.DECERR, 0))]
