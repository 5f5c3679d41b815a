# SPDX-License-Identifier: Apache-2.0
"""The next jobs of the queues, fetched from memory while those before them begin: those of a gang
do not wait for memory behind what its first cores read."""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from isa.chip import ChipConfig
from isa.jobs import BLOCK, WORDS

SLOT = 2
JOBS = 1 << SLOT
"""That are kept of a queue at most."""


class JobsAhead(wiring.Component):
    """Two jobs that lie side by side come in one burst, if a core's may be as long.

    Latency: of ``word`` none; of a job that of :class:`hw.chip.mover.BlockMover`.

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
        Jobs are on their way.
    word_at, word : range(WORDS), 32
        A word of the first job of the queue at hand.
    read, pair, position : 1, 1, 16
        Strobe: the mover is to read the job at that position of the queue at hand, and the one
        behind it.
    busy, failed, index, got, arrived, came
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
    pair: Signal
    position: Signal
    busy: Signal
    failed: Signal
    index: Signal
    got: Signal
    arrived: Signal
    came: Signal

    def __init__(self, chip: ChipConfig):
        self._queues = chip.queues
        self._pairs = 2 * BLOCK <= chip.core.max_burst * chip.core.bus_bytes
        strobes = {name: In(1) for name in (
            "begin", "ahead", "wanted", "taken", "busy", "failed", "arrived", "came")}
        super().__init__({
            **strobes, "queue": In(range(chip.queues)), "head": In(16), "posted": In(16),
            "there": Out(chip.queues), "fetches": Out(1), "word_at": In(range(WORDS)),
            "word": Out(32), "read": Out(1), "pair": Out(1), "position": Out(16),
            "index": In(range(WORDS)), "got": In(32)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        counts = Array(Signal(range(JOBS + 1), name=f"count{q}") for q in range(self._queues))
        count, slot, whose = Signal(range(JOBS + 1)), Signal(SLOT), Signal(range(self._queues))
        lost, good = Signal(), Signal()
        m.d.comb += [
            count.eq(counts[self.queue]), self.there.eq(Cat(each.any() for each in counts)),
            self.position.eq(self.head + count),
            self.read.eq(self.begin | self.ahead & ~self.fetches & (count != JOBS)
                         & (self.posted > count)),
            good.eq(self.came & ~lost & (~self.failed | self.wanted))]
        if self._pairs:
            m.d.comb += self.pair.eq(~self.position[0] & (count <= JOBS - 2)
                                     & (self.posted > count + 1))
        with m.If(self.came):   # none behind one that is not there
            m.d.sync += [slot.eq(slot + 1), lost.eq(~good)]
        with m.If(self.read):
            m.d.sync += [self.fetches.eq(1), whose.eq(self.queue), slot.eq(self.position[:SLOT]),
                         lost.eq(0)]
        with m.Elif(~self.busy):
            m.d.sync += self.fetches.eq(0)
        for q, each in enumerate(counts):
            m.d.sync += each.eq(each + (good & (whose == q)) - (self.taken & (self.queue == q)))
        self._memory(m, slot, whose)
        return m

    def _memory(self, m: Module, slot: Signal, whose: Signal) -> None:
        """Where the jobs are; one that comes goes to a slot of whose it is."""
        kept: memory.Memory = memory.Memory(shape=32, depth=self._queues * JOBS * WORDS, init=[])
        m.submodules.kept = kept
        write, read = kept.write_port(), kept.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(Cat(self.index, slot, whose)), write.data.eq(self.got),
            write.en.eq(self.arrived), self.word.eq(read.data),
            read.addr.eq(Cat(self.word_at, self.head[:SLOT], self.queue))]
