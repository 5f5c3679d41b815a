# SPDX-License-Identifier: Apache-2.0
"""The SEND engine: copies from the scratchpad to those of other cores, and signals.

::

    instr ─┬─► as a STORE into a region that is a scratchpad ─► StoreEngine ─► addresses ─┬─► post
           └─► for whom, and the signal, a FIFO ──────────────────────────────────────────┘
                                                                          data ─► w     b ─► done

A SIGNAL comes as an XFER all of whose counts are zero: it goes as a beat of which no word counts.
An XFER is complete, and so is a SIGNAL, when all bursts have been answered.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from hw.engine.ports import Engine, EnginePort, SpmRead, SpmReader, instruction_layout
from hw.engine.profile import events_layout
from hw.exchange.ports import beat_bits, post_layout
from hw.memory.axi import RESPONSE, write_layout
from hw.memory.lanes import Lanes
from hw.memory.store import StoreEngine
from hw.parts.fifo import Fifo
from isa.config import Config
from isa.instructions import Fault, Opcode, Region

COUNTS = ("n0", "n1", "n2", "n3")


class SendEngine(wiring.Component):
    """Executes XFER and SIGNAL instructions. Latency and throughput: as
    :class:`hw.memory.store.StoreEngine`.

    Parameters
    ----------
    config : Config

    Members
    -------
    instr : stream of ``instruction_layout(Opcode.XFER)``
        Their waits are satisfied.
    engine : :class:`hw.engine.ports.Engine`
    post : stream of ``post_layout(config)``
    w : stream of ``write_layout(config)``
    b : stream of ``RESPONSE``
        DECERR: whom it was for is not in the gang.
    owed : 1
        Not all bursts have been answered.
    read : array of ``Lanes(config).words`` SpmRead
    events : events_layout("send")
        At most one bit is set.
    """

    INSTRUCTIONS = 32
    """Taken, with an address that has not gone out: more than the engine holds."""

    instr: stream.Interface
    engine: EnginePort
    post: stream.Interface
    w: stream.Interface
    b: stream.Interface
    owed: Signal
    read: list[SpmReader]
    events: data.View

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "instr": In(stream.Signature(instruction_layout(Opcode.XFER))),
            "engine": Out(Engine()), "post": Out(stream.Signature(post_layout(config))),
            "w": Out(stream.Signature(write_layout(config))), "b": In(stream.Signature(RESPONSE)),
            "owed": Out(1), "read": Out(SpmRead(config)).array(Lanes(config).words),
            "events": Out(events_layout("send"))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.store = store = StoreEngine(self._config)
        connect(m, store.w, flipped(self.w))
        connect(m, flipped(self.b), store.b)
        for outer, port in zip(self.read, store.read, strict=True):
            connect(m, port, flipped(outer))
        m.d.comb += [
            self.events.wait_gang.eq(store.events.wait_dram),
            *(self.events[n].eq(store.events[n]) for n in ("active", "wait_data", "wait_out"))]
        engine, inner = self.engine, store.engine
        m.d.comb += [
            self.owed.eq(store.owed), inner.halt.eq(engine.halt), engine.start.eq(inner.start),
            engine.done.eq(inner.done), engine.busy.eq(inner.busy), engine.fault.eq(inner.fault),
            engine.fault_index.eq(inner.fault_index), engine.fault_code.eq(inner.fault_code)]
        for theirs, ours in ((Fault.DRAM_RANGE, Fault.SPM_RANGE),
                             (Fault.AXI_DECERR, Fault.BAD_FIELD)):
            with m.If(inner.fault_code == theirs):
                m.d.comb += engine.fault_code.eq(ours)
        self._send(m, store, self._take(m, store))
        return m

    def _take(self, m: Module, store: StoreEngine) -> stream.Interface:
        """An instruction into the engine; returns for whom they are, and what they signal."""
        config, i, of = self._config, self.instr.payload, store.instr.payload
        word, empty = exact_log2(config.word_bytes), Signal()
        names = ("to", "signal", "counter")
        m.submodules.whom = whom = Fifo(data.StructLayout(
            {**{name: i[name].shape() for name in names}, "empty": 1}), self.INSTRUCTIONS)
        m.d.comb += [
            empty.eq(~Cat(i[n] for n in COUNTS).any()),
            store.instr.valid.eq(self.instr.valid & whom.i.ready),
            self.instr.ready.eq(store.instr.ready & whom.i.ready),
            whom.i.valid.eq(self.instr.valid & store.instr.ready),
            *(whom.i.payload[name].eq(i[name]) for name in names),
            whom.i.payload.signal.eq(i.signal | empty), whom.i.payload.empty.eq(empty),
            of.region.eq(Region.WORKSPACE), of.dram.eq(i.peer << word), of.spm.eq(i.spm),
            of.index.eq(i.index), *(of[n].eq(Mux(empty, 1, i[n])) for n in COUNTS)]
        for k in (1, 2, 3):
            m.d.comb += [of[f"dram_stride{k}"].eq(i[f"peer_stride{k}"] << word),
                         of[f"spm_stride{k}"].eq(i[f"spm_stride{k}"])]
        m.d.comb += [store.regions[Region.WORKSPACE].size.eq(config.spm_bytes)]
        return whom.o

    def _send(self, m: Module, store: StoreEngine, whom: stream.Interface) -> None:
        """The addresses, with whom they are for."""
        aw, p = store.aw, self.post.payload
        m.d.comb += [
            self.post.valid.eq(aw.valid), aw.ready.eq(self.post.ready),
            p.at.eq(aw.payload.addr >> beat_bits(self._config)), p.len.eq(aw.payload.len),
            p.to.eq(whom.payload.to), p.empty.eq(whom.payload.empty),
            p.counter.eq(whom.payload.counter), p.signal.eq(whom.payload.signal & store.final),
            whom.ready.eq(self.post.valid & self.post.ready & store.final)]
