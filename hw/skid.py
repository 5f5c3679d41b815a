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

    Members
    -------
    i : In(stream)
    o : Out(stream)
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: ShapeLike):
        self._width = Shape.cast(shape).width
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        i, o = Signal(self._width), Signal(self._width)
        second, full = Signal(self._width, reset_less=True), Signal()
        m.d.comb += [i.eq(self.i.payload), self.o.payload.eq(o), self.i.ready.eq(~full)]
        with m.If(~full):
            m.d.sync += second.eq(i)
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += [full.eq(0), o.eq(Mux(full, second, i)),
                         self.o.valid.eq(full | self.i.valid)]
        with m.Elif(self.i.valid):
            m.d.sync += full.eq(1)
        return m
