# SPDX-License-Identifier: Apache-2.0
"""Cores that read and write through a hub, and what they have to see."""

import random
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from amaranth.sim import Simulator

from hw.chip.hub import Hub
from isa.chip import INTERLEAVE
from hw.memory.axi import FETCH_ID, LOAD_ID, STORE_ID
from isa.config import Config
from tests.hw.chip.channel_memory import ChannelMemory

READ_BYTES, WRITE_BYTES = 0x4000, 0x2000
"""All cores read the first bytes; each writes to so many of its own behind them."""


@dataclass(frozen=True)
class Burst:
    """``beats`` at a byte address; a write has data and strobes of each beat, a read may be that of
    a ``group``."""

    axi_id: int
    addr: int
    beats: int
    lines: tuple[tuple[int, int], ...] = ()
    group: int = 0


@dataclass
class Core:
    """Makes ``reads``, those of each ID in order, and ``writes``, and keeps what comes. ``rest`` is
    the chance that it rests on a channel in a cycle; ``at_once`` its reads of an ID that are not
    answered, at most; ``done`` the cycle of the last answer."""

    number: int
    reads: list[Burst]
    writes: list[Burst]
    rest: float = 0.0
    at_once: int = 4
    data: list[tuple[int, int, int, int]] = field(default_factory=list)
    answers: list[tuple[int, int]] = field(default_factory=list)
    done: int = 0
    cycle: int = 0

    @property
    def finished(self) -> bool:
        """Everything has been answered."""
        return (len(self.data) == sum(b.beats for b in self.reads)
                and len(self.answers) == len(self.writes))

    async def run(self, ctx, bus, gang, seed):
        """A background testbench."""
        rng = random.Random(f"core {seed} {self.number}")
        reads = {i: deque(b for b in self.reads if b.axi_id == i) for i in (LOAD_ID, FETCH_ID)}
        addresses = deque(self.writes)
        lines = deque((*line, i == b.beats - 1) for b in self.writes for i, line in
                      enumerate(b.lines))
        owed = {LOAD_ID: 0, FETCH_ID: 0}
        while True:
            awake = {c: rng.random() >= self.rest for c in ("aw", "w", "b", "ar", "r")}
            may = [i for i, bursts in reads.items() if bursts and owed[i] < self.at_once]
            if not ctx.get(bus.ar.valid) and may and awake["ar"]:
                axi_id = rng.choice(may)
                owed[axi_id] += 1
                group = reads[axi_id][0].group
                ctx.set(gang, group)
                self._offer(ctx, bus.ar, reads[axi_id].popleft(), {"user": group != 0})
            if not ctx.get(bus.aw.valid) and addresses and awake["aw"]:
                self._offer(ctx, bus.aw, addresses.popleft())
            if not ctx.get(bus.w.valid) and lines and awake["w"]:
                data, strb, last = lines.popleft()
                ctx.set(bus.w.payload, {"data": data, "strb": strb, "last": last})
                ctx.set(bus.w.valid, 1)
            ctx.set(bus.r.ready, awake["r"])
            ctx.set(bus.b.ready, awake["b"])
            outs = (bus.ar, bus.aw, bus.w)
            _, _, r, b, *taken = await ctx.tick().sample(
                bus.r.payload, bus.b.payload, *(c.valid & c.ready for c in (bus.r, bus.b, *outs)))
            self.cycle += 1
            for channel, took in zip(outs, taken[2:], strict=True):
                if took:
                    ctx.set(channel.valid, 0)
            if taken[0]:
                self.data.append((r.id, r.data, r.resp, r.last))
                owed[r.id] -= r.last
                self.done = self.cycle
            if taken[1]:
                self.done = self.cycle
                self.answers.append((b.id, b.resp))

    @staticmethod
    def _offer(ctx, channel, burst: Burst, more: dict[str, int] | None = None) -> None:
        ctx.set(channel.payload, {"id": burst.axi_id, "addr": burst.addr, "len": burst.beats - 1,
                                  **(more or {})})
        ctx.set(channel.valid, 1)


