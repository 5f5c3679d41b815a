# SPDX-License-Identifier: Apache-2.0
"""The reads of one kind of a core: every beat has its place.

::

    bursts ─► FIFO ─► Cut ─┬─► order: channel, last piece ─────────────────────┐
                           │                                                   ▼
                           └─► a FIFO a channel ─► asks   beats ─► a FIFO a channel ─► r

A piece is asked for when the FIFO of its channel has places for all of its beats, which are its own
from then on. So whatever a channel sends is taken at once, no channel waits for another, and a core
that does not take its data holds up nobody but itself. Beats go to the core in the order of its
bursts, whichever channel is first.

What a core reads together with others (:mod:`hw.chip.meeting`) has places of its own, as if it came
from channels of their own: the memory may answer it before or after what the core reads alone. So a
path has a *lane* for each channel, and for groups another one.
"""

from amaranth.hdl import Assert, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.chip.depths import Depths
from hw.chip.interleave import Cut, channel_of, whole_layout
from hw.memory.axi import LEN_BITS
from hw.parts.choice import one_of
from hw.parts.fifo import Fifo
from isa.config import Config


def ask_layout(config: Config, groups: int) -> data.StructLayout:
    """A piece that a channel is asked for: ``len`` beats minus one; the ``group`` that asks, from 1
    on, or 0."""
    return data.StructLayout({"addr": config.addr_bits, "len": LEN_BITS,
                              "group": range(groups + 1)})


def beat_layout(config: Config) -> data.StructLayout:
    """A beat of data; ``last`` of its piece, or of its burst on the way to the core."""
    return data.StructLayout({"data": 8 * config.bus_bytes, "resp": 2, "last": 1})


class ReadPath(wiring.Component):
    """Reads of one ID. Latency: 3 cycles from a burst to ``asks``; from ``beats`` to ``r`` that of
    a FIFO of ``depths.beats``, 1 or 2. Throughput: a piece a cycle, a beat a cycle. Stall: a piece
    waits for places of its beats, and with it those behind it.

    Parameters
    ----------
    config : Config
    channels : int
    depths : Depths
        ``beats`` is that of a lane.
    groups : int
        That there are.

    Members
    -------
    bursts : stream of ``whole_layout(config, range(groups + 1))``
        The tag is the group.
    asks : a stream of ``ask_layout(config, groups)`` for each lane
        Those of the channels, and, if there are groups, behind them those for groups.
    beats : a stream of ``beat_layout(config)`` for each lane, always ready
        Of what was asked there, in that order.
    r : stream of ``beat_layout(config)``
    """

    WAIT = 2
    """Pieces that wait for a channel while those behind them go to another one."""

    bursts: stream.Interface
    asks: list[stream.Interface]
    beats: list[stream.Interface]
    r: stream.Interface

    def __init__(self, config: Config, channels: int, depths: Depths, groups: int = 0):
        self._config, self._channels, self._depths = config, channels, depths
        self._groups, self._lanes = groups, channels * (1 + (groups > 0))
        beat = beat_layout(config)
        super().__init__({
            "bursts": In(stream.Signature(whole_layout(config, range(groups + 1)))),
            "asks": Out(stream.Signature(ask_layout(config, groups))).array(self._lanes),
            "beats": In(stream.Signature(beat, always_ready=True)).array(self._lanes),
            "r": Out(stream.Signature(beat))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config, depths = self._config, self._depths
        m.submodules.bursts = bursts = Fifo(self.bursts.p.shape(), depths.bursts)
        m.submodules.cut = cut = Cut(config, range(self._groups + 1))
        m.submodules.order = order = Fifo(
            data.StructLayout({"lane": range(self._lanes), "last": 1}), depths.pieces,
            registered=True)
        connect(m, flipped(self.bursts), bursts.i)
        connect(m, bursts.o, cut.i)
        piece, head, r = cut.o.payload, order.o.payload, self.r
        lane = Cat(channel_of(piece.addr, self._channels),
                   (piece.tag != 0) if self._groups else ())
        goes = Signal()
        m.d.comb += [
            cut.o.ready.eq(goes), order.i.valid.eq(goes), order.i.payload.lane.eq(lane),
            order.i.payload.last.eq(piece.last)]
        free, landed, mine = [], [], []
        for k in range(self._lanes):
            to, at = Signal(name=f"to{k}"), Signal(name=f"at{k}")
            m.d.comb += [to.eq(lane == k), at.eq(order.o.valid & (head.lane == k))]
            room, beat = self._lane(m, k, piece, to & goes, at & r.ready)
            free.append(to & room)
            landed.append(beat)
            mine.append(at)
        chosen = data.View(r.p.shape(), one_of(mine, [beat.p.as_value() for beat in landed]))
        m.d.comb += [
            goes.eq(cut.o.valid & order.i.ready & Cat(free).any()),
            r.valid.eq(Cat(at & beat.valid for at, beat in zip(mine, landed, strict=True)).any()),
            r.payload.eq(chosen), r.payload.last.eq(chosen.last & head.last),
            order.o.ready.eq(r.valid & r.ready & chosen.last)]
        return m

    def _lane(self, m: Module, k: int, piece: data.View, goes: Value, take: Value
              ) -> tuple[Signal, stream.Interface]:
        """What is asked in a lane, and what comes. Returns whether the piece at hand has room
        there, and the beats that have landed."""
        depth, beats = self._depths.beats, self.beats[k]
        m.submodules[f"ask{k}"] = ask = Fifo(self.asks[k].p.shape(), self.WAIT)
        m.submodules[f"land{k}"] = land = Fifo(beats.p.shape(), depth)
        connect(m, ask.o, flipped(self.asks[k]))
        free = Signal(range(depth + 1), init=depth, name=f"free{k}")
        room, given = Signal(name=f"room{k}"), Signal(name=f"given{k}")
        m.d.comb += [
            room.eq(ask.i.ready & (free > piece.len)), ask.i.valid.eq(goes),
            ask.i.payload.addr.eq(piece.addr), ask.i.payload.len.eq(piece.len),
            ask.i.payload.group.eq(piece.tag),
            land.i.valid.eq(beats.valid), land.i.payload.eq(beats.payload),
            land.o.ready.eq(take), given.eq(take & land.o.valid)]
        m.d.sync += [
            free.eq(free - Mux(goes, piece.len + 1, 0) + given),
            Assert(~land.i.valid | land.i.ready, "a beat has no place")]
        return room, land.o
