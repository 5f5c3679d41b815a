# SPDX-License-Identifier: Apache-2.0
"""Who gets which job: the sequence that the chip control goes through, without end.

::

    look at the next queue, or the cores
      a core with an interrupt    read what became of its job ─► record ─► memory
      a core in reset             is it over?
      a queue with a job          fetch it, once ─► a free core: cleared, if another tenant was
                                  there ─► what it is told (:mod:`hw.chip.launch`)

One thing is done at a time and nothing is waited for but the memory and a core's registers, so a
core that hangs in its reset holds up nobody. While a core is told of a job its queue's next jobs
are fetched (:mod:`hw.chip.jobs_ahead`), and what it is told may still be on its way when the next
core is chosen.

A gang (:class:`isa.jobs.Job`) is formed with its first job, when all of its cores are free, and
have been cleared if another tenant was there. A core is a member from then on until its job has
ended in whatever way, or the lease has. Its teams: :mod:`hw.chip.gangs`.
"""

from collections.abc import Sequence

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.chip.gangs import Gangs
from hw.chip.jobs_ahead import JobsAhead
from hw.chip.launch import ENABLE, Launch
from hw.chip.lite import access_layout
from hw.chip.registers import peek_layout, queue_layout
from hw.engine.ports import view_of
from hw.parts.choice import first, turns
from isa.chip import ChipConfig
from isa.instructions import MOST_RANKS
from isa.jobs import (COLLECTED, FIRST_COLLECTED, START_BITS, TEAM, WORDS, JobWord, Outcome,
                      Refusal)
from isa.registers import MASK, OFFSET

RESET, CLEAR = MASK["CONTROL.RESET"], MASK["CONTROL.CLEAR"]
CAUSES = MASK["IRQ_STATUS.DONE"] | MASK["IRQ_STATUS.ERROR"]
ERROR = MASK["STATUS.ERROR"].bit_length() - 1
LAID_OUT = ("members", "teams", "base", "reads", "readers")
"""What is known of gangs outside."""


