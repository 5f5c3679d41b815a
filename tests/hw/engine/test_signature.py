# SPDX-License-Identifier: Apache-2.0
"""Signatures in RTL against the golden formula, with ports that run ahead of one another."""

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator

from golden.signature import signature
from hw.engine.signature import Signatures

BYTES = 8
DEPTH = 4


def run(dut, bench):
    async def testbench(ctx):
        await bench(ctx)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()


def writes(rng, count):
    return rng.permutation(1 << 15)[:count], rng.integers(0, 256, (count, BYTES), np.uint8)


def drive(ctx, port, at=None, data=None, strobe=3, ends=0):
    ctx.set(port.valid, at is not None)
    ctx.set(port.ends, ends)
    if at is not None:
        ctx.set(port.at, int(at) * BYTES // 4)
        ctx.set(port.data, int.from_bytes(data.tobytes(), "little"))
        ctx.set(port.strobe, strobe)


@pytest.mark.parametrize("depth", [0, DEPTH])
def test_order_does_not_matter_and_instructions_do_not_mix(depth):
    rng = np.random.default_rng(1)
    dut = Signatures(2, BYTES, depth)

    async def bench(ctx):
        for count in (7, 0, 12, 1):
            at, data = writes(rng, count)
            queue = rng.permutation(count).tolist()
            while True:
                last = len(queue) <= 2
                for port in dut.write:
                    k = queue.pop() if queue else None
                    drive(ctx, port, *((at[k], data[k]) if k is not None else ()), ends=last)
                ctx.set(dut.settle, last)
                ctx.set(dut.done, last)
                *_, value = await ctx.tick().sample(dut.value)
                if last:
                    break
            assert value == signature(at, data)

    run(dut, bench)


def test_a_port_that_is_ahead():
    """One port ends two instructions before the other ends its first."""
    rng = np.random.default_rng(2)
    dut = Signatures(2, BYTES, DEPTH)
    at, data = writes(rng, 4)

    async def bench(ctx):
        early, late = dut.write
        for k in (0, 1):
            drive(ctx, early, at[k], data[k], ends=1)
            await ctx.tick()
        drive(ctx, early)
        for k in (2, 3):
            drive(ctx, late, at[k], data[k], ends=1)
            ctx.set(dut.settle, 1)
            ctx.set(dut.done, 1)
            *_, value = await ctx.tick().sample(dut.value)
            mine = [k - 2, k]
            assert value == signature(at[mine], data[mine])

    run(dut, bench)


def test_strobes():
    rng = np.random.default_rng(3)
    dut = Signatures(1, BYTES)
    at, data = writes(rng, 1)

    async def bench(ctx):
        drive(ctx, dut.write[0], at[0], data[0], strobe=2)
        ctx.set(dut.settle, 1)
        ctx.set(dut.done, 1)
        *_, value = await ctx.tick().sample(dut.value)
        assert value == signature(at[:1] * 2 + 1, data[:1, 4:])

    run(dut, bench)


def test_settling_what_has_not_ended_fails():
    dut = Signatures(1, BYTES, DEPTH)

    async def bench(ctx):
        await ctx.tick().repeat(2)
        ctx.set(dut.settle, 1)
        await ctx.tick()

    with pytest.raises(AssertionError, match="settled that has not ended"):
        run(dut, bench)


def test_lint():
    rtlil.convert(Signatures(4, 16, DEPTH))
