# SPDX-License-Identifier: Apache-2.0
"""AWAIT and its counters."""

import pytest
from amaranth.sim import Simulator

from hw.exchange.signals import Signals
from isa.instructions import SIGNAL_BITS, reached


def run(bench) -> None:
    dut = Signals()
    sim = Simulator(dut)
    sim.add_clock(1e-6)

    async def testbench(ctx):
        await bench(ctx, dut)

    sim.add_testbench(testbench)
    sim.run()


async def rise(ctx, dut, counter: int, times: int = 1) -> None:
    ctx.set(dut.counter, counter)
    ctx.set(dut.rises, 1)
    await ctx.tick().repeat(times)
    ctx.set(dut.rises, 0)


async def give(ctx, dut, counter: int, threshold: int) -> None:
    ctx.set(dut.instr.payload, {"counter": counter, "threshold": threshold})
    ctx.set(dut.instr.valid, 1)
    await ctx.tick().until(dut.instr.ready)
    ctx.set(dut.instr.valid, 0)


async def is_done(ctx, dut, cycles: int = 6) -> bool:
    """Within so many cycles."""
    for _ in range(cycles):
        if ctx.get(dut.engine.done):
            await ctx.tick()
            return True
        await ctx.tick()
    return False


def test_it_waits_for_its_own_counter():
    async def bench(ctx, dut):
        await give(ctx, dut, 2, 3)
        await rise(ctx, dut, 5, 4)
        await rise(ctx, dut, 2, 2)
        assert not await is_done(ctx, dut, 20)
        await rise(ctx, dut, 2)
        assert await is_done(ctx, dut)
        assert not await is_done(ctx, dut, 20) and not ctx.get(dut.engine.busy)
        await give(ctx, dut, 5, 4)
        assert await is_done(ctx, dut)
    run(bench)


@pytest.mark.parametrize("value, threshold", [(5, 5), (5, 6), (0, 0xFFFF), (0, 1), (3, 0xFFF0),
                                              (9, 9 + (1 << SIGNAL_BITS - 1)), (9, 0x8008)])
def test_counters_are_compared_modulo(value, threshold):
    async def bench(ctx, dut):
        if value:
            await rise(ctx, dut, 0, value)
        await give(ctx, dut, 0, threshold)
        assert await is_done(ctx, dut, 20) == reached(value, threshold)
    run(bench)


def test_a_gang_that_is_over_leaves_nothing():
    async def bench(ctx, dut):
        await rise(ctx, dut, 7, 9)
        ctx.set(dut.zero, 1)
        await ctx.tick()
        ctx.set(dut.zero, 0)
        await give(ctx, dut, 7, 1)
        assert not await is_done(ctx, dut, 20)
        await rise(ctx, dut, 7)
        assert await is_done(ctx, dut)
    run(bench)


def test_it_stops_with_the_machine():
    async def bench(ctx, dut):
        await give(ctx, dut, 1, 1)
        ctx.set(dut.engine.halt, 1)
        await ctx.tick()
        await rise(ctx, dut, 1)
        assert not await is_done(ctx, dut, 20)
        assert not ctx.get(dut.engine.busy) and not ctx.get(dut.instr.ready)
    run(bench)


def test_its_cycles_are_those_in_which_no_signal_has_come():
    async def bench(ctx, dut):
        waits = 0
        await give(ctx, dut, 3, 1)
        for _ in range(50):
            waits += ctx.get(dut.events.wait_gang)
            await ctx.tick()
        assert waits == 49
        await rise(ctx, dut, 3)
        assert await is_done(ctx, dut)
        for _ in range(5):
            assert not ctx.get(dut.events.wait_gang)
            await ctx.tick()
        await give(ctx, dut, 3, 1)
        while not ctx.get(dut.engine.done):
            assert not ctx.get(dut.events.wait_gang)
            await ctx.tick()
    run(bench)
