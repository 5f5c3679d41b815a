# SPDX-License-Identifier: Apache-2.0
"""Jobs from memory and records to it: blocks of :data:`isa.jobs.BLOCK` bytes, word by word."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.memory.axi import AXI4, AXIPort
from isa.config import Config
from isa.jobs import BLOCK, WORDS


class BlockMover(wiring.Component):
    """Reads or writes a block in one burst, or reads two that follow one another. Latency: the
    memory's, and a cycle a word.

    Parameters
    ----------
    config : Config
        A core's, whose bus it has.

    Members
    -------
    read, write : 1
        Strobe: begin, with the block at ``at``; not while ``busy``.
    pair : 1
        With ``read``: of two blocks.
    at : address
        A multiple of what is moved, from the cycle after the strobe on.
    busy : 1
        From the cycle after the strobe to the end.
    failed : 1
        The memory has answered the block at hand, or else the last one, with an error.
    index : range(WORDS)
        Position of the word at hand.
    given : 32
        The word of that position, of a block that is written.
    got : 32
        The word that was read, while ``arrived``.
    arrived : 1
    came : 1
        It is a block's last one.
    bus : :class:`hw.memory.axi.AXI4`
    """

    read: Signal
    write: Signal
    pair: Signal
    at: Signal
    busy: Signal
    failed: Signal
    index: Signal
    given: Signal
    got: Signal
    arrived: Signal
    came: Signal
    bus: AXIPort

    def __init__(self, config: Config):
        self._words = config.bus_bytes // 4
        super().__init__({
            "read": In(1), "write": In(1), "pair": In(1), "at": In(config.addr_bits),
            "busy": Out(1), "failed": Out(1), "index": Out(range(WORDS)), "given": In(32),
            "got": Out(32), "arrived": Out(1), "came": Out(1), "bus": Out(AXI4(config))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        bus, words = self.bus, self._words
        beat = Signal(32 * words)
        full = Signal(range(words + 1))     # words of the beat that are there
        beats = BLOCK // (4 * words)
        last = self.index == WORDS - 1
        sent, two = Signal(), Signal()
        for channel, most in ((bus.ar, Mux(two, 2 * beats - 1, beats - 1)), (bus.aw, beats - 1)):
            m.d.comb += [channel.payload.addr.eq(self.at), channel.payload.len.eq(most)]
        m.d.comb += [self.got.eq(beat[:32]), self.came.eq(self.arrived & last),
                     bus.w.payload.data.eq(beat), bus.w.payload.strb.eq(-1),
                     bus.w.payload.last.eq(sent)]
        with m.If(self.read | self.write):
            m.d.sync += [self.failed.eq(0), self.index.eq(0), full.eq(0), sent.eq(0)]
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.sync += [bus.ar.valid.eq(self.read), bus.aw.valid.eq(self.write),
                             two.eq(self.pair)]
                with m.If(self.read):
                    m.next = "READ"
                with m.Elif(self.write):
                    m.next = "GATHER"
            with m.State("READ"):
                with m.If(bus.ar.ready):
                    m.d.sync += bus.ar.valid.eq(0)
                m.d.comb += [bus.r.ready.eq(full == 0), self.arrived.eq(full != 0)]
                with m.If(bus.r.ready & bus.r.valid):
                    m.d.sync += [beat.eq(bus.r.payload.data), full.eq(words), self.failed.eq(
                        self.failed & self.index.any() | bus.r.payload.resp.any())]
                with m.If(self.arrived):
                    m.d.sync += [beat.eq(beat >> 32), full.eq(full - 1),
                                 self.index.eq(self.index + 1)]
                with m.If(self.came):
                    m.d.sync += two.eq(0)
                    with m.If(~two):
                        m.next = "IDLE"
            with m.State("GATHER"):
                with m.If(bus.aw.ready):
                    m.d.sync += bus.aw.valid.eq(0)
                m.d.sync += [beat.eq(Cat(beat[32:], self.given)), full.eq(full + 1),
                             self.index.eq(Mux(last, self.index, self.index + 1))]
                with m.If(full == words - 1):
                    m.d.sync += [bus.w.valid.eq(1), sent.eq(last)]
                    m.next = "SEND"
            with m.State("SEND"):
                with m.If(bus.aw.ready):
                    m.d.sync += bus.aw.valid.eq(0)
                with m.If(bus.w.ready):
                    m.d.sync += [bus.w.valid.eq(0), full.eq(0)]
                    m.next = "GATHER"
                    with m.If(sent):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                with m.If(bus.aw.ready):
                    m.d.sync += bus.aw.valid.eq(0)
                m.d.comb += bus.b.ready.eq(1)
                with m.If(bus.b.valid):
                    m.d.sync += self.failed.eq(bus.b.payload.resp.any())
                    m.next = "IDLE"
        return m
