# SPDX-License-Identifier: Apache-2.0
"""Bursts are cut where the channel changes, and nowhere else."""

import random

import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator

from hw.chip.interleave import Cut
from isa.chip import INTERLEAVE
from tests.hw.handshake import until
from tests.hw.memory.dma_bench import small


def pieces(axi_id: int, addr: int, beats: int, bus: int) -> list[tuple[int, int, int, bool]]:
    """Beat by beat: a new piece in each block."""
    cut: list[list[int]] = []
    for beat in range(addr // bus, addr // bus + beats):
        if not cut or beat * bus % INTERLEAVE == 0:
            cut.append([max(beat * bus, addr), 0])
        cut[-1][1] += 1
    return [(axi_id, at, n - 1, k == len(cut) - 1) for k, (at, n) in enumerate(cut)]


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("bus", [8, 32])
def test_cut(bus, stall):
    rng = random.Random(bus)
    dut = Cut(small(8, bus), 1)
    bursts = [(rng.randrange(2), rng.choice([INTERLEAVE * rng.randrange(64) - k * bus
                                             for k in (1, 0, 2)] + [rng.randrange(1, 1 << 20)])
               % (1 << 20), rng.choice([1, 2, 256, rng.randint(1, 256)])) for _ in range(60)]
    want, got, cycles = [p for b in bursts for p in pieces(*b, bus)], [], 0

    async def feed(ctx):
        for axi_id, addr, beats in bursts:
            ctx.set(dut.i.payload, {"tag": axi_id, "addr": addr, "len": beats - 1})
            ctx.set(dut.i.valid, 1)
            await until(ctx, dut.i.ready)
        ctx.set(dut.i.valid, 0)

    async def take(ctx):
        nonlocal cycles
        while len(got) < len(want):
            ctx.set(dut.o.ready, rng.random() >= stall)
            *_, valid, ready, p = await ctx.tick().sample(dut.o.valid, dut.o.ready, dut.o.payload)
            cycles += 1
            assert cycles < 20 * len(want), "pieces are missing"
            if valid and ready:
                got.append((p.tag, p.addr, p.len, bool(p.last)))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(feed, background=True)
    sim.add_testbench(take)
    sim.run()
    assert got == want
    if not stall:
        assert cycles == len(want) + 1
    rtlil.convert(dut)
