# SPDX-License-Identifier: Apache-2.0
"""Runs are cut into legal bursts that add up to them."""

import random

import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator

from hw.memory.axi import BurstSplitter
from tests.hw.handshake import until
from tests.hw.memory.dma_bench import small


def cut(start: int, beats: int, limit: int, block: int) -> list[tuple[int, int]]:
    """Beat by beat: a new burst where the last one is full or a block begins."""
    bursts: list[tuple[int, int]] = []
    for beat in range(start, start + beats):
        if not bursts or beat % block == 0 or beat % limit == 0:
            bursts.append((beat, 0))
        bursts[-1] = (bursts[-1][0], bursts[-1][1] + 1)
    return bursts


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("bus, max_burst", [(8, 256), (32, 256), (16, 16), (8, 1)])
def test_splits(bus, max_burst, stall):
    rng = random.Random(bus * max_burst)
    dut = BurstSplitter(small(8, bus, max_burst=max_burst), 8)
    runs = [(rng.randrange(1 << 20), rng.choice([1, 1, 2, rng.randint(1, 600)])) for _ in range(40)]
    want = [(beat, n - 1, i == 0, i == len(parts) - 1, k) for k, run in enumerate(runs)
            for parts in [cut(*run, max_burst, 4096 // bus)] for i, (beat, n) in enumerate(parts)]
    got, cycles = [], 0

    async def feed(ctx):
        for k, (beat, beats) in enumerate(runs):
            ctx.set(dut.i.payload, {"beat": beat, "beats": beats, "tag": k})
            ctx.set(dut.i.valid, 1)
            await until(ctx, dut.i.ready)
        ctx.set(dut.i.valid, 0)

    async def take(ctx):
        nonlocal cycles
        while len(got) < len(want):
            ctx.set(dut.o.ready, rng.random() >= stall)
            *_, valid, ready, p = await ctx.tick().sample(dut.o.valid, dut.o.ready, dut.o.payload)
            cycles += 1
            assert cycles < 20 * len(want), "bursts are missing"
            if valid and ready:
                got.append((p.beat, p.len, bool(p.first), bool(p.last), p.tag))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(feed, background=True)
    sim.add_testbench(take)
    sim.run()
    assert got == want
    if not stall:
        assert cycles <= len(want) + 3
    rtlil.convert(dut)
