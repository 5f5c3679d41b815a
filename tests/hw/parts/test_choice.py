# SPDX-License-Identifier: Apache-2.0
"""Turns, against a list of who was last."""

import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from hw.parts.choice import turns


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_turns(count):
    rng = random.Random(count)
    m, asks, taken = Module(), Signal(count), Signal()
    who = turns(m, "user", asks, taken)

    async def bench(ctx):
        last, passed = count - 1, [0] * count
        for _ in range(300):
            ask = rng.getrandbits(count) | rng.getrandbits(count)
            ctx.set(asks, ask)
            ctx.set(taken, bool(ask) and rng.random() < 0.7)
            wanted = next((k for k in ((last + 1 + j) % count for j in range(count))
                           if ask >> k & 1), None)
            assert ctx.get(who) == (0 if wanted is None else 1 << wanted)
            if ctx.get(taken):
                last = wanted
                passed = [passed[k] + 1 if ask >> k & 1 and k != wanted else 0
                          for k in range(count)]
                assert max(passed) < count
            await ctx.tick()

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
