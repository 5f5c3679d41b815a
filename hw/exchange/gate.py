# SPDX-License-Identifier: Apache-2.0
"""Waiting for the queues that only a gang has, in front of an engine that knows the others."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.engine.ports import gathered_layout, instruction_layout
from isa.instructions import GANG_ONLY, QUEUES, WAIT_BITS, Opcode

GONE = data.StructLayout({q: unsigned(WAIT_BITS) for q in GANG_ONLY})
"""Completed instructions of them since the doorbell, modulo 2**16."""


class GangGate(wiring.Component):
    """Lets an instruction through once its waits for :data:`isa.instructions.GANG_ONLY` are
    satisfied, a cycle after it has come (:mod:`hw.engine.waits` says how they are compared).

    Parameters
    ----------
    opcode : Opcode

    Members
    -------
    i : stream of ``gathered_layout(opcode)``
    o : stream of ``instruction_layout(opcode)``
    completed : GONE
    blocked : a bit for each of these queues
        What the instruction waits for; 0 where there is none.
    """

    i: stream.Interface
    o: stream.Interface
    completed: data.View
    blocked: Signal

    def __init__(self, opcode: Opcode):
        super().__init__({"i": In(stream.Signature(gathered_layout(opcode))),
                          "o": Out(stream.Signature(instruction_layout(opcode))),
                          "completed": In(GONE), "blocked": Out(len(GANG_ONLY))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        i, o = self.i.payload, self.o.payload
        waits, compared = Signal(len(GANG_ONLY)), Signal()
        behind = Cat((self.completed[q] - i[f"wait_{q}"])[WAIT_BITS - 1] for q in GANG_ONLY)
        m.d.sync += [waits.eq(i.wait_mask[len(QUEUES):] & behind),
                     compared.eq(self.i.valid & ~self.i.ready)]
        m.d.comb += [
            self.blocked.eq(Mux(compared, waits, 0)),
            *(o[name].eq(i[name]) for name in o.shape().members),
            self.o.valid.eq(compared & ~waits.any()),
            self.i.ready.eq(self.o.valid & self.o.ready)]
        return m
