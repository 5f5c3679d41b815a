# SPDX-License-Identifier: Apache-2.0
"""What streams promise: nothing is lost, doubled, changed or overtaken."""

from typing import Any

from amaranth.hdl import Assert, Assume, Elaboratable, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from hw.parts.places import places
from prove.checker import Design


def stays(m: Module, channel: stream.Interface, statement: Any = Assert) -> None:
    """A payload that is offered is offered until it is taken, and does not change."""
    waited, before = Signal(), Signal.like(channel.p)
    m.d.sync += [waited.eq(channel.valid & ~channel.ready), before.eq(channel.p)]
    with m.If(waited):
        m.d.comb += statement(channel.valid & (channel.p == before))


class Order(Design):
    """A buffer gives what it took, in order, and is as full and as empty as it says.

    One of the payloads that go in, any of them, is marked; those before it are counted until it
    comes out.

    Parameters
    ----------
    buffer : component with streams ``i`` and ``o`` of two bits
    holds : int
        Payloads that it holds.
    latency : int
        Cycles from a payload that goes into the empty buffer to ``o.valid``.
    eager : bool
        Whoever takes the payloads is ready whenever there is none.
    """

    i: stream.Interface
    ready: Signal
    mark: Signal

    def __init__(self, buffer: Any, holds: int, latency: int = 1, eager: bool = False):
        self._buffer, self._holds = buffer, holds
        self._latency, self._eager = latency, eager
        super().__init__({"i": In(stream.Signature(2)), "ready": In(1), "mark": In(1),
                          "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.buffer = buffer = self._buffer
        i, o = buffer.i, buffer.o
        count, ahead = Signal(range(self._holds + 2)), Signal(range(self._holds + 2))
        waits = Signal(range(self._latency + 1))
        marked, value = Signal(), Signal(2)
        goes_in, comes_out = i.valid & i.ready, o.valid & o.ready
        m.d.comb += [
            i.valid.eq(self.i.valid), i.payload.eq(self.i.payload), o.ready.eq(self.ready),
            self.reached.eq(marked & comes_out & (ahead == 0) & (count == self._holds)),
            Assert(i.ready == (count != self._holds)), Assert(~o.valid | (count != 0)),
            Assert(o.valid | (count == 0) | (waits < self._latency - 1))]
        stays(m, o)
        if self._eager:
            m.d.comb += Assume(o.valid | o.ready)
        m.d.sync += [count.eq(count + goes_in - comes_out),
                     waits.eq(Mux((count != 0) & ~o.valid, waits + 1, 0))]
        with m.If(goes_in & self.mark & ~marked):
            m.d.sync += [marked.eq(1), value.eq(i.payload), ahead.eq(count - comes_out)]
        with m.If(marked & comes_out):
            m.d.sync += ahead.eq(ahead - 1)
            with m.If(ahead == 0):
                m.d.comb += Assert(o.payload == value)
                m.d.sync += marked.eq(0)
        return m


class Places(Design):
    """The two flip-flops of :func:`hw.parts.places.places` tell the truth, if nobody takes a place
    that is not free or gives one back that was not taken."""

    COUNT = 5

    taken: Signal
    given: Signal

    def __init__(self) -> None:
        super().__init__({"taken": In(1), "given": In(1), "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        some, every = places(m, "place", self.COUNT, self.taken, self.given)
        under_way = Signal(range(self.COUNT + 2))
        m.d.sync += under_way.eq(under_way + self.taken - self.given)
        m.d.comb += [
            Assume(~self.taken | some), Assume(~self.given | (under_way != 0)),
            Assert(under_way <= self.COUNT), Assert(some == (under_way != self.COUNT)),
            Assert(every == (under_way == 0)), self.reached.eq(under_way == self.COUNT)]
        return m