class Bench:
    """A hub between :class:`Core` and :class:`ChannelMemory`; ``groups`` has the members of each,
    a bit for a core; ``regroup`` a cycle in which they become others, and those; ``together`` who
    fetches with its group. ``held`` counts the cycles in which each core was held."""

    def __init__(self, config: Config, cores: list[Core], channels: int, *, stall: float = 0.0,
                 latency: tuple[int, int] = (1, 1), mixes: bool = True, seed: int = 0,
                 errors: dict[int, int] | None = None, depths=None,
                 groups: tuple[int, ...] = (), regroup: tuple[int, tuple[int, ...]] = (-1, ()),
                 together: int = 0):
        self.config, self.cores, self.seed = config, cores, seed
        self.depths, self.groups, self.regroup = depths, groups, regroup
        self.together, self.held = together, [0] * len(cores)
        rng = np.random.default_rng(seed)
        self.data = rng.integers(0, 256, READ_BYTES + len(cores) * WRITE_BYTES, np.uint8)
        self.before, self.errors = self.data.copy(), errors or {}
        self.memories = [ChannelMemory(self.data, config.bus_bytes, c, channels, stall, latency,
                                       mixes, seed, self.errors) for c in range(channels)]
        self.cycles = 0

    def run(self, limit: int = 6000):
        """Until everything has been answered. Returns self."""
        dut = Hub(self.config, cores=len(self.cores), channels=len(self.memories),
                  depths=self.depths, groups=len(self.groups))

        async def watch(ctx):
            groups = self.groups
            ctx.set(dut.together, self.together)
            while not all(core.finished for core in self.cores):
                if self.cycles == self.regroup[0]:
                    groups = self.regroup[1]
                for members, mask in zip(dut.members, groups, strict=True):
                    ctx.set(members, mask)
                await ctx.tick()
                self.cycles += 1
                held = ctx.get(dut.held)
                self.held = [n + (held >> k & 1) for k, n in enumerate(self.held)]
                assert self.cycles < limit, "does not end"
            for _ in range(20):
                await ctx.tick()

        def beside(agent, *args):
            async def bench(ctx):
                await agent.run(ctx, *args)
            return bench

        sim = Simulator(dut)
        sim.add_clock(1e-6)
        for memory, bus in zip(self.memories, dut.channels, strict=True):
            sim.add_testbench(beside(memory, bus), background=True)
        for core, bus, gang in zip(self.cores, dut.cores, dut.gang, strict=True):
            sim.add_testbench(beside(core, bus, gang, self.seed), background=True)
        sim.add_testbench(watch)
        sim.run()
        return self

    def check(self) -> None:
        """Every core has what the memory has, in order; the memory what the cores wrote, and no
        more."""
        self.check_cores()
        want = self.before.copy()
        for core in self.cores:
            for b in core.writes:
                self._apply(b, want)
        assert (self.data == want).all()
        assert sum(m.beats for m in self.memories) == sum(
            b.beats for k, core in enumerate(self.cores) for b in core.reads
            if not b.group or self._first(b.group) == k)
        assert sum(m.written for m in self.memories) == sum(
            b.beats for c in self.cores for b in c.writes)

    def _first(self, group: int) -> int:
        """The member for whom a group's data are counted."""
        members = self.groups[group - 1]
        return (members & -members).bit_length() - 1

    def check_cores(self) -> None:
        """Data, order and responses as the cores see them."""
        bus = self.config.bus_bytes
        for core in self.cores:
            for axi_id in (LOAD_ID, FETCH_ID):
                expected = [
                    (axi_id, int.from_bytes(bytes(self.before[at:at + bus]), "little"),
                     self.errors.get(at // INTERLEAVE, 0), i == b.beats - 1)
                    for b in core.reads if b.axi_id == axi_id for i in range(b.beats)
                    for at in [b.addr // bus * bus + i * bus]]
                assert [beat for beat in core.data if beat[0] == axi_id] == expected
            assert core.answers == [(STORE_ID, max(self._responses(b))) for b in core.writes]

    def _responses(self, b: Burst) -> list[int]:
        bus = self.config.bus_bytes
        return [self.errors.get((b.addr // bus + i) * bus // INTERLEAVE, 0)
                for i in range(b.beats)]

    def _apply(self, b: Burst, data: np.ndarray) -> None:
        bus = self.config.bus_bytes
        for i, ((line, strb), resp) in enumerate(zip(b.lines, self._responses(b), strict=True)):
            for j, byte in enumerate(line.to_bytes(bus, "little")):
                if strb >> j & 1 and not resp:
                    data[b.addr // bus * bus + i * bus + j] = byte


def random_bursts(config: Config, core: int, seed: int, reads: int, writes: int) -> Core:
    """A core with random bursts: the shortest, the longest, those that cross from channel to
    channel, with starts within a beat."""
    rng = random.Random(f"bursts {seed} {core}")

    def burst(axi_id: int, base: int, size: int, with_data: bool) -> Burst:
        most, bus = config.max_burst, config.bus_bytes
        beats = rng.choice([1, 1, 2, most, rng.randint(1, most), rng.randint(1, most)])
        at = rng.choice([rng.randrange(size), rng.randrange(size // INTERLEAVE)
                         * INTERLEAVE + rng.randrange(-2, 3) * bus]) % size
        # within 4 KiB
        beats = min(beats, 4096 // bus - at % 4096 // bus)
        lines = [(rng.getrandbits(8 * bus), rng.getrandbits(bus)) for _ in range(beats)]
        return Burst(axi_id, base + at, beats, tuple(lines) if with_data else ())

    mine = READ_BYTES + core * WRITE_BYTES
    return Core(core, [burst(rng.choice([LOAD_ID, LOAD_ID, FETCH_ID]), 0, READ_BYTES, False)
                       for _ in range(reads)],
                [burst(STORE_ID, mine, WRITE_BYTES, True) for _ in range(writes)],
                rest=rng.choice([0.0, 0.0, 0.3, 0.6]), at_once=config.outstanding)
