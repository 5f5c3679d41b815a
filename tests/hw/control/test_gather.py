# SPDX-License-Identifier: Apache-2.0
"""Every field arrives, with the position, from any bus width and at any pace."""

import random

import pytest
from amaranth.sim import Simulator

from hw.control.gather import Gather
from isa.instructions import ALONE_PLACES, INDEX_BITS, Instruction, Opcode
from tests.hw.handshake import until
from tests.hw.memory.dma_bench import small

ENGINES = [op for op in ALONE_PLACES if op is not Opcode.END]


@pytest.mark.parametrize("bus", [8, 16, 32])
@pytest.mark.parametrize("op", ENGINES, ids=lambda op: op.name)
@pytest.mark.parametrize("pace", [1.0, 0.5])
def test_fields_and_position(bus: int, op: Opcode, pace: float) -> None:
    config, rng = small(8, bus), random.Random(bus)
    dut, cycles = Gather(config, op), 0
    # of every length, the shorter ones behind longer ones, too
    program = [Instruction(op, {f.name: rng.randint(f.low, f.high) for f, low in ALONE_PLACES[op]
                                if low + f.width <= most})
               for most in (1 << 12, 256, 512, 1 << 12, 768, 256)]

    async def feed(ctx) -> None:
        for index, i in enumerate(program):
            raw = index.to_bytes(INDEX_BITS // 8, "little") + i.encode()[INDEX_BITS // 8:]
            for at in range(0, len(raw), bus):
                while rng.random() > pace:
                    await ctx.tick()
                ctx.set(dut.i.payload, {"word": int.from_bytes(raw[at:at + bus], "little"),
                                        "last": at + bus == len(raw)})
                ctx.set(dut.i.valid, 1)
                await until(ctx, dut.i.ready)
                ctx.set(dut.i.valid, 0)

    async def take(ctx) -> None:
        for index, want in enumerate(program):
            while rng.random() > pace:
                await ctx.tick()
            ctx.set(dut.o.ready, 1)
            (got,) = await until(ctx, dut.o.valid, dut.o.payload)
            ctx.set(dut.o.ready, 0)
            assert got.index == index
            assert all(getattr(got, f.name) == getattr(want, f.name) for f, _ in ALONE_PLACES[op])

    async def count(ctx) -> None:
        nonlocal cycles
        async for _ in ctx.tick():
            cycles += 1

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(feed)
    sim.add_testbench(take)
    sim.add_testbench(count, background=True)
    sim.run()
    if pace == 1.0:
        assert cycles == sum(len(i.encode()) // bus + 1 for i in program)
