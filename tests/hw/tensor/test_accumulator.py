# SPDX-License-Identifier: Apache-2.0
"""Accumulators against numpy: one bank accumulates while the other drains."""

import numpy as np
from amaranth.sim import Simulator

from hw.tensor.accumulator import Accumulator
from isa.config import Config

CONFIG = Config(lanes=4, spm_bytes=8192, spm_banks=4, psum_depth=8, ppu_lanes=4, weight_words=1,
                vector_lanes=4)


def test_accumulate_and_drain() -> None:
    rng = np.random.default_rng(5)
    dut = Accumulator(CONFIG)
    blocks, passes, pixels = 4, 3, 5
    sums = rng.integers(-(1 << 18), 1 << 18, (blocks, passes, pixels, 4))
    want = sums.sum(axis=1)
    drained = np.zeros_like(want)

    async def give(ctx, added):
        """The sums of what was added LEAD cycles ago, for a cycle."""
        for k in range(4) if len(added) >= dut.LEAD else ():
            ctx.set(dut.sums[k].sum, int(sums[added[-dut.LEAD]][k]))
        await ctx.tick()

    async def accumulate(ctx):
        added: list[tuple[int, int, int]] = []
        for block, p, pixel in np.ndindex(blocks, passes, pixels):
            ctx.set(dut.add.valid, 1)
            ctx.set(dut.add.bank, block % 2)
            ctx.set(dut.add.index, pixel)
            ctx.set(dut.add.overwrite, p == 0)
            await give(ctx, added)
            added.append((block, p, pixel))
        ctx.set(dut.add.valid, 0)
        for _ in range(dut.LEAD):
            await give(ctx, added)
            added.append(added[-1])

    async def drain(ctx):
        """Each block's entries, as soon as its last sum is visible: the next one is under way."""
        cycle = 0
        for block in range(blocks):
            while cycle < (block + 1) * passes * pixels + dut.LATENCY - 1:
                await ctx.tick()
                cycle += 1
            for pixel in range(pixels):
                ctx.set(dut.drain_en, 1)
                ctx.set(dut.drain_bank, block % 2)
                ctx.set(dut.drain_index, pixel)
                await ctx.tick()
                cycle += 1
                ctx.set(dut.drain_en, 0)
                drained[block, pixel] = [ctx.get(dut.drained[k].low) for k in range(4)]

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(accumulate)
    sim.add_testbench(drain)
    sim.run()
    assert np.array_equal(drained, want)
