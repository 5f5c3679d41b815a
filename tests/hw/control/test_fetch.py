# SPDX-License-Identifier: Apache-2.0
"""Instructions arrive in order, from anywhere in memory, with their errors; restarts are clean."""

import random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped
from amaranth.sim import Simulator

from hw.control.fetch import Fetch
from hw.memory.axi import AXI4
from hw.memory.controller import MemoryController
from isa.instructions import INSTRUCTION_BYTES, Fault
from tests.hw.handshake import until
from tests.hw.memory.axi_memory import AxiMemory
from tests.hw.memory.dma_bench import small

BASE = 0xFA0
"""Not a multiple of 128, so that an instruction crosses a 4 KiB boundary."""


class Dut(wiring.Component):
    def __init__(self, config):
        self.fetch, self.memory = Fetch(config), MemoryController(config)
        super().__init__({"bus": Out(AXI4(config))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetch, m.submodules.memory = self.fetch, self.memory
        connect(m, self.fetch.ar, self.memory.fetch_ar)
        connect(m, self.memory.fetch_r, self.fetch.r)
        m.d.comb += self.memory.owed.fetch.eq(self.fetch.owed)
        connect(m, self.memory.bus, flipped(self.bus))
        return m


async def take(ctx, fetch, rng, stall):
    """An instruction: (raw, index, fault)."""
    raw, faults = b"", []
    while True:
        while rng.random() < stall:
            await ctx.tick()
        ctx.set(fetch.instr.ready, 1)
        (i,) = await until(ctx, fetch.instr.valid, fetch.instr.payload)
        ctx.set(fetch.instr.ready, 0)
        assert i.first == (not faults)
        raw += i.word.to_bytes(fetch.instr.payload.word.shape().width // 8, "little")
        faults.append(i.fault)
        if i.last:
            return raw, i.index, next((f for f in faults if f), 0)


def run(config, programs, *, size, base=BASE, stall=0.0, latency=3, errors=None):
    """Runs programs, (offset, instructions to take) each; returns lists of (raw, index, fault),
    the memory and the cycles."""
    dut = Dut(config)
    image = np.random.default_rng(0).integers(0, 256, 1 << 14, np.uint8)
    memory = AxiMemory(image, config.bus_bytes, config.max_burst, stall, latency, 1, errors or {})
    got = []

    async def axi(ctx):
        await memory.run(ctx, dut.bus)

    async def bench(ctx):
        rng, fetch = random.Random(2), dut.fetch
        ctx.set(fetch.region, {"base": base, "size": size})
        for offset, count in programs:
            assert ctx.get(fetch.idle)
            ctx.set(fetch.program, offset)
            ctx.set(fetch.start, 1)
            await ctx.tick()
            ctx.set(fetch.start, 0)
            got.append([])
            for _ in range(count):
                got[-1].append(await take(ctx, fetch, rng, stall))
            ctx.set(fetch.stop, 1)
            await ctx.tick()
            ctx.set(fetch.stop, 0)
            await until(ctx, fetch.idle & dut.memory.quiet)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(axi, background=True)
    sim.add_testbench(bench)
    sim.run()
    return got, image, memory


def expected(image, offset, count):
    at = [BASE + offset + k * INSTRUCTION_BYTES for k in range(count)]
    return [(bytes(image[a:a + INSTRUCTION_BYTES]), k, 0) for k, a in enumerate(at)]


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("bus, max_burst", [(8, 4), (16, 256), (32, 256)])
def test_programs_one_after_another(bus, max_burst, stall):
    programs = [(0, 20), (256, 1), (128, 12), (0, 3)]
    got, image, memory = run(small(8, bus, max_burst=max_burst), programs, size=4096, stall=stall)
    for (offset, count), instructions in zip(programs, got, strict=True):
        assert instructions == expected(image, offset, count)
    assert all(BASE <= a < BASE + 4096 for a, _ in memory.reads)


def test_one_beat_a_cycle():
    _, _, memory = run(small(8, 8), [(0, 32)], size=4096)
    assert memory.cycle <= 32 * 16 * 1.1 + 40 + 8 * 16


def test_end_of_region():
    got, image, memory = run(small(8, 16), [(128, 4), (0, 2)], size=4 * 128 + 96)
    assert got[0][:3] == expected(image, 128, 3)
    assert got[0][3][1:] == (3, Fault.DRAM_RANGE)
    assert got[1] == expected(image, 0, 2)
    assert all(a < BASE + 4 * 128 for a, _ in memory.reads)


@pytest.mark.parametrize("bus", [8, 32])
def test_end_of_memory(bus):
    """A region may reach beyond 2**addr_bits: instructions lie there up to the last byte."""
    end = 1 << 32
    got, _, memory = run(small(8, bus, addr_bits=32), [(0, 3), (128, 2)], base=end - 256, size=4096)
    nothing = bytes(INSTRUCTION_BYTES)
    assert got[0][:2] == [(nothing, 0, 0), (nothing, 1, 0)] and got[1][0] == (nothing, 0, 0)
    assert [last[1:] for last in (got[0][2], got[1][1])] == [(2, Fault.DRAM_RANGE),
                                                            (1, Fault.DRAM_RANGE)]
    assert max(a + n * bus for a, n in memory.reads) == end


def test_error_belongs_to_its_instruction():
    errors = {BASE + 2 * 128 + 100: 2, BASE + 4 * 128: 3}
    got, image, _ = run(small(8, 16), [(0, 5)], size=4096, errors=errors)
    assert [i[1:] for i in got[0]] == [(0, 0), (1, 0), (2, Fault.AXI_SLVERR), (3, 0),
                                       (4, Fault.AXI_DECERR)]
