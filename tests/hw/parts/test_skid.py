# SPDX-License-Identifier: Apache-2.0
"""Skid buffers: everything passes, in order, and neither side sees the other in the same cycle."""

import random

import pytest
from amaranth.sim import Simulator

from hw.parts.skid import Skid

COUNT, COPIES = 200, 3


@pytest.mark.parametrize("idle, stall", [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.4, 0.6)])
@pytest.mark.parametrize("eager", [False, True])
def test_passes_everything(idle: float, stall: float, eager: bool) -> None:
    dut, rng = Skid(8, COPIES, eager), random.Random(1)
    got: list[int] = []
    cycles = 0

    async def bench(ctx):
        nonlocal cycles
        sent = 0
        while len(got) < COUNT:
            ctx.set(dut.i.valid, int(sent < COUNT and rng.random() >= idle))
            ctx.set(dut.i.payload, sent & 255)
            before = ctx.get(dut.i.ready), ctx.get(dut.o.valid)
            ctx.set(dut.o.ready, int(rng.random() >= stall or (eager and not before[1])))
            assert (ctx.get(dut.i.ready), ctx.get(dut.o.valid)) == before
            assert ctx.get(dut.go) == (2 ** COPIES - 1) * before[0]
            if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                got.append(ctx.get(dut.o.payload))
            sent += ctx.get(dut.i.valid) and ctx.get(dut.i.ready)
            await ctx.tick()
            cycles += 1
            assert cycles < 20 * COUNT

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert got == [k & 255 for k in range(COUNT)]
    if not idle and not stall:
        assert cycles == COUNT + 1
