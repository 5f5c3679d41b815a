# SPDX-License-Identifier: Apache-2.0
"""A stream of word addresses in, a stream of words out: a scratchpad port with a landing buffer.

A read is issued only when a place in the buffer is kept for its word, so the reader may stall for
as long as it likes. An address accepted in cycle ``t`` shows its word from ``t + LATENCY``; one
word a cycle goes through as long as the port is granted.

Streams that walk memory in lockstep (the pixel streams of an M split, the tiles' residuals) often
want the same bank at the same time, over and over; with a queue of addresses before the port one
stream gets ahead of the other by a cycle, and from then on they take turns on neighboring banks.
"""

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.engine.ports import SpmRead, SpmReader
from hw.parts.fifo import Fifo
from hw.scratchpad.banks import Scratchpad
from isa.config import Config


def lockstep(config: Config) -> int:
    """Places in the queues of streams that go in lockstep, or share a port: enough for each to be
    a cycle ahead of the next."""
    return 4 if config.tiles > 1 or config.shared_ports else 0


class ReadPort(wiring.Component):
    """Latency: LATENCY cycles from an address to its word, one more with a queue. Throughput: a
    word a cycle while the port is granted. Stall: words wait in the landing buffer for ``data``; an
    address without a place there waits for one.

    Parameters
    ----------
    config : Config
        The scratchpad's shape.
    queue : int
        Addresses that wait before the port.

    Members
    -------
    addr : In(stream of word address)
    data : Out(stream of word)
    more : Out(1)
        There is another word behind that of ``data``.
    port : Out(SpmRead(config))
    """

    LATENCY = Scratchpad.LATENCY + 1

    DEPTH = 16
    """Words that the landing buffer holds; more than LATENCY sustain a word a cycle."""

    addr: stream.Interface
    data: stream.Interface
    more: Signal
    port: SpmReader

    def __init__(self, config: Config, queue: int = 0):
        self._queue = queue
        self._width = 8 * config.word_bytes
        super().__init__({"addr": In(stream.Signature(range(config.spm_words))),
                          "data": Out(stream.Signature(self._width)), "more": Out(1),
                          "port": Out(SpmRead(config))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.landing = landing = Fifo(self._width, self.DEPTH)
        connect(m, landing.o, flipped(self.data))
        room = Signal(range(self.DEPTH + 1), init=self.DEPTH)
        addr = self.addr
        if self._queue:
            m.submodules.queue = queue = Fifo(len(self.port.addr), self._queue)
            connect(m, flipped(self.addr), queue.i)
            addr = queue.o
        free, asks, leaves = Signal(init=1), Signal(), Signal()
        m.d.comb += [
            self.port.addr.eq(addr.payload), self.port.valid.eq(addr.valid & free),
            addr.ready.eq(self.port.ready & free),
            landing.i.valid.eq(self.port.arrived), landing.i.payload.eq(self.port.data),
            self.more.eq(landing.more), asks.eq(self.port.valid & self.port.ready)]
        m.d.sync += leaves.eq(self.data.valid & self.data.ready)
        with m.If(asks ^ leaves):
            m.d.sync += [room.eq(Mux(leaves, room + 1, room - 1)), free.eq(leaves | (room != 1))]
        return m
