# SPDX-License-Identifier: Apache-2.0
"""Counters of signals, and AWAIT, which is complete when one of them is far enough."""

from amaranth.hdl import Array, Elaboratable, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.engine.ports import Engine, EnginePort, instruction_layout
from hw.engine.profile import events_layout
from hw.exchange.ports import COUNTER
from isa.instructions import SIGNALS, SIGNAL_BITS, Opcode


class Signals(wiring.Component):
    """Executes AWAIT instructions, one after the other. Latency: 3 cycles from ``rises`` to
    ``done``, 3 from an instruction whose counter is there already.

    Members
    -------
    instr : stream of ``instruction_layout(Opcode.AWAIT)``
        Their waits are satisfied.
    engine : :class:`hw.engine.ports.Engine`
    rises : 1
        Strobe: a signal has come, of ``counter``.
    counter : COUNTER
    zero : 1
        Strobe: the gang is over, all counters are zero again.
    events : events_layout("await")
    """

    instr: stream.Interface
    engine: EnginePort
    rises: Signal
    counter: Signal
    zero: Signal
    events: data.View

    def __init__(self) -> None:
        super().__init__({
            "instr": In(stream.Signature(instruction_layout(Opcode.AWAIT))),
            "engine": Out(Engine()), "rises": In(1), "counter": In(COUNTER), "zero": In(1),
            "events": Out(events_layout("await"))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        counters = Array(Signal(SIGNAL_BITS, name=f"counter{k}") for k in range(SIGNALS))
        which, threshold = Signal(COUNTER), Signal(SIGNAL_BITS)
        taken, held, far, compared = Signal(), Signal(), Signal(), Signal()
        with m.If(self.rises):
            m.d.sync += counters[self.counter].eq(counters[self.counter] + 1)
        with m.If(self.zero):
            m.d.sync += [Value.cast(counter).eq(0) for counter in counters]
        m.d.comb += [
            self.events.wait_gang.eq(held & compared & ~far),
            self.instr.ready.eq(~held & ~self.engine.halt),
            taken.eq(self.instr.valid & self.instr.ready), self.engine.start.eq(taken),
            self.engine.busy.eq(held), self.engine.done.eq(held & compared & far)]
        # a counter only rises, so what was reached a cycle ago still is
        m.d.sync += [compared.eq(held & ~self.engine.done),
                     far.eq(~(counters[which] - threshold)[SIGNAL_BITS - 1])]
        with m.If(taken):
            m.d.sync += [which.eq(self.instr.payload.counter), held.eq(1),
                         threshold.eq(self.instr.payload.threshold)]
        with m.Elif(self.engine.done | self.engine.halt):
            m.d.sync += held.eq(0)
        return m
