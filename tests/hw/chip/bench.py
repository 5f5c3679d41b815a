# SPDX-License-Identifier: Apache-2.0
"""The chip control with the registers of real cores, whose machines are made of Python."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from amaranth.hdl import Elaboratable, Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from hw.chip.control import ChipControl
from hw.control.registers import Control
from isa.chip import ChipConfig
from isa.jobs import BLOCK, OFFSET, POSITIONS, Job, Record
from isa.registers import OFFSET as CORE_OFFSET
from tests.hw.handshake import until

MEMORY = 1 << 17
WINDOW, JOBS, RECORDS = 0x10000, 0x1000, 0x2000
PAGE = 0x1000


class Board(Elaboratable):
    """Chip control and the registers of its cores."""

    def __init__(self, chip: ChipConfig):
        self.chip, self.control = chip, ChipControl(chip)
        self.cores = [Control(chip.core) for _ in range(chip.cores)]

    def elaborate(self, platform):
        m = Module()
        m.submodules.control = self.control
        for k, core in enumerate(self.cores):
            m.submodules[f"core{k}"] = core
            connect(m, self.control.cores[k], core.host)
            m.d.comb += self.control.core_irq[k].eq(core.irq)
        return m


@dataclass
class Run:
    """What a core was told when its doorbell rang, with whom it is in a gang, the members of its
    queue or nobody, and the set that it reads with, or 0."""

    core: int
    regions: list[tuple[int, int]]
    program: int
    watchdog: int
    members: int
    together: bool
    reads: int


@dataclass
class Bench:
    """A simulation: ``act`` is the machine of a core, which gives cycles and a fault code or 0;
    ``wiping`` is how long a core takes to be cleared."""

    chip: ChipConfig
    act: Callable[[Run], tuple[int, int]]
    seed: int = 1
    stall: float = 0.0
    error: range = range(0)
    memory: bytearray = field(default_factory=lambda: bytearray(MEMORY))
    runs: list[Run] = field(default_factory=list)
    wipes: list[int] = field(default_factory=list)
    resets: list[int] = field(default_factory=list)
    stuck: set[int] = field(default_factory=set)
    wiping: int = 9

    def simulate(self, bench) -> None:
        board = Board(self.chip)

        async def host(ctx):
            self.ctx, self.control = ctx, board.control
            self.port, self.irq = board.control.host, board.control.irq
            await bench(self)

        sim = Simulator(board)
        sim.add_clock(1e-6)
        sim.add_testbench(host)
        sim.add_testbench(self._reads(board.control.bus), background=True)
        sim.add_testbench(self._writes(board.control.bus), background=True)
        for k, core in enumerate(board.cores):
            sim.add_testbench(self._machine(board.control, k, core), background=True)
            sim.add_testbench(self._reset(k, core), background=True)
        sim.run()

    def _machine(self, control, k, core):
        async def machine(ctx):
            ctx.set(core.events.cycles, 1)
            while True:
                await until(ctx, core.start)
                settings = ctx.get(core.settings)
                gang = ctx.get(control.gangs[k])
                run = Run(k, [(r.base, r.size) for r in settings.regions], settings.program,
                          settings.watchdog, ctx.get(control.members[gang - 1]) if gang else 0,
                          bool(ctx.get(control.together) >> k & 1),
                          ctx.get(control.reads[k]) if gang else 0)
                self.runs.append(run)
                ctx.set(core.busy, 1)
                cycles, code = self.act(run)
                await ctx.tick().repeat(cycles)
                ctx.set(core.busy, 0)
                if code:
                    ctx.set(core.fault_code, code)
                    ctx.set(core.fault, 1)
                    await until(ctx, core.clear[0])
                    ctx.set(core.fault, 0)
                else:
                    ctx.set(core.done, 1)
                    await ctx.tick()
                    ctx.set(core.done, 0)
        return machine

    def _reset(self, k, core):
        async def reset(ctx):
            while True:
                ctx.set(core.quiet, k not in self.stuck)
                _clk, _rst, clear, wipe = await ctx.tick().sample(core.clear[0], core.wipe)
                if clear:
                    self.resets.append(k)
                if wipe:
                    self.wipes.append(k)
                    await ctx.tick().repeat(self.wiping)
                    ctx.set(core.wiped, 1)
                    await ctx.tick()
                    ctx.set(core.wiped, 0)
        return reset

    def _reads(self, bus):
        async def reads(ctx):
            rng, size = random.Random(self.seed), self.chip.core.bus_bytes
            while True:
                ctx.set(bus.ar.ready, 1)
                (ar,) = await until(ctx, bus.ar.valid, bus.ar.payload)
                ctx.set(bus.ar.ready, 0)
                await ctx.tick().repeat(rng.randrange(1, 9))
                for beat in range(ar.len + 1):
                    at = ar.addr + size * beat
                    ctx.set(bus.r.payload, {
                        "data": int.from_bytes(self.memory[at:at + size], "little"),
                        "resp": 2 * (at in self.error), "last": beat == ar.len})
                    ctx.set(bus.r.valid, 1)
                    await until(ctx, bus.r.ready)
                    ctx.set(bus.r.valid, 0)
                    while rng.random() < self.stall:
                        await ctx.tick()
        return reads

    def _writes(self, bus):
        async def writes(ctx):
            rng, size = random.Random(self.seed + 1), self.chip.core.bus_bytes
            while True:
                ctx.set(bus.aw.ready, 1)
                (aw,) = await until(ctx, bus.aw.valid, bus.aw.payload)
                ctx.set(bus.aw.ready, 0)
                for beat in range(aw.len + 1):
                    while rng.random() < self.stall:
                        await ctx.tick()
                    ctx.set(bus.w.ready, 1)
                    (w,) = await until(ctx, bus.w.valid, bus.w.payload)
                    ctx.set(bus.w.ready, 0)
                    at = aw.addr + size * beat
                    assert w.strb == (1 << size) - 1 and w.last == (beat == aw.len)
                    self.memory[at:at + size] = w.data.to_bytes(size, "little")
                ctx.set(bus.b.valid, 1)
                await until(ctx, bus.b.ready)
                ctx.set(bus.b.valid, 0)
        return writes

    async def write(self, offset: int, value: int) -> None:
        ctx, host = self.ctx, self.port
        ctx.set(host.aw.payload, offset)
        ctx.set(host.w.payload, {"data": value, "strb": 0xF})
        ctx.set(host.aw.valid, 1)
        ctx.set(host.w.valid, 1)
        ctx.set(host.b.ready, 1)
        await until(ctx, host.aw.ready)
        ctx.set(host.aw.valid, 0)
        ctx.set(host.w.valid, 0)
        await until(ctx, host.b.valid)

    async def read(self, offset: int) -> int:
        ctx, host = self.ctx, self.port
        ctx.set(host.ar.payload, offset)
        ctx.set(host.ar.valid, 1)
        ctx.set(host.r.ready, 1)
        await until(ctx, host.ar.ready)
        ctx.set(host.ar.valid, 0)
        (r,) = await until(ctx, host.r.valid, host.r.payload)
        return r.data

    async def lease(self, queue: int, cores: int, tenant: int, ring: int = 3) -> None:
        """Set up a queue, with a window and rings of its own."""
        for name, value in (("RING", ring), ("TENANT", tenant),
                            ("WINDOW_BASE", WINDOW * (queue + 1)), ("WINDOW_SIZE", PAGE),
                            ("JOBS_BASE", JOBS + 2 * PAGE * queue),
                            ("RECORDS_BASE", RECORDS + 2 * PAGE * queue), ("CORES", cores)):
            await self.write(OFFSET[f"QUEUE{queue}_{name}"], value)
        await self.write(OFFSET["CONTROL"], 1)

    async def post(self, queue: int, position: int, *jobs: Job, ring: int = 3) -> None:
        """Jobs from a position on, at the same time."""
        for k, each in enumerate(jobs):
            at = JOBS + 2 * PAGE * queue + (position + k) % (1 << ring) * BLOCK
            self.memory[at:at + BLOCK] = each.encode()
        await self.write(OFFSET[f"QUEUE{queue}_JOBS_TAIL"], (position + len(jobs)) % POSITIONS)

    async def record(self, queue: int, position: int, ring: int = 3) -> Record:
        """Wait for the record at a position, and say that it was read."""
        while await self.read(OFFSET[f"QUEUE{queue}_RECORDS_TAIL"]) == position:
            pass
        at = RECORDS + 2 * PAGE * queue + position % (1 << ring) * BLOCK
        await self.write(OFFSET[f"QUEUE{queue}_RECORDS_HEAD"], position + 1)
        return Record.decode(bytes(self.memory[at:at + BLOCK]))


def job(tag: int, cores: int = 0xFF, offset: int = 0, watchdog: int = 77) -> Job:
    """A job whose regions follow one another in the window."""
    return Job(tag, cores, watchdog, 128, tuple((offset + 64 * r, 32 + 32 * r) for r in range(4)))


CORE_STATUS = CORE_OFFSET["STATUS"]
