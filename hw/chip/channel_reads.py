# SPDX-License-Identifier: Apache-2.0
"""The reads of a channel: whose burst is next, and whose beats come back.

::

    asks of each core: LOAD ─┬─ in turns ─┐
                       fetch ┘            ├─ cores in turns ─► ar   (ID: who asked)
                       ...               ─┘
    r ─► register ─► beats of whom the ID names

The cores take turns burst by burst, and in a core its two kinds of reads do. What a core asks for
here has places, so ``r`` is always ready. The memory may answer different IDs in any order, beats
of different bursts mixed.
"""

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from hw.chip.core_reads import IDS
from hw.chip.read_path import ask_layout, beat_layout
from hw.memory.axi import ID_BITS, address_layout, read_layout
from hw.parts.choice import one_of, turns
from hw.parts.delay import later
from hw.parts.skid import Skid
from isa.config import Config


def owner_layout(cores: int) -> data.StructLayout:
    """The ID on a channel: the ID that the core gave, and the number of the core."""
    return data.StructLayout({"id": ID_BITS, "core": ceil_log2(cores)})


class ChannelReads(wiring.Component):
    """AR and R of a channel. Latency: a cycle each way. Throughput: a burst and a beat a cycle.
    A core that keeps asking is passed over for a burst of each other core at most, each of its two
    kinds of reads for one more of the other before that.

    Parameters
    ----------
    config : Config
    cores : int

    Members
    -------
    asks : for each core, a stream of ``ask_layout(config)`` for each of :data:`IDS`
    beats : for each core, a stream of ``beat_layout(config)``, always ready, for each of them
    ar : stream of ``address_layout(config)`` with an ID of ``owner_layout(cores)``
    r : stream of ``read_layout(config)`` with such an ID; always ready
    """

    asks: list[list[stream.Interface]]
    beats: list[list[stream.Interface]]
    ar: stream.Interface
    r: stream.Interface

    def __init__(self, config: Config, cores: int):
        self._config, self._cores = config, cores
        self._owner = owner_layout(cores)
        super().__init__({
            "asks": In(stream.Signature(ask_layout(config))).array(cores, len(IDS)),
            "beats": Out(stream.Signature(beat_layout(config), always_ready=True)).array(
                cores, len(IDS)),
            "ar": Out(stream.Signature(address_layout(config, self._owner.size))),
            "r": In(stream.Signature(read_layout(config, self._owner.size)))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        self._addresses(m)
        came = later(m, self.r.payload, 1, "came")
        there = Signal()
        m.d.sync += there.eq(self.r.valid)
        m.d.comb += self.r.ready.eq(1)
        owner = data.View(self._owner, came.id)
        for core, kinds in enumerate(self.beats):
            for axi_id, beat in zip(IDS, kinds, strict=True):
                m.d.comb += [
                    beat.valid.eq(there & (owner.core == core) & (owner.id == axi_id)),
                    *(beat.payload[name].eq(came[name]) for name in beat.payload.shape().members)]
        return m

    def _addresses(self, m: Module) -> None:
        m.submodules.ar = out = Skid(self.ar.p.shape())
        connect(m, out.o, flipped(self.ar))
        chosen = data.View(self._owner, out.i.payload.id)
        asks, kinds, bursts = Signal(self._cores), [], []
        goes = out.i.valid & out.i.ready
        who = turns(m, "core", asks, goes)
        for core, (load, fetch) in enumerate(self.asks):
            # of the two the one that was not the last, if both ask
            fetch_first, fetches = (Signal(name=f"{n}{core}") for n in ("fetch_first", "fetches"))
            mine = who[core] & out.i.ready
            m.d.comb += [
                fetches.eq(fetch.valid & (fetch_first | ~load.valid)),
                asks[core].eq(load.valid | fetch.valid),
                load.ready.eq(mine & ~fetches), fetch.ready.eq(mine & fetches)]
            with m.If(mine):
                m.d.sync += fetch_first.eq(~fetches)
            kinds.append(Mux(fetches, IDS[1], IDS[0]))
            bursts.append(Mux(fetches, fetch.p.as_value(), load.p.as_value()))
        ask = data.View(self.asks[0][0].p.shape(), one_of(who, bursts))
        m.d.comb += [
            out.i.valid.eq(asks.any()), out.i.payload.addr.eq(ask.addr),
            out.i.payload.len.eq(ask.len), chosen.id.eq(one_of(who, kinds)),
            chosen.core.eq(one_of(who, range(self._cores)))]
