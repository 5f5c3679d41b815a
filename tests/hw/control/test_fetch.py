# SPDX-License-Identifier: Apache-2.0
"""Instructions arrive in order, from anywhere in memory, with their errors; restarts are clean."""

import itertools
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
from isa.instructions import UNIT_BYTES, Fault, codes
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
    found = itertools.islice(codes(bytes(image[BASE:BASE + 4096]), offset), count)
    return [(code, k, 0) for k, code in enumerate(found)]


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("bus, max_burst", [(8, 4), (16, 256), (32, 256)])
def test_programs_one_after_another(bus, max_burst, stall):
    programs = [(0, 20), (256, 1), (128, 12), (0, 3)]
    got, image, memory = run(small(8, bus, max_burst=max_burst), programs, size=4096, stall=stall)
    for (offset, count), instructions in zip(programs, got, strict=True):
        assert instructions == expected(image, offset, count)
    assert all(BASE <= a < BASE + 4096 for a, _ in memory.reads)


def test_one_beat_a_cycle():
    config = small(8, 8)
    got, _, memory = run(config, [(0, 20)], size=8192)
    beats = sum(len(raw) for raw, *_ in got[0]) // 8
    assert beats > 300 and memory.cycle <= beats * 1.1 + 40 + Fetch.AHEAD * 16


def test_end_of_region():
    """What is read are whole blocks; the last instruction goes on behind them."""
    size = 4 * 128
    got, image, memory = run(small(8, 16), [(128, 3), (0, 2)], size=size + 96)
    whole = list(codes(bytes(image[BASE:BASE + size]), 128))
    assert [i[0] for i in got[0][:len(whole)]] == whole
    raw, *last = got[0][len(whole)]
    assert last == [len(whole), Fault.DRAM_RANGE] and 0 < len(raw) <= size - 128
    assert got[1] == expected(image, 0, 2)
    assert all(a < BASE + size for a, _ in memory.reads)


@pytest.mark.parametrize("bus", [8, 32])
def test_end_of_memory(bus):
    """A region may reach beyond 2**addr_bits: instructions lie there up to the last byte."""
    end = 1 << 32
    got, _, memory = run(small(8, bus, addr_bits=32), [(0, 9), (128, 5)], base=end - 256, size=4096)
    nothing = [(bytes(UNIT_BYTES), k, 0) for k in range(8)]
    assert got[0][:8] == nothing and got[1][:4] == nothing[:4]
    assert [last[1:] for last in (got[0][8], got[1][4])] == [(8, Fault.DRAM_RANGE),
                                                            (4, Fault.DRAM_RANGE)]
    assert max(a + n * bus for a, n in memory.reads) == end


def test_error_belongs_to_its_instruction():
    errors = {BASE + 2 * 128 + 100: 2, BASE + 4 * 128: 3}
    got, image, _ = run(small(8, 16), [(0, 5)], size=4096, errors=errors)
    assert [i[1:] for i in got[0]] == [(0, 0), (1, 0), (2, Fault.AXI_SLVERR), (3, 0),
                                       (4, Fault.AXI_DECERR)]
