# SPDX-License-Identifier: Apache-2.0
"""The chip control's way to the registers of the cores: reads, and writes that are not waited for.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.engine.ports import view_of
from hw.memory.axi import AXI4Lite, AXIPort
from isa.registers import REGISTER_SPACE_BITS


def access_layout(cores: int) -> data.StructLayout:
    """An access to a register at byte ``offset`` of ``core``; ``data`` of a write."""
    return data.StructLayout({"core": range(cores), "write": 1, "offset": REGISTER_SPACE_BITS,
                              "data": 32})


class LiteMaster(wiring.Component):
    """A core is asked when another one has answered all writes; so does a read wait for its own.
    Latency: of a read as long as the core takes, and three cycles. Throughput: a write in as many
    cycles as the core takes to take it, and one.

    Parameters
    ----------
    cores : int

    Members
    -------
    access : stream of ``access_layout(cores)``
        ``ready`` with the answer of a read, or when the core has taken a write.
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

    WRITES = 7
    """That a core has not answered, at most."""

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        now = view_of(access_layout(self._cores))
        busy, answered, address, word, taken = (Signal(name=n) for n in (
            "busy", "answered", "address", "word", "taken"))
        owed, asked = Signal(range(self.WRITES + 1)), self.access.payload
        came = Cat(port.b.valid for port in self.host).any()
        begins = ~busy & self.access.valid & ~answered & Mux(
            asked.write & (asked.core == now.core), owed != self.WRITES, owed == 0)
        m.d.comb += self.access.ready.eq(answered | taken)
        m.d.sync += [answered.eq(0), owed.eq(owed + (begins & asked.write) - came)]
        with m.If(begins):
            m.d.sync += [now.eq(asked), busy.eq(1), address.eq(1), word.eq(asked.write)]
        with m.If(taken):
            m.d.sync += busy.eq(0)
        for k in range(self._cores):
            port, mine = self.host[k], now.core == k
            m.d.comb += [
                port.aw.payload.eq(now.offset), port.ar.payload.eq(now.offset),
                port.w.payload.data.eq(now.data), port.w.payload.strb.eq(-1),
                port.aw.valid.eq(mine & address & now.write),
                port.ar.valid.eq(mine & address & ~now.write), port.w.valid.eq(mine & word),
                port.b.ready.eq(1), port.r.ready.eq(1)]
            with m.If(mine & busy):
                with m.If(port.aw.ready & now.write | port.ar.ready & ~now.write):
                    m.d.sync += address.eq(0)
                with m.If(port.w.ready):
                    m.d.sync += word.eq(0)
                m.d.comb += taken.eq(now.write & (port.aw.ready | ~address)
                                     & (port.w.ready | ~word))
                with m.If(port.r.valid):
                    m.d.sync += [busy.eq(0), answered.eq(1), self.value.eq(port.r.payload.data)]
        return m
