# SPDX-License-Identifier: Apache-2.0
"""The chip control's way to the registers of the cores: reads, and writes that are not waited for.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.engine.ports import view_of
from hw.memory.axi import AXI4Lite, AXIPort
from hw.parts.fifo import Fifo
from isa.registers import REGISTER_SPACE_BITS

QUEUED, OWED = 8, 7
"""Writes that wait for their turn, and those that a core has not answered, at most."""

PENDING = QUEUED + OWED
"""Writes that were taken from the chip control and may not have been done yet."""


def access_layout(cores: int) -> data.StructLayout:
    """An access to a register at byte ``offset`` of ``core``; ``data`` of a write."""
    return data.StructLayout({"core": range(cores), "write": 1, "offset": REGISTER_SPACE_BITS,
                              "data": 32})


class LiteMaster(wiring.Component):
    """Accesses are done in their order. A core is asked when another one has answered all writes;
    so does a read wait for its own. Latency: of a read as long as the core takes, and three cycles.
    Throughput: a write in as many cycles as the core takes to take it, and one.

    Parameters
    ----------
    cores : int

    Members
    -------
    access : stream of ``access_layout(cores)``
        ``ready`` with the answer of a read, or when there is room for a write.
    value : 32
        What a read gave, with ``access.ready``.
    host : array of :class:`hw.memory.axi.AXI4Lite`
        To the cores.
    """

    access: stream.Interface
    value: Signal
    host: list[AXIPort]

    def __init__(self, cores: int):
        self._cores = cores
        super().__init__({"access": In(stream.Signature(access_layout(cores))), "value": Out(32),
                          "host": Out(AXI4Lite()).array(cores)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        now, asked = (view_of(access_layout(self._cores)) for _ in range(2))
        busy, answered, begins = Signal(), Signal(), Signal()
        owed = Signal(range(OWED + 1))
        came = Cat(port.b.valid for port in self.host).any()
        writes = self._writes(m, answered)
        read = self.access.valid & ~self.access.payload.write & ~answered
        m.d.comb += [
            asked.eq(Mux(writes.valid, writes.payload, self.access.payload)),
            begins.eq(~busy & Mux(
                writes.valid, Mux(asked.core == now.core, owed != OWED, owed == 0),
                read & (owed == 0))),
            writes.ready.eq(begins)]
        m.d.sync += [answered.eq(0), owed.eq(owed + (begins & asked.write) - came)]
        with m.If(begins):
            m.d.sync += [now.eq(asked), busy.eq(1)]
        self._ask(m, now, begins, busy, answered)
        return m

    def _writes(self, m: Module, answered: Signal) -> stream.Interface:
        """Those that wait for their turn."""
        m.submodules.queue = queue = Fifo(access_layout(self._cores), QUEUED)
        write = self.access.payload.write
        m.d.comb += [
            queue.i.payload.eq(self.access.payload), queue.i.valid.eq(self.access.valid & write),
            self.access.ready.eq(Mux(write, queue.i.ready, answered))]
        return queue.o

    def _ask(self, m: Module, now: data.View, begins: Signal, busy: Signal, answered: Signal
             ) -> None:
        """The access at hand, until its core has taken the write or answered the read."""
        address, word = Signal(), Signal()
        with m.If(begins):
            m.d.sync += [address.eq(1), word.eq(1)]
        for k, port in enumerate(self.host):
            mine = now.core == k
            m.d.comb += [
                port.aw.payload.eq(now.offset), port.ar.payload.eq(now.offset),
                port.w.payload.data.eq(now.data), port.w.payload.strb.eq(-1),
                port.aw.valid.eq(mine & busy & address & now.write),
                port.ar.valid.eq(mine & busy & address & ~now.write),
                port.w.valid.eq(mine & busy & word & now.write),
                port.b.ready.eq(1), port.r.ready.eq(1)]
            with m.If(mine & busy):
                with m.If(port.aw.ready & now.write | port.ar.ready & ~now.write):
                    m.d.sync += address.eq(0)
                with m.If(port.w.ready):
                    m.d.sync += word.eq(0)
                with m.If(now.write & (port.aw.ready | ~address) & (port.w.ready | ~word)):
                    m.d.sync += busy.eq(0)
                with m.If(port.r.valid):
                    m.d.sync += [busy.eq(0), answered.eq(1), self.value.eq(port.r.payload.data)]
