# SPDX-License-Identifier: Apache-2.0
"""The next jobs of the queues, fetched from memory while those before them begin: those of a gang
do not wait for memory behind what its first cores read."""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from isa.chip import ChipConfig
from isa.jobs import WORDS

SLOT = 2
JOBS = 1 << SLOT
"""That are kept of a queue at most."""


class JobsAhead(wiring.Component):
    """Latency: of ``word`` none; of a job that of :class:`hw.chip.mover.BlockMover`.

    Parameters
    ----------
    chip : ChipConfig

    Members
    -------
    queue : range(queues)
        The one at hand.
    head : 16
        Position of its first job.
    posted : 16
        Jobs that it has.
    begin : 1
        Strobe: fetch its first job, which is not there; not while ``fetches``.
    ahead : 1
        Its next jobs may be fetched.
    wanted : 1
        Its first job is waited for: one that the memory does not give is there, and
        ``failed`` of the mover says so. Otherwise such a job is not there.
    taken : 1
        Strobe: its first job is done with.
    there : queues
        Those whose first job is there.
    fetches : 1
        A job is on its way.
    word_at, word : range(WORDS), 32
        A word of the first job of the queue at hand.
    read, position : 1, 16
        Strobe: the mover is to read the job at that position of the queue at hand.
    busy, failed, index, got, arrived
        Of the mover.
    """

    queue: Signal
    head: Signal
    posted: Signal
    begin: Signal
    ahead: Signal
    wanted: Signal
    taken: Signal
    there: Signal
    fetches: Signal
    word_at: Signal
    word: Signal
    read: Signal
    position: Signal
    busy: Signal
    failed: Signal
    index: Signal
    got: Signal
    arrived: Signal

    def __init__(self, chip: ChipConfig):
        self._queues = chip.queues
        strobes = {name: In(1) for name in (
            "begin", "ahead", "wanted", "taken", "busy", "failed", "arrived")}
        super().__init__({
            **strobes, "queue": In(range(chip.queues)), "head": In(16), "posted": In(16),
            "there": Out(chip.queues), "fetches": Out(1), "word_at": In(range(WORDS)),
            "word": Out(32), "read": Out(1), "position": Out(16), "index": In(range(WORDS)),
            "got": In(32)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        counts = Array(Signal(range(JOBS + 1), name=f"count{q}") for q in range(self._queues))
        count, slot, whose = Signal(range(JOBS + 1)), Signal(SLOT), Signal(range(self._queues))
        m.d.comb += [
            count.eq(counts[self.queue]), self.there.eq(Cat(each.any() for each in counts)),
            self.position.eq(self.head + count),
            self.read.eq(self.begin | self.ahead & ~self.fetches & (count != JOBS)
                         & (self.posted > count))]
        came = self.fetches & ~self.busy
        with m.If(self.read):
            m.d.sync += [self.fetches.eq(1), whose.eq(self.queue), slot.eq(self.position[:SLOT])]
        with m.Elif(came):
            m.d.sync += self.fetches.eq(0)
        more = came & (~self.failed | self.wanted)
        for q, each in enumerate(counts):
            m.d.sync += each.eq(each + (more & (whose == q)) - (self.taken & (self.queue == q)))
        self._memory(m, slot, whose)
        return m

    def _memory(self, m: Module, slot: Signal, whose: Signal) -> None:
        """Where the jobs are; the one that comes goes to a slot of whose it is."""
        kept: memory.Memory = memory.Memory(shape=32, depth=self._queues * JOBS * WORDS, init=[])
        m.submodules.kept = kept
        write, read = kept.write_port(), kept.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(Cat(self.index, slot, whose)), write.data.eq(self.got),
            write.en.eq(self.arrived), self.word.eq(read.data),
            read.addr.eq(Cat(self.word_at, self.head[:SLOT], self.queue))]
