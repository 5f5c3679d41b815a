# SPDX-License-Identifier: Apache-2.0
"""An instruction to the parts of an engine: once to each, no sooner than its waits allow, and no
more of it once the engine halts."""

import pytest
from amaranth.sim import Simulator

from hw.engine.dispatch import CHECK_CYCLES, Dispatch
from isa.instructions import QUEUES, Opcode


def run(bench, parts: int = 2) -> None:
    dut = Dispatch(Opcode.VECTOR, parts)

    async def process(ctx):
        ctx.set(dut.may, -1)
        for heeds in dut.heeds:
            ctx.set(heeds, -1)
        await bench(ctx, dut)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(process)
    sim.run()


async def offer(ctx, dut, legal: int = 1, **fields: int) -> None:
    """Hand over an instruction; a cycle later it is held."""
    for name, value in fields.items():
        ctx.set(dut.instr.payload[name], value)
    ctx.set(dut.legal, legal)
    ctx.set(dut.instr.valid, 1)
    _, _, ready = await ctx.tick().sample(dut.instr.ready)
    assert ready
    ctx.set(dut.instr.valid, 0)


def test_latency_and_one_hand_over_for_each_part() -> None:
    async def bench(ctx, dut):
        await offer(ctx, dut, index=7)
        for _ in range(CHECK_CYCLES):
            assert ctx.get(dut.valid) == 0
            await ctx.tick()
        assert ctx.get(dut.valid) == 3 and ctx.get(dut.i.index) == 7
        ctx.set(dut.ready, 2)
        await ctx.tick()
        for _ in range(5):                              # the second part has it, the first does not
            assert ctx.get(dut.valid) == 1 and ctx.get(dut.holds) and not ctx.get(dut.passing)
            await ctx.tick()
        ctx.set(dut.ready, 1)
        await ctx.tick()
        assert ctx.get(dut.valid) == 0 and ctx.get(dut.passing)
        await ctx.tick()
        assert ctx.get(dut.instr.ready) and not ctx.get(dut.holds)

    run(bench)


def test_each_part_heeds_its_waits() -> None:
    async def bench(ctx, dut):
        ctx.set(dut.heeds[0], 1 << QUEUES.index("load"))
        await offer(ctx, dut, wait_mask=1 << QUEUES.index("load") | 1 << QUEUES.index("store"),
                    wait_load=1, wait_store=2)
        await ctx.tick().repeat(10)
        assert ctx.get(dut.valid) == 0
        for queue, count, valid in (("store", 1, 0), ("load", 1, 1), ("store", 2, 3)):
            ctx.set(dut.completed[queue], count)
            await ctx.tick()
            assert ctx.get(dut.valid) == valid, queue

    run(bench)


def test_what_is_illegal_is_handed_to_none() -> None:
    async def bench(ctx, dut):
        ctx.set(dut.ready, 3)
        await offer(ctx, dut, legal=0)
        seen = 0
        for _ in range(10):
            assert ctx.get(dut.valid) == 0
            seen |= ctx.get(dut.illegal)
            await ctx.tick()
        assert seen

    run(bench)


@pytest.mark.parametrize("taken", [0, 1])
def test_a_halt_holds_back_what_is_not_taken(taken: int) -> None:
    """From its own cycle on, for each part, and nothing more comes in."""
    async def bench(ctx, dut):
        await offer(ctx, dut)
        await ctx.tick().repeat(CHECK_CYCLES)
        ctx.set(dut.ready, taken)
        await ctx.tick()
        assert ctx.get(dut.valid) == 3 & ~taken
        ctx.set(dut.halt, 1)
        ctx.set(dut.ready, 3)
        for _ in range(5):
            assert ctx.get(dut.valid) == 0 and not ctx.get(dut.instr.ready)
            await ctx.tick()

    run(bench)
