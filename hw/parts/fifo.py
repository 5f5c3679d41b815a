# SPDX-License-Identifier: Apache-2.0
"""A first-in first-out buffer between two streams of the same payload."""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Shape, ShapeLike, Signal, Value
from amaranth.lib import fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

COMB_DEPTH = 60
"""Up to this depth the memory is read combinationally (LUT RAM, no latency behind the write);
deeper ones are read through a register (block RAM), and look empty for a cycle with a payload in
them."""


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

    Members
    -------
    i : In(stream)
    o : Out(stream)
    more : Out(1)
        There is another payload behind that of ``o``.

    Raises
    ------
    ValueError
        If ``depth`` is too small, or so large that there is a register already.
    """

    i: stream.Interface
    o: stream.Interface
    more: Signal

    def __init__(self, shape: ShapeLike, depth: int, registered: bool = False):
        if depth < 1:
            raise ValueError(f"a FIFO of depth {depth} holds nothing; use 1 or more")
        if registered and depth > COMB_DEPTH:
            raise ValueError(f"a FIFO of depth {depth} is read through a register")
        self._width = Shape.cast(shape).width
        self._depth, self._registered = depth, registered
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)),
                          "more": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        if self._depth > COMB_DEPTH:
            m.submodules.fifo = f = fifo.SyncFIFOBuffered(width=self._width, depth=self._depth)
            m.d.comb += [
                f.w_data.eq(self.i.payload), f.w_en.eq(self.i.valid), self.i.ready.eq(f.w_rdy),
                self.o.payload.eq(f.r_data), self.o.valid.eq(f.r_rdy), f.r_en.eq(self.o.ready),
                self.more.eq(f.r_level > 1)]
            return m
        valid, full, take = Signal(), Signal(), Signal()
        write, read = self.i.valid & ~full, valid & take
        payload, last_one, last_place = self._storage(m, write, read)
        with m.If(write ^ read):
            m.d.sync += [valid.eq(write | ~last_one), full.eq(write & last_place)]
        m.d.comb += self.i.ready.eq(~full)
        if not self._registered:
            m.d.comb += [self.o.payload.eq(payload), self.o.valid.eq(valid),
                         take.eq(self.o.ready), self.more.eq(valid & ~last_one)]
            return m
        shown = Signal(self._width, reset_less=True)
        m.d.comb += [take.eq(self.o.ready | ~self.o.valid), self.o.payload.eq(shown),
                     self.more.eq(valid)]
        with m.If(take):
            m.d.sync += [self.o.valid.eq(valid), shown.eq(payload)]
        return m

    def _storage(self, m: Module, write: Value, read: Value) -> tuple[Value, Value, Value]:
        """The oldest payload; whether, if there is any, it is the only one; whether, if there is a
        place, it is the only one."""
        if self._depth == 1:
            only = Signal(self._width, reset_less=True)
            with m.If(write):
                m.d.sync += only.eq(self.i.payload)
            return only, Const(1), Const(1)
        storage: memory.Memory = memory.Memory(shape=self._width, depth=self._depth, init=[])
        m.submodules.storage = storage
        w_port, r_port = storage.write_port(), storage.read_port(domain="comb")
        produce, consume, produced, consumed = (
            Signal(range(self._depth), name=n)
            for n in ("produce", "consume", "produced", "consumed"))
        # what comes without being valid is written over
        m.d.comb += [w_port.addr.eq(produce), w_port.data.eq(self.i.payload),
                     w_port.en.eq(self.i.ready), r_port.addr.eq(consume)]
        for strobe, place, following in ((write, produce, produced), (read, consume, consumed)):
            # a few bits: without a carry chain
            m.d.comb += following.eq(Cat(bit ^ place[:k].all() for k, bit in enumerate(place)))
            if self._depth & (self._depth - 1):
                with m.If(place == self._depth - 1):
                    m.d.comb += following.eq(0)
            with m.If(strobe):
                m.d.sync += place.eq(following)
        return r_port.data, consumed == produce, produced == consume
