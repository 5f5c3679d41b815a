# SPDX-License-Identifier: Apache-2.0
"""The writes of a core, piece by piece, and their answers, burst by burst.

::

    aw ─► FIFO ─► Cut ─┬─► a channel's aw, with the first beat of its data
    w ─► register ─────┼─► w of that channel, to the last beat of the piece
                       └─► order: channel, ID, last piece ─────────┐
    answers of a channel ─► a FIFO each ───────────────────────────┴─► b

A channel is asked for a piece when the first beat of its data is there, and no earlier; all data
before it are gone then. A burst is answered when all of its pieces are, with the worst of their
responses.
"""

from amaranth.hdl import Assert, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.chip.depths import Depths
from hw.chip.interleave import Cut, channel_of, piece_layout
from hw.memory.axi import ID_BITS, LEN_BITS, RESPONSE, address_layout, write_layout
from hw.parts.choice import one_of
from hw.parts.fifo import Fifo
from hw.parts.skid import Skid
from isa.config import Config


class CoreWrites(wiring.Component):
    """AW, W and B of a core. Latency: 2 cycles from ``aw`` to a channel's, 1 from ``w``; 2 from
    ``answers`` to ``b``. Throughput: a beat a cycle, an answer a cycle. Stall: a piece waits for
    its channel, and with it those behind it.

    Parameters
    ----------
    config : Config
    channels : int
    depths : Depths

    Members
    -------
    aw : stream of ``address_layout(config)``
    w : stream of ``write_layout(config)``
        ``last`` is not looked at: the addresses say it.
    b : stream of ``RESPONSE``
    pieces : a stream of ``piece_layout(config, ID_BITS)`` for each channel
        Valid together with the first one of ``beats``; both have to be taken in one cycle.
    beats : a stream of ``write_layout(config)`` for each channel
        ``last`` of its piece.
    answers : a stream of responses for each channel, always ready
        To its pieces, in their order.
    """

    aw: stream.Interface
    w: stream.Interface
    b: stream.Interface
    pieces: list[stream.Interface]
    beats: list[stream.Interface]
    answers: list[stream.Interface]

    def __init__(self, config: Config, channels: int, depths: Depths):
        self._config, self._channels, self._depths = config, channels, depths
        write = stream.Signature(write_layout(config))
        super().__init__({
            "aw": In(stream.Signature(address_layout(config))), "w": In(write),
            "b": Out(stream.Signature(RESPONSE)),
            "pieces": Out(stream.Signature(piece_layout(config, ID_BITS))).array(channels),
            "beats": Out(write).array(channels),
            "answers": In(stream.Signature(2, always_ready=True)).array(channels)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.bursts = bursts = Fifo(address_layout(self._config), self._depths.bursts)
        m.submodules.cut = cut = Cut(self._config, ID_BITS)
        m.submodules.w = w = Skid(write_layout(self._config))
        connect(m, flipped(self.aw), bursts.i)
        burst, whole = bursts.o.payload, cut.i.payload
        m.d.comb += [
            whole.tag.eq(burst.id), whole.addr.eq(burst.addr), whole.len.eq(burst.len),
            cut.i.valid.eq(bursts.o.valid), bursts.o.ready.eq(cut.i.ready)]
        connect(m, flipped(self.w), w.i)
        order = self._answers(m)
        piece = cut.o.payload
        channel = channel_of(piece.addr, self._channels)

        # a piece of more than one beat is under way, on a channel
        under_way, last, left = Signal(), Signal(), Signal(LEN_BITS)
        on, begins, takes = Signal(self._channels), Signal(self._channels), Signal(self._channels)
        for c, (address, beats) in enumerate(zip(self.pieces, self.beats, strict=True)):
            m.d.comb += [
                address.payload.eq(piece),
                address.valid.eq(cut.o.valid & w.o.valid & order.ready & ~under_way
                                 & (channel == c)),
                beats.payload.eq(w.o.payload), beats.payload.last.eq(last),
                beats.valid.eq(Mux(under_way, w.o.valid & on[c], address.valid)),
                begins[c].eq(address.valid & address.ready), takes[c].eq(beats.valid & beats.ready)]
        m.d.comb += [
            last.eq(Mux(under_way, left == 1, piece.len == 0)),
            w.o.ready.eq(takes.any()), cut.o.ready.eq(begins.any()),
            order.valid.eq(begins.any()), order.payload.channel.eq(channel),
            order.payload.id.eq(piece.tag), order.payload.last.eq(piece.last)]
        with m.If(begins.any()):
            m.d.sync += [on.eq(begins), left.eq(piece.len)]
        with m.Elif(takes.any()):
            m.d.sync += left.eq(left - 1)
        with m.If(takes.any()):
            m.d.sync += under_way.eq(~last)
        return m

    def _answers(self, m: Module) -> stream.Interface:
        """B. Returns where pieces are to be listed in the order in which they begin."""
        depth = self._depths.pieces
        m.submodules.order = order = Fifo(
            data.StructLayout({"channel": range(max(2, self._channels)), "id": ID_BITS,
                               "last": 1}), depth, registered=True)
        m.submodules.b = out = Skid(RESPONSE)
        connect(m, out.o, flipped(self.b))
        head = order.o.payload
        mine, there = Signal(self._channels), Signal(self._channels)
        came, resp, before, worst = [], Signal(2), Signal(2), Signal(2)
        takes = Signal()
        for c, answer in enumerate(self.answers):
            # places for all pieces that are in the list, which has a register, too
            m.submodules[f"answer{c}"] = answers = Fifo(2, depth + 1)
            m.d.comb += [
                answers.i.valid.eq(answer.valid), answers.i.payload.eq(answer.payload),
                mine[c].eq(order.o.valid & (head.channel == c)), there[c].eq(answers.o.valid),
                answers.o.ready.eq(takes & mine[c])]
            m.d.sync += Assert(~answers.i.valid | answers.i.ready, "an answer has no place")
            came.append(answers.o.payload)
        m.d.comb += [
            resp.eq(one_of(mine, came)), worst.eq(Mux(before > resp, before, resp)),
            out.i.valid.eq((mine & there).any() & head.last), out.i.payload.id.eq(head.id),
            out.i.payload.resp.eq(worst),
            takes.eq((mine & there).any() & (~head.last | out.i.ready)),
            order.o.ready.eq(takes)]
        with m.If(takes):
            m.d.sync += before.eq(Mux(head.last, 0, worst))
        return order.i
