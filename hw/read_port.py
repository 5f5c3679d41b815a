# SPDX-License-Identifier: Apache-2.0
"""A stream of word addresses in, a stream of words out: a scratchpad port with a landing buffer.

A queue of addresses stands before the port. The scratchpad's arbiter, through which every port's
``ready`` depends on the requests of others, thus begins and ends at registers, and no walker waits
for it in the same cycle. Streams that walk memory in lockstep (the pixel streams of an M split, the
tiles' residuals) often want the same bank at the same time, over and over; with a deeper queue one
stream gets ahead of the other by a cycle, and from then on they take turns on neighboring banks.

A read is issued only when a place in the buffer is kept for its word, so the reader may stall for
as long as it likes. An address accepted in cycle ``t`` shows its word from ``t + LATENCY``; one
word a cycle goes through as long as the port is granted.
"""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.ports import SpmPort, SpmRead
from isa.config import Config


def lockstep(config: Config) -> dict[str, int]:
    """Arguments for the ports of streams that go in lockstep: enough for each to be a cycle ahead
    of the next."""
    return {"depth": 8, "queue": 4} if config.tiles > 1 else {}


class ReadPort(wiring.Component):
    """Parameters
    ----------
    config : Config
        The scratchpad's shape.
    depth : int
        Words that the landing buffer holds; ``LATENCY`` or more sustain a word a cycle.
    queue : int
        Addresses that wait before the port; 2 or more sustain a word a cycle.

    Members
    -------
    addr : In(stream of word address)
    data : Out(stream of word)
    port : Out(SpmRead(config))
    """

    LATENCY = 3

    addr: stream.Interface
    data: stream.Interface
    port: SpmPort

    def __init__(self, config: Config, depth: int = 4, queue: int = 2):
        self._depth, self._queue = depth, queue
        self._width = 8 * config.word_bytes
        super().__init__({"addr": In(stream.Signature(range(config.spm_words))),
                          "data": Out(stream.Signature(self._width)),
                          "port": Out(SpmRead(config))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.landing = landing = fifo.SyncFIFO(width=self._width, depth=self._depth)
        room = Signal(range(self._depth + 1), init=self._depth)
        accept = self.port.valid & self.port.ready
        popped = self.data.valid & self.data.ready
        arrived = Signal()
        m.submodules.queue = queue = fifo.SyncFIFO(width=len(self.port.addr), depth=self._queue)
        m.d.comb += [
            queue.w_data.eq(self.addr.payload), queue.w_en.eq(self.addr.valid),
            self.addr.ready.eq(queue.w_rdy),
            self.port.valid.eq(queue.r_rdy & (room != 0)), self.port.addr.eq(queue.r_data),
            queue.r_en.eq(accept),
            landing.w_en.eq(arrived), landing.w_data.eq(self.port.data),
            self.data.valid.eq(landing.r_rdy), self.data.payload.eq(landing.r_data),
            landing.r_en.eq(self.data.ready),
        ]
        m.d.sync += [arrived.eq(accept), room.eq(room - accept + popped)]
        return m
