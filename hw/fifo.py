# SPDX-License-Identifier: Apache-2.0
"""A first-in first-out buffer between two streams of the same payload."""

from amaranth.hdl import Elaboratable, Module, Mux, Shape, ShapeLike, Signal, Value
from amaranth.lib import fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

COMB_DEPTH = 32
"""Up to this depth the memory is read combinationally (LUT RAM, no latency behind the write);
deeper ones are read through a register (block RAM)."""


class Fifo(wiring.Component):
    """A buffer of ``depth`` payloads. Neither side's handshake depends on the other's in the same
    cycle, so that it also cuts a ready path. Up to a depth of :data:`COMB_DEPTH` both are
    flip-flops.

    Latency: 1 cycle from ``i`` to ``o`` up to a depth of :data:`COMB_DEPTH`, else 2. Throughput:
    one payload a cycle, at a depth of 1 one payload in two cycles.

    Parameters
    ----------
    shape : ShapeLike
        Payload.
    depth : int
        Payloads held, 1 or more.
    registered : bool
        ``o.payload`` is a register, too, in front of the buffer: it holds one payload more, a cycle
        later.

    Raises
    ------
    ValueError
        If ``depth`` is too small, or so large that there is a register already.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: ShapeLike, depth: int, registered: bool = False):
        if depth < 1:
            raise ValueError(f"a FIFO of depth {depth} holds nothing; use 1 or more")
        if registered and depth > COMB_DEPTH:
            raise ValueError(f"a FIFO of depth {depth} is read through a register")
        self._width = Shape.cast(shape).width
        self._depth, self._registered = depth, registered
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        if self._depth > COMB_DEPTH:
            m.submodules.fifo = f = fifo.SyncFIFOBuffered(width=self._width, depth=self._depth)
            m.d.comb += [
                f.w_data.eq(self.i.payload), f.w_en.eq(self.i.valid), self.i.ready.eq(f.w_rdy),
                self.o.payload.eq(f.r_data), self.o.valid.eq(f.r_rdy), f.r_en.eq(self.o.ready)]
            return m
        valid, full, take = Signal(), Signal(), Signal()
        payload = self._storage(m, self.i.valid & ~full, valid & take)
        self._fill(m, valid, full, take)
        m.d.comb += self.i.ready.eq(~full)
        if not self._registered:
            m.d.comb += [self.o.payload.eq(payload), self.o.valid.eq(valid),
                         take.eq(self.o.ready)]
            return m
        shown = Signal(self._width, reset_less=True)
        m.d.comb += [take.eq(self.o.ready | ~self.o.valid), self.o.payload.eq(shown)]
        with m.If(take):
            m.d.sync += [self.o.valid.eq(valid), shown.eq(payload)]
        return m

    def _fill(self, m: Module, valid: Signal, full: Signal, take: Signal) -> None:
        """How many payloads there are; that there is one, or no place for another, is a flip-flop
        each."""
        level = Signal(range(self._depth + 1))
        with m.If((self.i.valid & ~full) ^ (valid & take)):
            write = self.i.valid & ~full
            m.d.sync += [level.eq(Mux(write, level + 1, level - 1)),
                         valid.eq(write | (level != 1)),
                         full.eq(write & (level == self._depth - 1))]

    def _storage(self, m: Module, write: Value, read: Value) -> Value:
        """The payloads, and the oldest of them."""
        if self._depth == 1:
            only = Signal(self._width, reset_less=True)
            with m.If(write):
                m.d.sync += only.eq(self.i.payload)
            return only
        m.submodules.storage = storage = memory.Memory(shape=self._width, depth=self._depth,
                                                       init=[])
        w_port, r_port = storage.write_port(), storage.read_port(domain="comb")
        produce, consume = (Signal(range(self._depth), name=n) for n in ("produce", "consume"))
        m.d.comb += [w_port.addr.eq(produce), w_port.data.eq(self.i.payload), w_port.en.eq(write),
                     r_port.addr.eq(consume)]
        wraps = self._depth & (self._depth - 1) != 0
        for strobe, place in ((write, produce), (read, consume)):
            following = place + 1
            with m.If(strobe):
                m.d.sync += place.eq(Mux(place == self._depth - 1, 0, following) if wraps
                                     else following)
        return r_port.data
