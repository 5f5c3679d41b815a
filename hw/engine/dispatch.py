# SPDX-License-Identifier: Apache-2.0
"""An instruction between its queue and the parts of an engine that execute it, each in its time.

::

    instr ─► held ─┬─► rules ─► verdict ──┐
                   ├─► waits ─────────────┴─► valid[k], for each part k ─► ready[k]
                   └─► i

The engine states the rules and which waits each part heeds; the next instruction is taken two
cycles after every part has taken this one. Latency: ``CHECK_CYCLES`` + 1 cycles from ``instr`` to
``valid``, which the instruction before usually hides; 1 cycle from a completion to ``valid``.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.engine.ports import COMPLETED, instruction_layout
from hw.engine.waits import blocked
from hw.parts.delay import register
from isa.instructions import QUEUES, Opcode

CHECK_CYCLES = 3
"""From an instruction to the verdict on it: products that rules look at, rules, all of them."""


def all_hold(m: Module, rules: Sequence[Value]) -> Value:
    """Whether all rules hold, a cycle later."""
    return register(m, "kept", Cat(*rules)).all()


def verdict(m: Module, rules: Sequence[Value]) -> Signal:
    """Whether all rules hold, two cycles later, in a register."""
    return register(m, "legal", all_hold(m, rules))


def heeds_ahead(i: data.View) -> Value:
    """What the loader of an instruction's weights waits for: LOADs alone, or everything."""
    return Mux(i.w_ahead, 1 << QUEUES.index("load"), -1)


class Dispatch(wiring.Component):
    """Parameters
    ----------
    opcode : Opcode
    parts : int
        That execute an instruction.
    cycles : int
        From an instruction to the verdict on it.

    Members
    -------
    instr : In(stream of ``instruction_layout(opcode)``)
        Waits not yet looked at.
    completed : In(COMPLETED)
    halt : In(1)
    i : Out(instruction_layout(opcode))
    legal : In(1)
        The verdict on ``i``, from the cycle before the last of ``cycles``.
    heeds : In(a bit for each queue).array(parts)
        The queues that each part waits for, as far as the instruction does. Those of ``i``.
    waits : Out(a bit for each queue)
        What ``i`` waits for, from the verdict on; 0 before.
    may : In(parts)
        Beside the verdict and the waits: what each part asks of itself.
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
    heeds: list[Signal]
    waits: Signal
    may: Signal
    valid: Signal
    ready: Signal
    passing: Signal
    holds: Signal
    illegal: Signal

    def __init__(self, opcode: Opcode, parts: int, cycles: int = CHECK_CYCLES):
        layout = instruction_layout(opcode)
        self._cycles = cycles
        super().__init__({
            "instr": In(stream.Signature(layout)), "completed": In(COMPLETED), "halt": In(1),
            "i": Out(layout), "legal": In(1),
            "heeds": In(len(QUEUES)).array(parts), "waits": Out(len(QUEUES)), "may": In(parts),
            "valid": Out(parts), "ready": In(parts), "passing": Out(1), "holds": Out(1),
            "illegal": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        age, taken = Signal(self._cycles - 1), Signal(len(self.valid))
        legal, stays, behind = Signal(), Signal(), Signal(len(QUEUES))
        waits, clear = Signal(len(QUEUES)), Signal(len(self.valid))
        accepted = Signal(len(self.valid))
        m.d.comb += [
            behind.eq(blocked(self.i, self.completed)),
            self.waits.eq(Mux(legal | self.illegal, waits, 0)),
            self.valid.eq(Mux(legal & ~self.halt, clear & self.may & ~taken, 0)),
            accepted.eq(taken | (self.valid & self.ready)), stays.eq(self.holds & ~self.passing),
            self.passing.eq(taken.all()),
            self.instr.ready.eq(~self.holds & ~self.halt)]
        m.d.sync += [
            waits.eq(behind), taken.eq(Mux(stays, accepted, 0)),
            *(clear[k].eq(~(behind & heeds).any()) for k, heeds in enumerate(self.heeds)),
            age.eq(Mux(stays, Cat(1, age), 0)),
            legal.eq(stays & age[-1] & self.legal), self.illegal.eq(stays & age[-1] & ~self.legal)]
        with m.If(self.passing):
            m.d.sync += self.holds.eq(0)
        # the payload is sampled in every idle cycle, valid or not, and holds tells which it was
        with m.If(~self.holds):
            m.d.sync += [self.i.eq(self.instr.payload),
                         self.holds.eq(self.instr.valid & self.instr.ready)]
        return m
