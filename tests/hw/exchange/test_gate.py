# SPDX-License-Identifier: Apache-2.0
"""The gate in front of an engine: what passes, when, and what is said of what waits."""

import random

import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator

from hw.exchange.gate import GangGate
from isa.instructions import GANG_ONLY, GANG_QUEUES, Opcode
from tests.hw.handshake import until

BITS = {q: GANG_QUEUES.index(q) for q in GANG_ONLY}


def simulate(bench) -> None:
    dut = GangGate(Opcode.LOAD)
    sim = Simulator(dut)
    sim.add_clock(1e-6)

    async def testbench(ctx):
        await bench(ctx, dut)

    sim.add_testbench(testbench)
    sim.run()


@pytest.mark.parametrize("seed", range(3))
def test_what_it_waits_for(seed):
    """Bit by bit, from the cycle after the instruction has come, until that is complete."""
    rng = random.Random(seed)

    async def bench(ctx, dut):
        ctx.set(dut.o.ready, 1)
        for index in range(30):
            near = rng.choice([0, 7, 2**16 - 2])
            count = {q: (near + rng.randint(0, 3)) % 2**16 for q in GANG_ONLY}
            want = {q: (count[q] + rng.randint(-2, 2)) % 2**16 for q in GANG_ONLY}
            mask = rng.getrandbits(len(GANG_QUEUES))
            ctx.set(dut.completed, count)
            ctx.set(dut.i.payload, {"wait_mask": mask, "index": index, **{
                f"wait_{q}": want[q] for q in GANG_ONLY}})
            ctx.set(dut.i.valid, 1)
            assert not ctx.get(dut.blocked) and not ctx.get(dut.o.valid)
            await ctx.tick()
            late = [q for q in GANG_ONLY
                    if mask >> BITS[q] & 1 and (count[q] - want[q]) % 2**16 >= 2**15]
            while late:
                assert ctx.get(dut.blocked) == sum(1 << GANG_ONLY.index(q) for q in late)
                assert not ctx.get(dut.o.valid)
                q = late.pop(rng.randrange(len(late)))
                ctx.set(dut.completed[q], want[q])
                await ctx.tick()
            assert not ctx.get(dut.blocked) and ctx.get(dut.o.valid)
            assert ctx.get(dut.o.payload).index == index
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            assert not ctx.get(dut.blocked)
            await ctx.tick().repeat(rng.randint(1, 3))

    simulate(bench)


def test_an_engine_that_is_busy_is_no_wait():
    async def bench(ctx, dut):
        ctx.set(dut.i.valid, 1)
        for _ in range(5):
            assert not ctx.get(dut.blocked) and not ctx.get(dut.i.ready)
            await ctx.tick()
        ctx.set(dut.o.ready, 1)
        await until(ctx, dut.i.ready)

    simulate(bench)


def test_lint():
    rtlil.convert(GangGate(Opcode.TENSOR))
