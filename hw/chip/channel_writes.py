# SPDX-License-Identifier: Apache-2.0
"""The writes of a channel: a core's piece at a time, address and data together.

A piece is taken with its first beat, and the channel is the core's until its last one: beats of two
pieces never mix, and no channel waits for a core that another channel holds up. The cores take
turns. A core that stops in the middle of a burst holds the channel's writes up.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.chip.channel_reads import owner_layout
from hw.chip.interleave import piece_layout
from hw.memory.axi import ID_BITS, address_layout, response_layout, write_layout
from hw.parts.choice import one_of, turns
from hw.parts.delay import later
from hw.parts.skid import Skid
from isa.config import Config


class ChannelWrites(wiring.Component):
    """AW, W and B of a channel. Latency: a cycle each way. Throughput: a beat a cycle, also across
    pieces and cores. A core that keeps asking is passed over for a piece of each other core at
    most.

    Parameters
    ----------
    config : Config
    cores : int
    groups : int
        Of readers, for the width of the ID.

    Members
    -------
    pieces : a stream of ``piece_layout(config, ID_BITS)`` for each core
        With its first one of ``beats``; taken in one cycle.
    beats : a stream of ``write_layout(config)`` for each core
    answers : a stream of responses for each core, always ready
    aw, w : streams of ``address_layout(config)`` and ``write_layout(config)``, IDs of
        ``owner_layout(cores, groups)``
    b : stream of such responses; always ready
    """

    pieces: list[stream.Interface]
    beats: list[stream.Interface]
    answers: list[stream.Interface]
    aw: stream.Interface
    w: stream.Interface
    b: stream.Interface

    def __init__(self, config: Config, cores: int, groups: int = 0):
        self._cores, self._owner = cores, owner_layout(cores, groups)
        write = stream.Signature(write_layout(config))
        super().__init__({
            "pieces": In(stream.Signature(piece_layout(config, ID_BITS))).array(cores),
            "beats": In(write).array(cores),
            "answers": Out(stream.Signature(2, always_ready=True)).array(cores),
            "aw": Out(stream.Signature(address_layout(config, self._owner.size))),
            "w": Out(write),
            "b": In(stream.Signature(response_layout(self._owner.size)))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.aw = aw = Skid(self.aw.p.shape())
        m.submodules.w = w = Skid(self.w.p.shape())
        connect(m, aw.o, flipped(self.aw))
        connect(m, w.o, flipped(self.w))
        asks, there = Signal(self._cores), Signal(self._cores)
        begins, under_way, holder, owner = Signal(), Signal(), Signal(self._cores), Signal(
            self._cores)
        who = turns(m, "core", asks, begins)
        m.d.comb += [
            asks.eq(Cat(piece.valid for piece in self.pieces)),
            there.eq(Cat(beat.valid for beat in self.beats)),
            owner.eq(Mux(under_way, holder, who)),
            w.i.valid.eq((owner & there).any() & (under_way | aw.i.ready)),
            w.i.payload.eq(one_of(owner, [beat.p.as_value() for beat in self.beats])),
            begins.eq(asks.any() & ~under_way & w.i.ready & aw.i.ready), aw.i.valid.eq(begins)]
        for core, (piece, beat) in enumerate(zip(self.pieces, self.beats, strict=True)):
            m.d.comb += [piece.ready.eq(begins & who[core]),
                         beat.ready.eq(owner[core] & w.i.ready & (under_way | aw.i.ready))]
        with m.If(w.i.valid & w.i.ready):
            m.d.sync += [under_way.eq(~w.i.payload.last), holder.eq(owner)]
        self._address(m, who, aw.i.payload)
        self._answers(m)
        return m

    def _address(self, m: Module, who: Signal, address: data.View) -> None:
        """The address of the piece that is chosen."""
        piece = data.View(self.pieces[0].p.shape(),
                          one_of(who, [piece.p.as_value() for piece in self.pieces]))
        owner = data.View(self._owner, address.id)
        m.d.comb += [address.addr.eq(piece.addr), address.len.eq(piece.len), owner.id.eq(piece.tag),
                     owner.core.eq(one_of(who, range(self._cores)))]

    def _answers(self, m: Module) -> None:
        came, there = later(m, self.b.payload, 1, "came"), Signal()
        owner = data.View(self._owner, came.id)
        m.d.sync += there.eq(self.b.valid)
        m.d.comb += self.b.ready.eq(1)
        for core, answer in enumerate(self.answers):
            m.d.comb += [answer.valid.eq(there & (owner.core == core)),
                         answer.payload.eq(came.resp)]
