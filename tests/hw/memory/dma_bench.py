# SPDX-License-Identifier: Apache-2.0
"""LOAD and STORE engines on one AXI master, with a memory and a scratchpad that stall at random."""

import random
from collections import Counter, deque

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped
from amaranth.sim import Simulator

from hw.engine.profile import Buckets
from hw.memory.axi import AXI4
from hw.memory.controller import MemoryController
from hw.memory.load import LoadEngine
from hw.memory.store import StoreEngine
from isa.config import Config
from isa.instructions import QUEUE_OF, Opcode, Region
from tests.hw.handshake import until
from tests.hw.memory.axi_memory import AxiMemory

REGION_BYTES = 16384
BASES = (0, 0x5000, 0xB020, 0x11040)
MEMORY_BYTES = 0x18000


def small(lanes: int, bus: int, **fields) -> Config:
    """A machine of this word and bus width with everything else small."""
    return Config(**{"max_burst": 16, "outstanding": 4, "spm_bytes": lanes * 1024, "spm_banks": 4,
                     "weight_words": 1, "ppu_lanes": lanes, "vector_lanes": lanes, **fields},
                  lanes=lanes, bus_bytes=bus)


class Dma(wiring.Component):
    """The two engines and the memory controller."""

    def __init__(self, config: Config):
        self.config = config
        self.load, self.store = LoadEngine(config), StoreEngine(config)
        self.memory = MemoryController(config)
        self.account = {queue: Buckets(queue) for queue in ("load", "store")}
        super().__init__({"bus": Out(AXI4(config))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.load, m.submodules.store = self.load, self.store
        m.submodules.memory = memory = self.memory
        connect(m, self.load.ar, memory.load_ar)
        connect(m, memory.load_r, self.load.r)
        connect(m, self.store.aw, memory.store_aw)
        connect(m, self.store.w, memory.store_w)
        connect(m, memory.store_b, self.store.b)
        m.d.comb += [memory.owed.load.eq(self.load.owed), memory.owed.store.eq(self.store.owed)]
        connect(m, memory.bus, flipped(self.bus))
        for queue, engine in (("load", self.load), ("store", self.store)):
            m.submodules[f"{queue}_account"] = account = self.account[queue]
            m.d.comb += [account.events.eq(engine.events),
                         account.present.eq(engine.engine.busy | engine.instr.valid)]
        return m


class Bench:
    """Runs DMA instructions: first all LOADs or STOREs given, in order, on one engine."""

    def __init__(self, config: Config, *, stall: float = 0.0, latency: int = 1, seed: int = 0,
                 sizes: tuple[int, ...] = (REGION_BYTES,) * 4, bases: tuple[int, ...] = BASES,
                 errors: dict[int, int] | None = None, breach: tuple[str, int] = ("", -1),
                 held: bool = False):
        self.config, self.stall, self.seed, self.held = config, stall, seed, held
        self.sizes, self.bases = sizes, bases
        rng = np.random.default_rng(seed)
        self.dram = rng.integers(0, 256, MEMORY_BYTES, np.uint8)
        self.spm = rng.integers(0, 256, (config.spm_words, config.word_bytes), np.uint8)
        self.memory = AxiMemory(self.dram, config.bus_bytes, config.max_burst, stall, latency,
                                seed, errors or {}, breach)
        self.fault: tuple[int, int] | None = None
        self.done: list[int] = []
        self.cycles = 0
        self.buckets: Counter[str] = Counter()
        self.asked_at_halt = 0

    async def _scratchpad(self, ctx, reads, writes):
        """Requests of a port are served in their order, each a cycle or more after its
        acceptance."""
        rng = random.Random(self.seed + 1)
        ports = [*reads, *writes]
        owed = [deque() for _ in ports]
        for port in ports:
            ctx.set(port.ready, rng.random() >= self.stall)
        while True:
            sampled = await ctx.tick().sample(*(s for p in ports for s in
                                                (p.valid, p.ready, p.addr)),
                                              *(p.data for p in writes))
            state = [sampled[2 + 3 * i:5 + 3 * i] for i in range(len(ports))]
            words = sampled[2 + 3 * len(ports):]
            for i, (valid, ready, addr) in enumerate(state):
                served = bool(owed[i]) and rng.random() >= self.stall
                if i < len(reads):
                    word = bytes(self.spm[owed[i].popleft()]) if served else bytes(
                        rng.randbytes(self.config.word_bytes))
                    ctx.set(ports[i].data, int.from_bytes(word, "little"))
                    ctx.set(ports[i].arrived, served)
                elif served:
                    at, word = owed[i].popleft()
                    self.spm[at] = np.frombuffer(word, np.uint8)
                if valid and ready:
                    owed[i].append(addr if i < len(reads) else (
                        addr, words[i - len(reads)].to_bytes(self.config.word_bytes, "little")))
                if i >= len(reads):
                    ctx.set(ports[i].pending, bool(owed[i]))
            for port in ports:
                ctx.set(port.ready, rng.random() >= self.stall)

    def run(self, program, *, limit: int = 20000, halt_at: int | None = None, linger: int = 0):
        """Execute instructions of one opcode; returns self. Stops when all have been done for
        ``linger`` cycles, or when the bus is quiet after a fault or after ``halt`` rose in cycle
        ``halt_at``."""
        config = self.config
        dut = Dma(config)
        queue = QUEUE_OF[program[0].opcode]
        engine, account = getattr(dut, queue), dut.account[queue]

        async def feed(ctx):
            ctx.set(dut.load.held, self.held)
            for e in (dut.load, dut.store):
                for region in Region:
                    ctx.set(e.regions[region].base, self.bases[region])
                    ctx.set(e.regions[region].size, self.sizes[region])
            for index, i in enumerate(program):
                ctx.set(engine.instr.payload, {**i.fields, "index": index})
                ctx.set(engine.instr.valid, 1)
                await until(ctx, engine.instr.ready)
            ctx.set(engine.instr.valid, 0)

        async def watch(ctx):
            rest = 0
            while True:
                *_, done, fault, quiet, bucket = await ctx.tick().sample(
                    engine.engine.done, engine.engine.fault, dut.memory.quiet, account.bucket)
                self.buckets.update(name for name in bucket.shape().members if bucket[name])
                self.cycles += 1
                if self.cycles == halt_at:
                    self.asked_at_halt = len(self.memory.reads) + len(self.memory.writes)
                    ctx.set(engine.engine.halt, 1)
                if done:
                    self.done.append(self.cycles)
                if fault and self.fault is None:
                    self.fault = (ctx.get(engine.engine.fault_code),
                                  ctx.get(engine.engine.fault_index))
                    ctx.set(engine.engine.halt, 1)
                if len(self.done) == len(program) and quiet:
                    rest += 1
                    if rest > linger:
                        return
                stopped = self.fault or (halt_at and self.cycles > halt_at + 2)
                if stopped and quiet:
                    assert not ctx.get(engine.engine.done)
                    return
                assert self.cycles < limit, "does not end"

        async def memory(ctx):
            await self.memory.run(ctx, dut.bus)

        async def scratchpad(ctx):
            await self._scratchpad(ctx, list(dut.store.read), list(dut.load.write))

        sim = Simulator(dut)
        sim.add_clock(1e-6)
        sim.add_testbench(memory, background=True)
        sim.add_testbench(scratchpad, background=True)
        sim.add_testbench(feed, background=True)
        sim.add_testbench(watch)
        sim.run()
        return self


def copy(program, dram: np.ndarray, spm: np.ndarray, bases) -> None:
    """What the instructions mean, one word after another."""
    size = spm.shape[1]
    for i in program:
        for i3 in range(i.n3):
            for i2 in range(i.n2):
                for i1 in range(i.n1):
                    d = (bases[i.region] + i.dram + i1 * i.dram_stride1 + i2 * i.dram_stride2
                         + i3 * i.dram_stride3)
                    s = (i.spm + i1 * i.spm_stride1 + i2 * i.spm_stride2 + i3 * i.spm_stride3)
                    for i0 in range(i.n0):
                        at = slice(d + i0 * size, d + (i0 + 1) * size)
                        if i.opcode is Opcode.LOAD:
                            spm[s + i0] = dram[at]
                        else:
                            dram[at] = spm[s + i0]
