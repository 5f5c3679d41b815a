# SPDX-License-Identifier: Apache-2.0
"""The reads of a core: instruction fetch and LOAD, which do not wait for one another.

::

    ar ─┬─ LOAD_ID ──► ReadPath ─┬─► r
        └─ FETCH_ID ─► ReadPath ─┘ beat by beat, in turns

Either may be that of a group of cores (:mod:`hw.chip.meeting`): LOADs that say so, and
instruction fetch while the core fetches ``together`` with its gang.

Each has room for all the addresses that the core has in flight, so ``ar`` is always ready, however
long one of the two waits.
"""

from itertools import chain

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.chip.depths import Depths
from hw.chip.read_path import ReadPath, ask_layout, beat_layout
from hw.memory.axi import FETCH_ID, LOAD_ID, asked_layout, read_layout
from hw.parts.skid import Skid
from isa.config import Config

IDS = (LOAD_ID, FETCH_ID)
"""Who reads, in the order of the members ``asks`` and ``beats``; behind them, the same in groups.
"""


def kinds(groups: int) -> int:
    """Kinds of reads of a core."""
    return len(IDS) * (1 + (groups > 0))


class CoreReads(wiring.Component):
    """AR and R of a core. Latency: 3 cycles from ``ar`` to ``asks``; from ``beats`` to ``r`` 2, or
    3 if the places are block RAM. Throughput: a beat a cycle.

    Parameters
    ----------
    config : Config
    channels : int
    depths : Depths
        Of each of :data:`IDS`.
    groups : int

    Members
    -------
    ar : stream of ``asked_layout(config)``
    gang : range(groups + 1)
        The group of the core, from 1 on; 0: none.
    together : 1
        It fetches with them.
    r : stream of ``read_layout(config)``
    asks : a stream of ``ask_layout(config, groups)`` for each of ``kinds(groups)``, for each
        channel
    beats : a stream of ``beat_layout(config)``, always ready, for each of them
    """

    ar: stream.Interface
    gang: Signal
    together: Signal
    r: stream.Interface
    asks: list[list[stream.Interface]]
    beats: list[list[stream.Interface]]

    def __init__(self, config: Config, channels: int, depths: tuple[Depths, Depths],
                 groups: int = 0):
        self._config, self._channels = config, channels
        self._paths = [ReadPath(config, channels, each, groups) for each in depths]
        super().__init__({
            "ar": In(stream.Signature(asked_layout(config))), "gang": In(range(groups + 1)),
            "together": In(1), "r": Out(stream.Signature(read_layout(config))),
            "asks": Out(stream.Signature(ask_layout(config, groups))).array(
                kinds(groups), channels),
            "beats": In(stream.Signature(beat_layout(config), always_ready=True)).array(
                kinds(groups), channels)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        load, fetch = self._paths
        m.submodules.load, m.submodules.fetch = load, fetch
        m.submodules.r = out = Skid(read_layout(self._config))
        connect(m, out.o, flipped(self.r))
        shared = (self.ar.payload.user, self.together)
        for axi_id, path, in_group in zip(IDS, self._paths, shared, strict=True):
            burst = path.bursts.payload
            m.d.comb += [burst.addr.eq(self.ar.payload.addr), burst.len.eq(self.ar.payload.len),
                         burst.tag.eq(Mux(in_group, self.gang, 0)),
                         path.bursts.valid.eq(self.ar.valid & self.ar.ready
                                              & (self.ar.payload.id == axi_id))]
        # of each path those alone, then of each path those in groups
        lanes = [(path, k) for at in range(0, len(load.asks), self._channels)
                 for path in self._paths for k in range(at, at + self._channels)]
        for (path, k), asks, beats in zip(lanes, chain(*self.asks), chain(*self.beats),
                                          strict=True):
            connect(m, path.asks[k], flipped(asks))
            connect(m, flipped(beats), path.beats[k])
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
