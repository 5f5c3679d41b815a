# SPDX-License-Identifier: Apache-2.0
"""An instruction between its queue and the parts of an engine that execute it, each in its time.

::

    instr ─► held ─┬─► rules ─► verdict ──┐
                   ├─► waits ─────────────┴─► valid[k], for each part k ─► ready[k]
                   └─► i

The engine states the rules and which waits each part respects; the next instruction is taken a
cycle after every part has taken this one. Latency: ``CHECK_CYCLES`` + 1 cycles from ``instr`` to
``valid``, which the instruction before usually hides; 1 cycle from a completion to ``valid``.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.ports import COMPLETED, instruction_layout
from hw.semaphore import blocked
from isa.instructions import QUEUES, Opcode

CHECK_CYCLES = 3
"""From an instruction to the verdict on it: products that rules look at, rules, all of them."""


def verdict(m: Module, rules: Sequence[Value]) -> Signal:
    """Whether all rules hold, two cycles later."""
    kept, legal = Signal(len(rules)), Signal()
    m.d.sync += [kept.eq(Cat(*rules)), legal.eq(kept.all())]
    return legal


class Dispatch(wiring.Component):
    """Parameters
    ----------
    opcode : Opcode
    parts : int

    Members
    -------
    instr : In(stream of ``instruction_layout(opcode)``)
        Waits not yet looked at.
    completed : In(COMPLETED)
    halt : In(1)
    i : Out(instruction_layout(opcode))
    legal : In(1)
        The verdict on ``i``, CHECK_CYCLES after it has come.
    waits : Out(a bit for each queue)
        What ``i`` waits for, from the verdict on; 0 before.
    may : In(parts)
        Beside the verdict: what each part asks of ``waits`` and of itself.
    valid, ready : Out(parts), In(parts)
    passing : Out(1)
        Every part has taken ``i``; it leaves with the next clock edge.
    holds : Out(1)
    illegal : Out(1)
    """

    instr: stream.Interface
    completed: data.View
    halt: Signal
    i: data.View
    legal: Signal
    waits: Signal
    may: Signal
    valid: Signal
    ready: Signal
    passing: Signal
    holds: Signal
    illegal: Signal

    def __init__(self, opcode: Opcode, parts: int):
        layout = instruction_layout(opcode)
        super().__init__({
            "instr": In(stream.Signature(layout)), "completed": In(COMPLETED), "halt": In(1),
            "i": Out(layout), "legal": In(1), "waits": Out(len(QUEUES)), "may": In(parts),
            "valid": Out(parts), "ready": In(parts), "passing": Out(1), "holds": Out(1),
            "illegal": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        age, taken = Signal(CHECK_CYCLES), Signal(len(self.valid))
        waits, accepted = Signal(len(QUEUES)), Signal(len(self.valid))
        checked = age[-1]
        m.d.comb += [
            self.waits.eq(Mux(checked, waits, 0)), self.illegal.eq(checked & ~self.legal),
            self.valid.eq(Mux(checked & self.legal & ~self.halt, self.may & ~taken, 0)),
            accepted.eq(taken | (self.valid & self.ready)),
            self.passing.eq(self.holds & accepted.all()),
            self.instr.ready.eq(~self.holds & ~self.halt)]
        m.d.sync += [waits.eq(blocked(self.i, self.completed)),
                     taken.eq(Mux(self.holds & ~self.passing, accepted, 0)),
                     age.eq(Mux(self.holds & ~self.passing, Cat(1, age), 0))]
        with m.If(self.passing):
            m.d.sync += self.holds.eq(0)
        with m.If(self.instr.valid & self.instr.ready):
            m.d.sync += [self.i.eq(self.instr.payload), self.holds.eq(1)]
        return m
