# SPDX-License-Identifier: Apache-2.0
"""FIFOs: everything passes, in order, and what is held is what has come and not gone."""

import gc
import random

import pytest
from amaranth.sim import Simulator

from hw.parts.fifo import Fifo

COUNT = 200


@pytest.mark.parametrize("idle, stall", [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.4, 0.4)])
@pytest.mark.parametrize("depth, registered", [
    (1, False), (2, False), (3, False), (8, False), (1, True), (5, True), (8, True), (64, False)])
def test_passes_everything(depth: int, registered: bool, idle: float, stall: float) -> None:
    dut, rng = Fifo(8, depth, registered), random.Random(depth)
    got: list[int] = []
    most = cycles = 0

    async def bench(ctx):
        nonlocal most, cycles
        sent = 0
        while len(got) < COUNT:
            ctx.set(dut.i.valid, int(sent < COUNT and rng.random() >= idle))
            ctx.set(dut.i.payload, sent & 255)
            before = ctx.get(dut.i.ready), ctx.get(dut.o.valid)
            ctx.set(dut.o.ready, int(rng.random() >= stall))
            assert (ctx.get(dut.i.ready), ctx.get(dut.o.valid)) == before
            held = sent - len(got)
            most = max(most, held)
            if ctx.get(dut.o.valid):
                assert not ctx.get(dut.more) or held > 1
                assert ctx.get(dut.more) == (held > 1) or registered or depth == 64
                if ctx.get(dut.o.ready):
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
    assert most <= depth + registered
    if depth > 1 and not idle and not stall:
        assert cycles <= COUNT + 2


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_depths() -> None:
    with pytest.raises(ValueError, match="holds nothing"):
        Fifo(8, 0)
    with pytest.raises(ValueError, match="through a register"):
        Fifo(8, 64, registered=True)
    gc.collect()    # what was not used is gone before the filter is
