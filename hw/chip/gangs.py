# SPDX-License-Identifier: Apache-2.0
"""The gangs of the job queues: which of their cores are still to begin, what teams they are in, and
who of them reads together.

A gang is laid out before it is formed: its cores, from the first one on, are in teams that follow
one another, and a core's rank is its number in its team. The cores of a rank read together, if
there are several teams, in the set whose number is that of the queue and the rank. The cores of a
rank whose set another gang has, or for which there is none, read each for itself.
"""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.parts.choice import first
from isa.chip import ChipConfig
from isa.instructions import MOST_RANKS


class Gangs(wiring.Component):
    """Latency: a cycle; of ``form`` two, and one for each core of the chip from the gang's first
    one on. At most one of the strobes is set in a cycle, and none while ``forming``.

    Parameters
    ----------
    chip : ChipConfig

    Members
    -------
    leased : queues
        Those that belong to a lease; the others have no gang.
    queue : range(queues)
        The one at hand.
    core : range(cores)
        The one at hand.
    gang : cores
        Of the job at hand.
    team : range(MOST_RANKS)
        Cores of its teams, less one.
    form : 1
        Strobe: form the gang, whose jobs are going to begin.
    forming : 1
        It is being laid out; what is at hand stays.
    begin : 1
        Strobe: the core has begun.
    leave : 1
        Strobe: the core is no member any longer.
    failed : 1
        With ``leave``: since it failed. Its team reads each for itself.
    give_up : 1
        Strobe: those that have not begun are no members, and will not begin. If teams have several
        cores, the others read each for itself.
    exists : 1
        The queue has a gang with members.
    pending : cores
        Those of its members that have not begun.
    members : ``cores`` bits for each queue
    teams : range(MOST_RANKS) for each queue
        Cores of a team of its gang, less one.
    base : range(cores) for each core
        The first core of its team.
    reads : range(groups + 1) for each core
        The number of its set, from 1 on, or none, 0.
    readers : ``cores`` bits for each set
    """

    leased: Signal
    queue: Signal
    core: Signal
    gang: Signal
    team: Signal
    form: Signal
    forming: Signal
    begin: Signal
    leave: Signal
    failed: Signal
    give_up: Signal
    exists: Signal
    pending: Signal
    members: list[Signal]
    teams: list[Signal]
    base: list[Signal]
    reads: list[Signal]
    readers: list[Signal]

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        core = range(max(2, chip.cores))
        super().__init__({
            "leased": In(chip.queues), "queue": In(range(chip.queues)), "core": In(core),
            "gang": In(chip.cores), "team": In(range(MOST_RANKS)), "form": In(1),
            "forming": Out(1), "begin": In(1), "leave": In(1), "failed": In(1), "give_up": In(1),
            "exists": Out(1), "pending": Out(chip.cores),
            "members": Out(chip.cores).array(chip.queues),
            "teams": Out(range(MOST_RANKS)).array(chip.queues), "base": Out(core).array(chip.cores),
            "reads": Out(range(chip.groups + 1)).array(chip.cores),
            "readers": Out(chip.cores).array(chip.groups)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        self._all = Cat(Cat(members[k] for members in self.members).any()
                        for k in range(self._chip.cores))
        m.d.comb += [readers.eq(self._all & Cat(reads == s for reads in self.reads))
                     for s, readers in enumerate(self.readers, start=1)]
        formed = self._lay_out(m)
        pendings = [Signal(self._chip.cores, name=f"pending{q}")
                    for q in range(self._chip.queues)]
        m.d.comb += [self.exists.eq(Array(self.members)[self.queue].any()),
                     self.pending.eq(Array(pendings)[self.queue])]
        for q, (members, pending) in enumerate(zip(self.members, pendings, strict=True)):
            with m.If(~self.leased[q]):
                m.d.sync += Cat(members, pending).eq(0)
            with m.Elif(self.queue == q):
                self._change(m, members, pending)
                with m.If(formed):
                    m.d.sync += [Cat(members, pending).eq(self.gang.replicate(2)),
                                 self.teams[q].eq(self.team)]
        self._part(m)
        return m

    def _lay_out(self, m: Module) -> Value:
        """From the first core on, one a cycle: the team and the set of each. Returns when all have
        theirs."""
        chip = self._chip
        at, base = Signal.like(self.core), Signal.like(self.core)
        rank, number = Signal(range(MOST_RANKS)), Signal(range(chip.groups))
        several, free, last = Signal(), Signal(), Signal()
        used = Cat(readers.any() for readers in self.readers)
        begin = first(self.gang)
        m.d.comb += [last.eq(rank == self.team),
                     free.eq(several & (rank < chip.groups) & ~used.bit_select(number, 1))]
        with m.If(self.form):
            m.d.sync += [self.forming.eq(1), at.eq(begin), base.eq(begin), rank.eq(0),
                         number.eq(self.queue),
                         several.eq((self.gang >> begin >> self.team)[1:].any())]
        with m.If(self.forming):
            with m.If(self.gang.bit_select(at, 1)):
                m.d.sync += [Array(self.base)[at].eq(base),
                             Array(self.reads)[at].eq(Mux(free, number + 1, 0))]
            m.d.sync += [at.eq(at + 1), rank.eq(rank + 1),
                         number.eq(Mux(number == chip.groups - 1, 0, number + 1))]
            with m.If(last):
                m.d.sync += [rank.eq(0), base.eq(at + 1), number.eq(self.queue)]
            with m.If(at == chip.cores - 1):
                m.d.sync += self.forming.eq(0)
        return self.forming & (at == chip.cores - 1)

    def _change(self, m: Module, members: Value, pending: Value) -> None:
        bit = Signal(self._chip.cores)
        m.d.comb += bit.eq(1 << self.core)
        with m.If(self.begin):
            m.d.sync += pending.eq(pending & ~bit)
        with m.If(self.leave):
            m.d.sync += members.eq(members & ~bit)
        with m.If(self.give_up):
            m.d.sync += [members.eq(members & ~pending), pending.eq(0)]

    def _part(self, m: Module) -> None:
        """Who is no member reads for itself. So do the others of a team that is not whole any more,
        for which nobody of another team waits then."""
        bases, members = Array(self.base), Array(self.members)[self.queue]
        teams = Array(self.teams)[self.queue].any()
        lost, left = self.leave & self.failed, self.give_up & teams
        for k, (base, reads) in enumerate(zip(self.base, self.reads, strict=True)):
            mates = members[k] & (base == bases[self.core])
            with m.If(self.leave & (self.core == k) | lost & mates | left & members[k]):
                m.d.sync += reads.eq(0)
