# SPDX-License-Identifier: Apache-2.0
"""A skid buffer: registers in both directions of a stream."""

from amaranth.hdl import Elaboratable, Module, Mux, Shape, ShapeLike, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class Skid(wiring.Component):
    """Two places between two streams: what is behind ``o`` does not see what is before ``i`` in the
    same cycle, nor the other way round, and ``i.ready`` is a flip-flop, fit to stall a pipeline.

    Latency: a cycle. Throughput: a payload a cycle. While ``o`` is not valid, its payload is what
    ``i`` had without being valid, or zero.

    Parameters
    ----------
    shape : ShapeLike
        Payload.
    copies : int
        Of ``i.ready``, for pipelines with many registers.
    eager : bool
        ``o.ready`` is high whenever ``o`` is not valid.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    go : Out(copies)
        ``i.ready`` again and again, each from a flip-flop of its own.
    """

    i: stream.Interface
    o: stream.Interface
    go: Signal

    def __init__(self, shape: ShapeLike, copies: int = 1, eager: bool = False):
        self._eager = eager
        self._width = Shape.cast(shape).width
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)),
                          "go": Out(copies)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        i = Signal(self._width)
        o = Signal(self._width, reset_less=True)
        second = Signal(self._width, reset_less=True)
        # each side asks a copy of its own
        free, moves = Signal(len(self.go) + 1, init=-1), Signal()
        here = free[-1]
        m.d.comb += [i.eq(self.i.payload), self.o.payload.eq(o), self.go.eq(free[:-1]),
                     self.i.ready.eq(self.go[0]),
                     moves.eq(self.o.ready | (0 if self._eager else ~self.o.valid))]
        # each copy depends on itself, lest synthesis take them for one
        m.d.sync += [f.eq(moves | (f & ~self.i.valid)) for f in free]
        with m.If(here):
            m.d.sync += second.eq(i)
        with m.If(moves):
            m.d.sync += [o.eq(Mux(here, i, second)), self.o.valid.eq(~here | self.i.valid)]
        return m
