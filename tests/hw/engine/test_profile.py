# SPDX-License-Identifier: Apache-2.0
"""Buckets: which one a cycle falls in, and that two at once are refused."""

import random

import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator

from hw.engine.profile import Buckets, events_layout
from isa.instructions import GANG_QUEUES, QUEUES
from isa.registers import BUCKETS, GANG_WAITS

MACHINES = [(queue, queues) for queues in (QUEUES, GANG_QUEUES) for queue in queues]


def simulate(queue, bench, queues=QUEUES):
    dut = Buckets(queue, queues)

    async def testbench(ctx):
        await bench(ctx, dut)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()


def chosen(ctx, dut):
    return [name for name in dut.bucket.shape().members if ctx.get(dut.bucket[name])]


@pytest.mark.parametrize("queue, queues", MACHINES)
def test_order(queue, queues):
    """Events, then the first queue waited for, then whether an instruction is there."""
    names = [name for name, _ in events_layout(queue)]
    rng = random.Random(queue)

    async def bench(ctx, dut):
        seen = set()
        for _ in range(500):
            event = rng.choice([None, *names]) if rng.random() < 0.5 else None
            waits = rng.getrandbits(len(queues)) & -1 << rng.randrange(len(queues))
            blocked = waits if rng.random() < 0.5 else 0
            present = rng.getrandbits(1)
            ctx.set(dut.events, {name: int(name == event) for name in names})
            ctx.set(dut.blocked, blocked)
            ctx.set(dut.present, present)
            await ctx.delay(1e-7)
            first = next((q for k, q in enumerate(queues) if blocked >> k & 1), None)
            want = event or (first and f"wait_{first}") or ("overhead" if present else "idle")
            assert chosen(ctx, dut) == [want]
            seen.add(want)
            await ctx.tick()
        assert seen == BUCKETS[queue].keys() - (set(GANG_WAITS) if queues is QUEUES else set())

    simulate(queue, bench, queues)


@pytest.mark.parametrize("queue", [*QUEUES, "send"])
def test_two_events_at_once_fail(queue):
    a, b, *_ = [name for name, _ in events_layout(queue)]

    async def bench(ctx, dut):
        ctx.set(dut.events[a], 1)
        await ctx.tick().repeat(3)
        ctx.set(dut.events[b], 1)
        await ctx.tick()

    with pytest.raises(AssertionError, match="not in exactly one bucket"):
        simulate(queue, bench)


def test_lint():
    rtlil.convert(Buckets("store"))
