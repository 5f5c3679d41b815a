# SPDX-License-Identifier: Apache-2.0
"""The gangs of the job queues: which cores read together, and which of those are still to begin."""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.parts.choice import first
from isa.chip import ChipConfig


class Gangs(wiring.Component):
    """Latency: a cycle. At most one of the strobes is set in a cycle.

    Parameters
    ----------
    chip : ChipConfig

    Members
    -------
    leased : queues
        Those that belong to a lease; the others have no gang.
    queue : range(queues)
        The one at hand.
    core : cores
        A bit, of the core at hand.
    gang : cores
        Of the job at hand.
    form : 1
        Strobe: the gang is formed, and its jobs are going to begin.
    begin : 1
        Strobe: the core has begun.
    leave : 1
        Strobe: the core is no member any longer.
    give_up : 1
        Strobe: those that have not begun are no members, and will not begin.
    exists : 1
        The queue has a gang with members.
    pending : cores
        Those of its members that have not begun.
    members : ``cores`` bits for each queue
    base : range(cores) for each queue
        The first core of its gang when that was formed.
    """

    leased: Signal
    queue: Signal
    core: Signal
    gang: Signal
    form: Signal
    begin: Signal
    leave: Signal
    give_up: Signal
    exists: Signal
    pending: Signal
    members: list[Signal]
    base: list[Signal]

    def __init__(self, chip: ChipConfig):
        super().__init__({
            "leased": In(chip.queues), "queue": In(range(chip.queues)), "core": In(chip.cores),
            "gang": In(chip.cores), "form": In(1), "begin": In(1), "leave": In(1),
            "give_up": In(1), "exists": Out(1), "pending": Out(chip.cores),
            "members": Out(chip.cores).array(chip.queues),
            "base": Out(range(max(2, chip.cores))).array(chip.queues)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        pendings = [Signal(len(self.core), name=f"pending{q}") for q in range(len(self.leased))]
        m.d.comb += [self.exists.eq(Array(self.members)[self.queue].any()),
                     self.pending.eq(Array(pendings)[self.queue])]
        for q, (members, pending) in enumerate(zip(self.members, pendings, strict=True)):
            with m.If(~self.leased[q]):
                m.d.sync += Cat(members, pending).eq(0)
            with m.Elif(self.queue == q):
                self._change(m, members, pending)
                with m.If(self.form):
                    m.d.sync += self.base[q].eq(first(self.gang))
        return m

    def _change(self, m: Module, members: Value, pending: Value) -> None:
        with m.If(self.form):
            m.d.sync += [members.eq(self.gang), pending.eq(self.gang)]
        with m.If(self.begin):
            m.d.sync += pending.eq(pending & ~self.core)
        with m.If(self.leave):
            m.d.sync += members.eq(members & ~self.core)
        with m.If(self.give_up):
            m.d.sync += [members.eq(members & ~pending), pending.eq(0)]
