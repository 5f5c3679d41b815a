# SPDX-License-Identifier: Apache-2.0
"""A first-in first-out buffer between two streams of the same payload."""

from amaranth.hdl import Elaboratable, Module, Shape, ShapeLike
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

COMB_DEPTH = 32
"""Up to this depth the memory is read combinationally (LUT RAM, no latency behind the write);
deeper ones are read through a register (block RAM)."""


class Fifo(wiring.Component):
    """A buffer of ``depth`` payloads. Neither side's handshake depends on the other's in the same
    cycle, so that it also cuts a ready path.

    Latency: 1 cycle from ``i`` to ``o`` up to a depth of :data:`COMB_DEPTH`, else 2. Throughput:
    one payload a cycle, at a depth of 1 one payload in two cycles.

    Parameters
    ----------
    shape : ShapeLike
        Payload.
    depth : int
        Payloads held, 1 or more.

    Raises
    ------
    ValueError
        If ``depth`` is too small.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: ShapeLike, depth: int):
        if depth < 1:
            raise ValueError(f"a FIFO of depth {depth} holds nothing; use 1 or more")
        self._width = Shape.cast(shape).width
        self._depth = depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        kind = fifo.SyncFIFO if self._depth <= COMB_DEPTH else fifo.SyncFIFOBuffered
        m.submodules.fifo = f = kind(width=self._width, depth=self._depth)
        m.d.comb += [
            f.w_data.eq(self.i.payload), f.w_en.eq(self.i.valid), self.i.ready.eq(f.w_rdy),
            self.o.payload.eq(f.r_data), self.o.valid.eq(f.r_rdy), f.r_en.eq(self.o.ready),
        ]
        return m
