# SPDX-License-Identifier: Apache-2.0
"""Waiting for other queues: thresholds on their completion counters.

An instruction names, for each queue of its ``wait_mask``, how many instructions of that queue have
to be complete before it starts. Counters and thresholds are 16 bits and compared modulo 2**16, so
the top bit of ``completed - wait`` is all that is looked at: no read-modify-write semaphore,
nothing to initialize, and any number of instructions may wait for the same event. The difference
stays below 2**15, or an instruction would be taken to wait for what is long complete: it is at most
:data:`isa.instructions.WAIT_REACH` when the instruction comes, and the sequencer lets fewer follow
while it waits.

``done`` in cycle t raises the counter in t + 1, and the waiting instruction leaves its queue in
t + 2: the comparison has a cycle of its own. A counter only grows, so what was satisfied a cycle
ago still is.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.engine.ports import COMPLETED, instruction_layout
from isa.instructions import QUEUES, WAIT_BITS, Opcode


def blocked(instr: data.View, completed: data.View) -> Value:
    """A bit for each queue: ``instr`` (a view of an ``instruction_layout``) still waits for it,
    as the counters ``completed`` (a view of ``COMPLETED``) tell."""
    behind = [(completed[q] - instr[f"wait_{q}"])[WAIT_BITS - 1] for q in QUEUES]
    return instr["wait_mask"] & Cat(*behind)


class WaitGate(wiring.Component):
    """Lets the head of a queue through once its waits are satisfied, a cycle after it has come.

    Parameters
    ----------
    opcode : Opcode
        Whose instructions pass.

    Members
    -------
    i, o : stream of ``instruction_layout(opcode)``
    completed : COMPLETED
    blocked : a bit for each queue
        What the head of the queue waits for; 0 where the queue is empty.
    """

    i: stream.Interface
    o: stream.Interface
    completed: data.View
    blocked: Signal

    def __init__(self, opcode: Opcode):
        payload = stream.Signature(instruction_layout(opcode))
        super().__init__({"i": In(payload), "o": Out(payload), "completed": In(COMPLETED),
                          "blocked": Out(len(QUEUES))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        waits, compared = Signal(len(QUEUES)), Signal()
        m.d.sync += [waits.eq(blocked(self.i.payload, self.completed)),
                     compared.eq(self.i.valid & ~self.i.ready)]
        m.d.comb += [
            self.blocked.eq(Mux(compared, waits, 0)),
            self.o.payload.eq(self.i.payload),
            self.o.valid.eq(compared & ~waits.any()),
            self.i.ready.eq(self.o.valid & self.o.ready),
        ]
        return m
