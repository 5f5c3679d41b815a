# SPDX-License-Identifier: Apache-2.0
"""A core that is reset leaves nothing behind in the hub, since it waits for what it is owed: what
it asks for afterwards is what it gets, and its neighbor notices nothing."""

import random

import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from hw.chip.hub import Hub
from isa.instructions import Opcode, Region
from tests.hw.chip.channel_memory import ChannelMemory
from tests.hw.chip.hub_bench import READ_BYTES, WRITE_BYTES, Bench, Core, random_bursts
from tests.hw.handshake import until
from tests.hw.memory.dma_bench import Dma, small

CONFIG = small(8, 8, max_burst=16, outstanding=4)
WORDS, SPM = 200, 16
SETTLED = 6
"""Cycles for a halt to reach the bus, as the control registers wait them."""


def word(addr: int) -> int:
    """What is in the scratchpad."""
    return addr * 0x0101_0101_0101_0101 & (1 << 64) - 1


class HubWithDma(wiring.Component):
    """A hub with LOAD, STORE and memory controller as its first core."""

    def __init__(self):
        self.hub, self.dma, self.clear = Hub(CONFIG, cores=2, channels=2), Dma(CONFIG), Signal()
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.hub = self.hub
        m.submodules.dma = ResetInserter(self.clear)(self.dma)
        connect(m, self.dma.bus, self.hub.cores[0])
        return m


class Machine:
    """Drives the DMA engines; ``loaded`` has the words that LOAD wrote."""

    def __init__(self, dut: HubWithDma, opcode: Opcode):
        self.dut, self.opcode = dut, opcode
        self.engine = dut.dma.load if opcode is Opcode.LOAD else dut.dma.store
        self.loaded: dict[int, int] = {}

    async def scratchpad(self, ctx):
        """Is always ready, and answers a cycle later."""
        reads, writes = list(self.dut.dma.store.read), list(self.dut.dma.load.write)
        for port in (*reads, *writes):
            ctx.set(port.ready, 1)
        while True:
            _, _, *now = await ctx.tick().sample(
                *(s for p in reads for s in (p.valid, p.addr)),
                *(s for p in writes for s in (p.valid, p.addr, p.data)))
            for k, port in enumerate(reads):
                ctx.set(port.arrived, now[2 * k])
                ctx.set(port.data, word(now[2 * k + 1]))
            of_writes = now[2 * len(reads):]
            for k in range(len(writes)):
                valid, addr, data = of_writes[3 * k:3 * k + 3]
                if valid:
                    self.loaded[addr] = data

    async def give(self, ctx, offset: int):
        """One instruction."""
        for region in Region:
            ctx.set(self.engine.regions[region].base, READ_BYTES)
            ctx.set(self.engine.regions[region].size, WRITE_BYTES)
        ctx.set(self.engine.instr.payload, {
            "region": Region.WORKSPACE, "dram": offset, "spm": SPM, "n0": WORDS, "n1": 1, "n2": 1,
            "n3": 1})
        ctx.set(self.engine.instr.valid, 1)
        await until(ctx, self.engine.instr.ready)
        ctx.set(self.engine.instr.valid, 0)

    async def reset(self, ctx):
        """As the control registers do it: halt, wait until the memory owes nothing, clear."""
        ctx.set(self.engine.engine.halt, 1)
        await ctx.tick().repeat(SETTLED)
        await until(ctx, self.dut.dma.memory.quiet)
        ctx.set(self.dut.clear, 1)
        await ctx.tick()
        ctx.set(self.dut.clear, 0)
        ctx.set(self.engine.engine.halt, 0)


@pytest.mark.parametrize("opcode", [Opcode.LOAD, Opcode.STORE], ids=lambda o: o.name.lower())
def test_reset_in_mid_flight(opcode):
    rng = random.Random(opcode.name)
    neighbor = random_bursts(CONFIG, 1, 5, 60, 40)
    # the bench's memory, model and neighbor; the first core is the machine
    bench = Bench(CONFIG, [Core(0, [], []), neighbor], 2, stall=0.2, latency=(1, 30), seed=5)
    dut = HubWithDma()
    machine = Machine(dut, opcode)

    async def run(ctx):
        for _ in range(6):
            machine.loaded.clear()
            await machine.give(ctx, 8 * rng.randrange(100))
            await ctx.tick().repeat(rng.randint(10, 150))
            await machine.reset(ctx)
        before = bench.data.copy()
        machine.loaded.clear()
        await machine.give(ctx, 24)
        await until(ctx, machine.engine.engine.done)
        at = slice(READ_BYTES + 24, READ_BYTES + 24 + 8 * WORDS)
        if opcode is Opcode.LOAD:
            assert machine.loaded == {SPM + k: int.from_bytes(
                bytes(before[at][8 * k:8 * k + 8]), "little") for k in range(WORDS)}
        else:
            assert bytes(bench.data[at]) == b"".join(
                word(SPM + k).to_bytes(8, "little") for k in range(WORDS))
        while not neighbor.finished:
            await ctx.tick()

    async def limit(ctx):
        for _ in range(8000):
            await ctx.tick()
        raise AssertionError("does not end")

    async def beside(ctx):
        await neighbor.run(ctx, dut.hub.cores[1], dut.hub.gang[1], 5)

    def serve(memory: ChannelMemory, bus):
        async def serving(ctx):
            await memory.run(ctx, bus)
        return serving

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for memory, bus in zip(bench.memories, dut.hub.channels, strict=True):
        sim.add_testbench(serve(memory, bus), background=True)
    sim.add_testbench(machine.scratchpad, background=True)
    sim.add_testbench(beside, background=True)
    sim.add_testbench(limit, background=True)
    sim.add_testbench(run)
    sim.run()
    bench.check_cores()