class Dispatch(wiring.Component):
    """Latency: about 90 cycles from a job to its doorbell, 120 from an interrupt to its record, the
    memory's latency beside them. Throughput: a doorbell of a gang's jobs that wait in 47 cycles, 51
    with eight queues.

    Parameters
    ----------
    chip : ChipConfig

    Members
    -------
    queues : array of ``queue_layout(chip)``
    heads, tails : arrays of 16
    running, resetting : cores
        As :class:`hw.chip.registers.ChipRegisters` has them.
    peek, peeked
        A register that the host reads.
    gangs : array of range(groups + 1)
        The queue that each core has its gang of, from 1 on, or none, 0.
    together : cores
        Who fetches instructions with its set.
    members, teams, base, reads, readers
        As of :class:`hw.chip.gangs.Gangs`.
    irq : cores
        The interrupts of the cores.
    access, value
        To the cores' registers (:class:`hw.chip.lite.LiteMaster`).
    read, write, pair, at, busy, failed, index, given, got, arrived, came
        To memory (:class:`hw.chip.mover.BlockMover`).
    """

    queues: data.View
    heads: data.View
    tails: data.View
    running: Signal
    resetting: Signal
    peek: stream.Interface
    peeked: Signal
    gangs: list[Signal]
    together: Signal
    members: list[Signal]
    teams: list[Signal]
    base: list[Signal]
    reads: list[Signal]
    readers: list[Signal]
    irq: Signal
    access: stream.Interface
    value: Signal
    read: Signal
    write: Signal
    pair: Signal
    at: Signal
    busy: Signal
    failed: Signal
    index: Signal
    given: Signal
    got: Signal
    arrived: Signal
    came: Signal

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        self._gangs = Gangs(chip)
        positions = data.ArrayLayout(16, chip.queues)
        super().__init__({
            "queues": In(data.ArrayLayout(queue_layout(chip), chip.queues)),
            "heads": Out(positions), "tails": Out(positions),
            "running": Out(chip.cores), "resetting": Out(chip.cores),
            "peek": In(stream.Signature(peek_layout(chip))), "peeked": Out(32),
            "gangs": Out(range(chip.queues + 1)).array(chip.cores), "together": Out(chip.cores),
            **{name: self._gangs.signature.members[name] for name in LAID_OUT},
            "irq": In(chip.cores),
            "access": Out(stream.Signature(access_layout(chip.cores))), "value": In(32),
            "read": Out(1), "write": Out(1), "pair": Out(1), "at": Out(chip.core.addr_bits),
            "busy": In(1), "failed": In(1), "index": In(range(WORDS)), "given": Out(32),
            "got": In(32), "arrived": In(1), "came": In(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        self._registers(m)
        self._gang_of_queue(m)
        self._jobs_of_queue(m)
        self._memories(m)
        with m.FSM() as fsm:
            self._look(m)
            self._fetch(m)
            self._choose(m)
            self._launch(m)
            self._collect(m)
            self._poll(m)
            self._refuse(m)
            self._send(m)
        begins = ("CHOOSE", "CHOOSE FREE", "FORM", "LAUNCH")
        m.d.comb += [self._jobs.ahead.eq(Cat(fsm.ongoing(state) for state in begins).any()),
                     self._jobs.wanted.eq(fsm.ongoing("FETCHING"))]
        return m

    def _registers(self, m: Module) -> None:
        chip = self._chip
        self._core, self._queue = Signal(range(chip.cores)), Signal(range(chip.queues))
        self._item = Signal(range(1 + chip.queues))
        self._step = Signal(range(WORDS))
        self._known = Signal(chip.cores)
        self._tenants = Array(Signal(16, name=f"tenant{k}") for k in range(chip.cores))
        self._refusal = Signal(8)
        self._lease = view_of(queue_layout(chip))
        self._head, self._tail = Signal(16), Signal(16)
        m.d.comb += [self._lease.eq(self.queues[self._queue]),
                     self._head.eq(self.heads[self._queue]),
                     self._tail.eq(self.tails[self._queue])]

    def _gang_of_queue(self, m: Module) -> None:
        """The gang of the queue at hand; nothing happens to it but in some states."""
        m.submodules.gangs = gangs = self._gangs
        self._gang, self._team = Signal(self._chip.cores), Signal(range(MOST_RANKS))
        m.d.comb += [
            gangs.leased.eq(Cat(self.queues[q].cores.any() for q in range(self._chip.queues))),
            gangs.queue.eq(self._queue), gangs.core.eq(self._core), gangs.gang.eq(self._gang),
            gangs.team.eq(self._team),
            *(to.eq(of) for name in LAID_OUT
              for to, of in zip(getattr(self, name), getattr(gangs, name), strict=True))]

    def _jobs_of_queue(self, m: Module) -> None:
        """Those of the queue at hand from its head on."""
        m.submodules.jobs = self._jobs = jobs = JobsAhead(self._chip)
        self._word_at, self._word = jobs.word_at, jobs.word
        m.submodules.job = self._job = job = Launch(self._chip)
        m.d.comb += [
            job.core.eq(self._core), job.window_base.eq(self._lease.window_base),
            job.window_size.eq(self._lease.window_size), job.word.eq(jobs.word),
            jobs.queue.eq(self._queue), jobs.head.eq(self._head),
            jobs.posted.eq(self._lease.jobs_tail - self._head), self.read.eq(jobs.read),
            self.pair.eq(jobs.pair),
            *(getattr(jobs, name).eq(getattr(self, name))
              for name in ("busy", "failed", "index", "got", "arrived", "came"))]
        with m.If(jobs.read):
            m.d.sync += self.at.eq(self._place(self._lease.jobs_base, jobs.position))

    def _memories(self, m: Module) -> None:
        """A record, and what is known of each core's job."""
        chip = self._chip
        self._note = data.StructLayout({"tag": 64, "queue": range(chip.queues), "position": 16})
        record: memory.Memory = memory.Memory(shape=32, depth=WORDS, init=[])
        notes: memory.Memory = memory.Memory(shape=self._note, depth=chip.cores, init=[])
        m.submodules.record, m.submodules.notes = record, notes
        self._put, record_out = record.write_port(), record.read_port(domain="comb")
        self._keep, self._kept = notes.write_port(), notes.read_port(domain="comb")
        m.d.comb += [
            record_out.addr.eq(self.index), self.given.eq(record_out.data),
            self._keep.addr.eq(self._core), self._kept.addr.eq(self._core)]

    def _look(self, m: Module) -> None:
        """The next queue, one a cycle, and behind the last one the cores that want something, in
        turns; what the host wants to read before it."""
        chip = self._chip
        queue, ended = Signal(range(chip.queues)), self.running & self.irq
        chosen, last = Signal(chip.cores), self._item == chip.queues
        m.d.comb += queue.eq(self._item)
        lease, head = self.queues[queue], self.heads[queue]
        waits = Signal()
        m.d.comb += waits.eq(lease.cores.any() & (lease.jobs_tail != head)
                             & ((head - lease.records_head)[:16] < (1 << lease.ring)))
        with m.State("LOOK"):
            m.d.sync += self._step.eq(0)
            with m.If(self.peek.valid):
                m.next = "PEEK"
            with m.Else():
                m.d.sync += [self._item.eq(Mux(last, 0, self._item + 1)), self._queue.eq(queue)]
                with m.If(last):
                    m.d.sync += chosen.eq(turns(m, "core", ended | self.resetting, Const(1)))
                    m.next = "LOOK AT"
                with m.Elif(waits):
                    m.next = "FETCH"
                    with m.If(self._jobs.there.bit_select(queue, 1)):
                        m.next = "CHOOSE"
        with m.State("LOOK AT"):
            m.d.sync += self._core.eq(first(chosen))
            m.next = "LOOK"
            with m.If((chosen & ended).any()):
                m.next = "COLLECT"
            with m.Elif(chosen.any()):
                m.next = "POLL"
        with m.State("PEEK"):
            self._access(m, self.peek.payload.core, self.peek.payload.offset)
            m.d.comb += [self.peek.ready.eq(self.access.ready), self.peeked.eq(self.value)]
            with m.If(self.access.ready):
                m.next = "LOOK"

    def _access(self, m: Module, core: Value, offset: Value | int, value: Value | int | None = None
                ) -> None:
        """Ask for an access, for as long as the state lasts."""
        m.d.comb += [self.access.valid.eq(1), self.access.payload.core.eq(core),
                     self.access.payload.offset.eq(offset)]
        if value is not None:
            m.d.comb += [self.access.payload.write.eq(1), self.access.payload.data.eq(value)]

    def _place(self, base: Value, position: Value) -> Value:
        """Where a block of a ring is in memory."""
        inside = position & ((1 << self._lease.ring) - 1)
        return base + (inside << 6)

    def _fetch(self, m: Module) -> None:
        with m.State("FETCH"):
            with m.If(~self._jobs.fetches):
                m.next = "CHOOSE"
                with m.If(~self._jobs.there.bit_select(self._queue, 1)):
                    m.d.comb += self._jobs.begin.eq(1)
                    m.next = "FETCHING"
        with m.State("FETCHING"):
            with m.If(self.came):
                m.next = "CHOOSE"
                with m.If(self.failed):
                    self._refused(m, Refusal.MEMORY)

    def _refused(self, m: Module, why: Refusal) -> None:
        m.d.sync += [self._refusal.eq(why), self._step.eq(0)]
        m.next = "REFUSE"

    def _choose(self, m: Module) -> None:
        """A free core: one where the tenant was, or else one that is cleared for it. A job of a
        gang has the one that it names, when the gang has been formed."""
        chip, lease, gang, pending = self._chip, self._lease, self._gang, self._gangs.pending
        wanted, idle, may, free, own = (Signal(chip.cores, name=n) for n in
                                        ("wanted", "idle", "may", "free", "own"))
        masks = [(JobWord.CORES, wanted), (JobWord.GANG, gang)]
        parts: list[tuple[int, Value, Value]] = [
            (word + k, mask[32 * k:][:32], self._word) for word, mask in masks
            for k in range(-(-chip.cores // 32))]
        parts.append((JobWord.START, self._team, self._word[TEAM:START_BITS]))
        match = Cat(self._known[k] & (self._tenants[k] == lease.tenant)
                    for k in range(chip.cores))
        forming = gang.any() & ~pending.any()
        m.d.comb += [
            idle.eq(~self.running & ~self.resetting),
            may.eq(lease.cores & wanted & Mux(forming, gang,
                                              Mux(gang.any(), gang & pending, ~pending)))]
        with m.State("CHOOSE"):
            m.d.sync += self._step.eq(self._step + 1)
            for k, (word, part, value) in enumerate(parts):
                with m.If(self._step == k):
                    m.d.comb += self._word_at.eq(word)
                    m.d.sync += part.eq(value)
            with m.If(self._step == len(parts) - 1):
                m.next = "CHOOSE FREE"
        with m.State("CHOOSE FREE"):
            m.d.sync += [free.eq(may & idle), own.eq(match), self._step.eq(0)]
            m.next = "CHOSEN"
            with m.If(~Mux(gang.any(), may, lease.cores & wanted).any()
                      | (gang & ~lease.cores).any()):
                self._refused(m, Refusal.CORES)
            with m.Elif(forming & (gang & idle & ~match).any()):
                m.d.sync += self._core.eq(first(gang & idle & ~match))
                m.next = "CLEAR"
            with m.Elif(forming):
                m.d.comb += self._gangs.form.eq(~self._gangs.exists & ~(gang & ~idle).any())
                m.next = "LOOK"
                with m.If(self._gangs.form):
                    m.next = "FORM"
        with m.State("FORM"):
            with m.If(~self._gangs.forming):
                m.next = "CHOOSE FREE"
        with m.State("CHOSEN"):
            m.d.sync += self._core.eq(first(Mux((free & own).any(), free & own, free)))
            m.next = "LOOK"
            with m.If((free & own).any()):
                m.next = "LAUNCH"
            with m.Elif(free.any()):
                m.next = "CLEAR"
        with m.State("CLEAR"):
            self._access(m, self._core, OFFSET["CONTROL"], ENABLE | RESET | CLEAR)
            with m.If(self.access.ready):
                bit = self._core
                m.d.sync += [self.resetting.bit_select(bit, 1).eq(1),
                             self._known.bit_select(bit, 1).eq(1),
                             self._tenants[bit].eq(lease.tenant)]
                m.next = "LOOK"

    def _launch(self, m: Module) -> None:
        """The core is told of its job, and it is noted whose that is."""
        launch, core, ganged = self._job, self._core, self._gang.any()
        with m.State("LAUNCH"):
            m.d.comb += [
                launch.run.eq(1), self._word_at.eq(launch.word_at),
                self.access.valid.eq(launch.access.valid),
                self.access.payload.eq(launch.access.payload),
                launch.access.ready.eq(self.access.ready), self._keep.data.tag.eq(launch.tag),
                self._keep.data.queue.eq(self._queue), self._keep.data.position.eq(self._head)]
            m.d.sync += [Array(self.gangs)[core].eq(Mux(ganged, self._queue + 1, 0)),
                         self.together.bit_select(core, 1).eq(ganged & launch.together)]
            with m.If(launch.refused):
                self._refused(m, Refusal.WINDOW)
            with m.Elif(launch.done):
                m.d.sync += self.running.bit_select(core, 1).eq(1)
                m.d.comb += [self._keep.en.eq(1), self._gangs.begin.eq(1)]
                self._taken(m)
                m.next = "LOOK"

    def _taken(self, m: Module) -> None:
        """The job at the head of the queue is done with."""
        m.d.comb += self._jobs.taken.eq(1)
        m.d.sync += self.heads[self._queue].eq(self._head + 1)

    def _collect(self, m: Module) -> None:
        """What became of a core's job, into the record; a core that failed is reset."""
        step, failed = self._step, Signal()
        kept = self._kept.data
        offsets = Array(Const(OFFSET[name], 12) for name in COLLECTED)
        with m.State("COLLECT"):
            self._access(m, self._core, offsets[step])
            m.d.comb += [self._put.addr.eq(FIRST_COLLECTED + step),
                         self._put.data.eq(self.value), self._put.en.eq(self.access.ready)]
            m.d.sync += self._queue.eq(kept.queue)
            with m.If(self.access.ready):
                m.d.sync += step.eq(step + 1)
                with m.If(step == COLLECTED.index("STATUS")):
                    m.d.sync += failed.eq(self.value[ERROR])
                with m.If(step == len(COLLECTED) - 1):
                    m.next = "FORGET"
        with m.State("FORGET"):
            self._access(m, self._core, OFFSET["IRQ_STATUS"], CAUSES)
            m.d.sync += step.eq(0)
            with m.If(self.access.ready):
                m.d.comb += [self._gangs.leave.eq(1), self._gangs.failed.eq(failed)]
                m.d.sync += self.running.bit_select(self._core, 1).eq(0)
                m.next = "NOTE"
                with m.If(failed):
                    m.next = "RESET"
        with m.State("RESET"):
            self._access(m, self._core, OFFSET["CONTROL"], ENABLE | RESET)
            with m.If(self.access.ready):
                m.d.sync += self.resetting.bit_select(self._core, 1).eq(1)
                m.next = "NOTE"
        with m.State("NOTE"):
            outcome = Cat(Mux(failed, Const(Outcome.FAULT, 8), Const(Outcome.DONE, 8)),
                          Const(0, 8), self._core)
            self._put_words(m, [kept.tag[:32], kept.tag[32:], outcome, kept.position])

    def _put_words(self, m: Module, words: Sequence[Value]) -> None:
        """The first words of the record, and off with it."""
        step = self._step
        m.d.comb += [self._put.en.eq(1), self._put.addr.eq(step),
                     self._put.data.eq(Array(words)[step])]
        m.d.sync += step.eq(step + 1)
        with m.If(step == len(words) - 1):
            m.next = "SEND"

    def _poll(self, m: Module) -> None:
        with m.State("POLL"):
            self._access(m, self._core, OFFSET["CONTROL"])
            with m.If(self.access.ready):
                m.next = "LOOK"
                with m.If(~(self.value & RESET).any()):
                    m.next = "RECOVERED"
        with m.State("RECOVERED"):
            self._access(m, self._core, OFFSET["IRQ_STATUS"], CAUSES)
            with m.If(self.access.ready):
                m.d.sync += self.resetting.bit_select(self._core, 1).eq(0)
                m.next = "LOOK"

    def _refuse(self, m: Module) -> None:
        """A record without an execution."""
        step, tag = self._step, [Signal(32, name=f"tag{k}") for k in range(2)]
        with m.State("REFUSE"):
            m.d.comb += [self._gangs.give_up.eq(1),
                         self._word_at.eq(JobWord.TAG + step[:1]), self._put.en.eq(1),
                         self._put.addr.eq(FIRST_COLLECTED + step), self._put.data.eq(0)]
            m.d.sync += step.eq(step + 1)
            for k, word in enumerate(tag):
                with m.If(step[:1] == k):
                    m.d.sync += word.eq(self._word)
            with m.If(step == len(COLLECTED) - 1):
                m.d.sync += step.eq(0)
                m.next = "REFUSED"
        with m.State("REFUSED"):
            outcome = Cat(Const(Outcome.REFUSED, 8), self._refusal, Const(0, 16))
            self._put_words(m, [*tag, outcome, self._head])
            with m.If(step == FIRST_COLLECTED - 1):
                self._taken(m)

    def _send(self, m: Module) -> None:
        with m.State("SEND"):
            with m.If(~self._jobs.fetches):
                m.d.comb += self.write.eq(1)
                m.d.sync += self.at.eq(self._place(self._lease.records_base, self._tail))
                m.next = "SENDING"
        with m.State("SENDING"):
            with m.If(~self.busy):
                m.d.sync += self.tails[self._queue].eq(self._tail + 1)
                m.next = "LOOK"
