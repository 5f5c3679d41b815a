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
"""

from amaranth.hdl import Assert, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.chip.depths import Depths
from hw.chip.interleave import Cut, channel_of
from hw.memory.axi import LEN_BITS, address_layout
from hw.parts.choice import one_of
from hw.parts.fifo import Fifo
from isa.config import Config


def ask_layout(config: Config) -> data.StructLayout:
    """A piece that a channel is asked for; ``len`` beats minus one."""
    return data.StructLayout({"addr": config.addr_bits, "len": LEN_BITS})


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

    Members
    -------
    bursts : stream of ``address_layout(config)``
    asks : a stream of ``ask_layout(config)`` for each channel
    beats : a stream of ``beat_layout(config)`` for each channel, always ready
        Of what was asked there, in that order.
    r : stream of ``beat_layout(config)``
    """

    WAIT = 2
    """Pieces that wait for a channel while those behind them go to another one."""

    bursts: stream.Interface
    asks: list[stream.Interface]
    beats: list[stream.Interface]
    r: stream.Interface

    def __init__(self, config: Config, channels: int, depths: Depths):
        self._config, self._channels, self._depths = config, channels, depths
        beat = beat_layout(config)
        super().__init__({
            "bursts": In(stream.Signature(address_layout(config))),
            "asks": Out(stream.Signature(ask_layout(config))).array(channels),
            "beats": In(stream.Signature(beat, always_ready=True)).array(channels),
            "r": Out(stream.Signature(beat))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config, depths = self._config, self._depths
        m.submodules.bursts = bursts = Fifo(address_layout(config), depths.bursts)
        m.submodules.cut = cut = Cut(config)
        m.submodules.order = order = Fifo(
            data.StructLayout({"channel": range(max(self._channels, 2)), "last": 1}),
            depths.pieces, registered=True)
        connect(m, flipped(self.bursts), bursts.i)
        connect(m, bursts.o, cut.i)
        piece, head, r = cut.o.payload, order.o.payload, self.r
        channel = channel_of(piece.addr, self._channels)
        goes = Signal()
        m.d.comb += [
            cut.o.ready.eq(goes), order.i.valid.eq(goes), order.i.payload.channel.eq(channel),
            order.i.payload.last.eq(piece.last)]
        free, landed, mine = [], [], []
        for c in range(self._channels):
            to, at = Signal(name=f"to{c}"), Signal(name=f"at{c}")
            m.d.comb += [to.eq(channel == c), at.eq(order.o.valid & (head.channel == c))]
            room, beat = self._channel(m, c, piece, to & goes, at & r.ready)
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

    def _channel(self, m: Module, c: int, piece: data.View, goes: Value, take: Value
                 ) -> tuple[Signal, stream.Interface]:
        """What is asked of a channel, and what it sends. Returns whether the piece at hand has room
        there, and the beats that have landed."""
        config, depth = self._config, self._depths.beats
        m.submodules[f"ask{c}"] = ask = Fifo(ask_layout(config), self.WAIT)
        m.submodules[f"land{c}"] = land = Fifo(beat_layout(config), depth)
        connect(m, ask.o, flipped(self.asks[c]))
        free = Signal(range(depth + 1), init=depth, name=f"free{c}")
        room, given = Signal(name=f"room{c}"), Signal(name=f"given{c}")
        beats = self.beats[c]
        m.d.comb += [
            room.eq(ask.i.ready & (free > piece.len)), ask.i.valid.eq(goes),
            ask.i.payload.addr.eq(piece.addr), ask.i.payload.len.eq(piece.len),
            land.i.valid.eq(beats.valid), land.i.payload.eq(beats.payload),
            land.o.ready.eq(take), given.eq(take & land.o.valid)]
        m.d.sync += [
            free.eq(free - Mux(goes, piece.len + 1, 0) + given),
            Assert(~land.i.valid | land.i.ready, "a beat has no place")]
        return room, land.o
