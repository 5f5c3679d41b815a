# SPDX-License-Identifier: Apache-2.0
"""The memory controller: instruction fetch, LOAD and STORE on one AXI master.

::

    fetch.ar ─┐ fair                 ┌─► fetch.r   (by ID)
    load.ar  ─┴────► ar ═══ AXI ═══ r┴─► load.r
    store.aw, w ───► aw, w ════════ b ─► store.b

Reads of the fetch unit and of LOAD have IDs of their own, so that the memory may answer them in any
order relative to one another. Each user of the bus counts what it is owed by what it asked for, not
by what the memory says of it. What comes for one that is owed nothing goes to the other one, if
that is, which then sees an ID that is not its own. What has been put into a register here has been
promised to the bus and stays until the memory takes it, whatever happens to the engines; this is
what lets an engine withdraw a request when the machine halts. ``quiet`` tells when a reset of the
core breaks no handshake.

Every channel goes through two registers, so that no logic lies between the bus and the engines.
Latency: 1 cycle on each channel. Throughput one transfer a cycle on each.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.memory.axi import (AXI4, FETCH_ID, LOAD_ID, RESPONSE, AXIPort, address_layout, asked_layout,
                           read_layout, write_layout)
from hw.parts.delay import delay
from hw.parts.skid import Skid
from isa.config import Config

OWED = data.StructLayout({"fetch": 1, "load": 1, "store": 1})
"""A bit for each user of the bus."""


class MemoryController(wiring.Component):
    """Shares the AXI master.

    Parameters
    ----------
    config : Config

    Members
    -------
    fetch_ar : stream of ``address_layout(config)``
    load_ar : stream of ``asked_layout(config)``
        Taken in turns when both ask.
    fetch_r, load_r : stream of ``read_layout(config)``
    store_aw, store_w, store_b : streams
    owed : OWED
        Whose bursts the memory has not answered to the end, from the cycle after that in which
        their address was taken here; from flip-flops.
    bus : :class:`hw.memory.axi.AXI4`
    moved : 1
        Something was handed over on the bus, in a cycle before.
    quiet : 1
        Nothing is promised to, or expected from, the memory.
    """

    fetch_ar: stream.Interface
    fetch_r: stream.Interface
    load_ar: stream.Interface
    load_r: stream.Interface
    store_aw: stream.Interface
    store_w: stream.Interface
    store_b: stream.Interface
    owed: data.View
    bus: AXIPort
    moved: Signal
    quiet: Signal

    def __init__(self, config: Config):
        address = stream.Signature(address_layout(config))
        read = stream.Signature(read_layout(config))
        super().__init__({
            "fetch_ar": In(address), "fetch_r": Out(read),
            "load_ar": In(stream.Signature(asked_layout(config))), "load_r": Out(read),
            "store_aw": In(address), "store_w": In(stream.Signature(write_layout(config))),
            "store_b": Out(stream.Signature(RESPONSE)),
            "owed": In(OWED), "bus": Out(AXI4(config)), "moved": Out(1), "quiet": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        bus = self.bus
        for name, source, sink in (("aw", self.store_aw, bus.aw), ("w", self.store_w, bus.w),
                                   ("b", bus.b, self.store_b)):
            stage = m.submodules[name] = Skid(source.p.shape())
            connect(m, flipped(source), stage.i)
            connect(m, stage.o, flipped(sink))
        self._read_addresses(m)

        m.submodules.r = arrived = Skid(bus.r.p.shape())
        connect(m, flipped(bus.r), arrived.i)
        beat = arrived.o
        to_fetch = Mux(beat.payload.id == FETCH_ID, self.owed.fetch | ~self.owed.load,
                       self.owed.fetch & ~self.owed.load)
        for r, chosen in ((self.fetch_r, to_fetch), (self.load_r, ~to_fetch)):
            m.d.comb += [r.payload.eq(beat.payload), r.valid.eq(beat.valid & chosen)]
            with m.If(chosen):
                m.d.comb += beat.ready.eq(r.ready)

        owing = self.owed.as_value().any()
        m.d.comb += self.quiet.eq(~(owing | delay(m, owing, 2, "owing")))
        m.d.sync += self.moved.eq(Cat(
            channel.valid & channel.ready for channel in (bus.aw, bus.w, bus.b, bus.ar, bus.r)
        ).any())
        return m

    def _read_addresses(self, m: Module) -> None:
        m.submodules.ar = stage = Skid(self.bus.ar.p.shape())
        connect(m, stage.o, flipped(self.bus.ar))
        # whose turn it is follows from who asked in the cycle before
        fetch_now, into = Signal(), stage.i
        with m.If(~into.valid | into.ready):
            m.d.sync += fetch_now.eq(self.fetch_ar.valid & (~self.load_ar.valid | ~fetch_now))
        with m.If(fetch_now):
            m.d.comb += [stage.i.payload.addr.eq(self.fetch_ar.payload.addr),
                         stage.i.payload.len.eq(self.fetch_ar.payload.len),
                         stage.i.payload.id.eq(FETCH_ID),
                         stage.i.valid.eq(self.fetch_ar.valid),
                         self.fetch_ar.ready.eq(stage.i.ready)]
        with m.Else():
            m.d.comb += [stage.i.payload.eq(self.load_ar.payload),
                         stage.i.payload.id.eq(LOAD_ID),
                         stage.i.valid.eq(self.load_ar.valid),
                         self.load_ar.ready.eq(stage.i.ready)]
