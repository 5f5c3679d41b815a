# SPDX-License-Identifier: Apache-2.0
"""Waits: an instruction starts when what it waits for is complete, never before, and then always;
and the counters that say what is.

What happens modulo 2**16 in the hardware is held against whole numbers here. An instruction waits
for the ``distance``-th last one of a queue before it in the program; ``pending`` of those before it
were not complete when it came, and ``later`` have completed since, those behind it in the program
included.
"""

from typing import Any

from amaranth.hdl import Assert, Assume, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from hw.control.sequencer import Sequencer
from hw.engine.ports import view_of
from hw.engine.waits import WaitGate, blocked
from hw.exchange.gate import GangGate
from hw.parts.delay import register
from isa.config import Config
from isa.instructions import GANG_ONLY, GANG_QUEUES, QUEUES, WAIT_BITS, WAIT_REACH, Opcode
from prove.checker import Design

UNDER_WAY = 128
"""More instructions than a queue and its engine hold."""

QUEUE = data.StructLayout({"start": WAIT_BITS, "distance": WAIT_BITS, "pending": range(UNDER_WAY),
                           "later": WAIT_BITS})


class Waits(Design):
    """A gate lets an instruction pass in the cycle after all that it waits for is complete, and
    only then, while up to ``later`` instructions of each queue complete in any cycles; and it says
    whom a waiting instruction waits for."""

    NAMES: tuple[str, ...] = QUEUES
    """The queues that the gate knows."""

    mask: Signal
    queues: data.View
    ready: Signal

    def __init__(self, later: int):
        self._later = later
        super().__init__({"mask": In(len(self.NAMES)), "ready": In(1),
                          "queues": In(data.ArrayLayout(QUEUE, len(self.NAMES))),
                          "reached": Out(1)})

    def _gate(self) -> Any:
        return WaitGate(Opcode.STORE)

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.gate = gate = self._gate()
        instr = view_of(gate.i.payload.shape())
        complete = []
        for name, queue in zip(self.NAMES, self.queues, strict=True):
            m.d.comb += [
                Assume(queue.distance <= WAIT_REACH), Assume(queue.later <= self._later),
                instr[f"wait_{name}"].eq(queue.start + queue.pending - queue.distance),
                gate.completed[name].eq(queue.start + queue.later)]
            complete.append(queue.later + queue.distance >= queue.pending)
        satisfied, before, came = Signal(), Signal(), Signal()
        m.d.comb += [
            instr.wait_mask.eq(self.mask << GANG_QUEUES.index(self.NAMES[0])),
            gate.i.payload.eq(instr), gate.o.ready.eq(self.ready),
            gate.i.valid.eq(1), satisfied.eq((~self.mask | Cat(*complete)).all()),
            Assert(gate.o.valid == came & before),
            self.reached.eq(gate.o.valid & self.mask.all())]
        m.d.sync += [before.eq(satisfied), came.eq(~gate.i.ready)]
        self._says(m, gate, instr, self.mask & ~Cat(*complete), came & ~before)
        return m

    def _says(self, m: Module, gate: Any, instr: data.View, lacks: Value, waits: Value) -> None:
        """What the gate shows: ``lacks`` are the queues that are not far enough."""
        m.d.comb += Assert(blocked(instr, gate.completed) == lacks)


class GangWaits(Waits):
    """The same of the gate for the queues that only a gang has."""

    NAMES = GANG_ONLY

    def _gate(self) -> Any:
        return GangGate(Opcode.STORE)

    def _says(self, m: Module, gate: Any, instr: data.View, lacks: Value, waits: Value) -> None:
        late = register(m, "late", lacks)
        m.d.comb += Assert(gate.blocked == Mux(waits, late, 0))


class Counters(Design):
    """Every engine is shown how many instructions of each queue have completed since the doorbell,
    modulo 2**16, from two cycles after a completion on."""

    done: Signal
    start: Signal
    halt: Signal

    def __init__(self, config: Config):
        self._config = config
        super().__init__({"done": In(len(QUEUES)), "start": In(1), "halt": In(1),
                          "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.sequencer = sequencer = Sequencer(self._config)
        m.d.comb += [sequencer.start.eq(self.start), sequencer.abort.eq(self.halt)]
        engines = [getattr(sequencer, f"{name}_engine") for name in QUEUES]
        for k, (name, engine) in enumerate(zip(QUEUES, engines, strict=True)):
            count = Signal(WAIT_BITS + 4, name=f"count_{name}")
            noticed = register(m, f"noticed_{name}", self.done[k])
            m.d.comb += engine.done.eq(self.done[k])
            with m.If(self.start):
                m.d.sync += count.eq(0)
            with m.Else():
                m.d.sync += count.eq(count + noticed)
            for other in engines:
                m.d.comb += Assert(other.completed[name] == count[:WAIT_BITS])
        m.d.comb += self.reached.eq(engines[0].completed[QUEUES[-1]] == 3)
        return m
