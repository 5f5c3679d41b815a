# SPDX-License-Identifier: Apache-2.0
"""The reads of a core: instruction fetch and LOAD, which do not wait for one another.

::

    ar ─┬─ LOAD_ID ──► ReadPath ─┬─► r
        └─ FETCH_ID ─► ReadPath ─┘ beat by beat, in turns

Each has room for all the addresses that the core has in flight, so ``ar`` is always ready, however
long one of the two waits.
"""

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.chip.depths import Depths
from hw.chip.read_path import ReadPath, ask_layout, beat_layout
from hw.memory.axi import FETCH_ID, LOAD_ID, address_layout, read_layout
from hw.parts.skid import Skid
from isa.config import Config

IDS = (LOAD_ID, FETCH_ID)
"""Who reads, in the order of the members ``asks`` and ``beats``."""


class CoreReads(wiring.Component):
    """AR and R of a core. Latency: 3 cycles from ``ar`` to ``asks``; from ``beats`` to ``r`` 2, or
    3 if the places are block RAM. Throughput: a beat a cycle.

    Parameters
    ----------
    config : Config
    channels : int
    depths : Depths
        Of each of :data:`IDS`.

    Members
    -------
    ar : stream of ``address_layout(config)``
    r : stream of ``read_layout(config)``
    asks : a stream of ``ask_layout(config)`` for each of :data:`IDS`, for each channel
    beats : a stream of ``beat_layout(config)``, always ready, for each of them
    """

    ar: stream.Interface
    r: stream.Interface
    asks: list[list[stream.Interface]]
    beats: list[list[stream.Interface]]

    def __init__(self, config: Config, channels: int, depths: tuple[Depths, Depths]):
        self._config = config
        self._paths = [ReadPath(config, channels, each) for each in depths]
        super().__init__({
            "ar": In(stream.Signature(address_layout(config))),
            "r": Out(stream.Signature(read_layout(config))),
            "asks": Out(stream.Signature(ask_layout(config))).array(len(IDS), channels),
            "beats": In(stream.Signature(beat_layout(config), always_ready=True)).array(
                len(IDS), channels)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        load, fetch = self._paths
        m.submodules.load, m.submodules.fetch = load, fetch
        m.submodules.r = out = Skid(read_layout(self._config))
        connect(m, out.o, flipped(self.r))
        for k, (axi_id, path) in enumerate(zip(IDS, self._paths, strict=True)):
            m.d.comb += [path.bursts.payload.eq(self.ar.payload),
                         path.bursts.valid.eq(self.ar.valid & self.ar.ready
                                              & (self.ar.payload.id == axi_id))]
            for mine, ours in zip(path.asks, self.asks[k], strict=True):
                connect(m, mine, flipped(ours))
            for mine, ours in zip(path.beats, self.beats[k], strict=True):
                connect(m, flipped(ours), mine)
        # without regard to whose address it is, which comes from the core
        m.d.comb += self.ar.ready.eq(load.bursts.ready & fetch.bursts.ready)

        fetch_first, fetches = Signal(), Signal()
        beat = data.View(fetch.r.p.shape(),
                         Mux(fetches, fetch.r.p.as_value(), load.r.p.as_value()))
        m.d.comb += [
            fetches.eq(fetch.r.valid & (fetch_first | ~load.r.valid)),
            out.i.valid.eq(fetch.r.valid | load.r.valid),
            *(out.i.payload[name].eq(beat[name]) for name in fetch.r.p.shape().members),
            out.i.payload.id.eq(Mux(fetches, FETCH_ID, LOAD_ID)),
            fetch.r.ready.eq(fetches & out.i.ready), load.r.ready.eq(~fetches & out.i.ready)]
        with m.If(out.i.valid & out.i.ready):
            m.d.sync += fetch_first.eq(~fetches)
        return m
