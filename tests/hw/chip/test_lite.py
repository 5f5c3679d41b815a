# SPDX-License-Identifier: Apache-2.0
"""The way to the registers of cores: each access once, in their order over all cores."""

import random

import pytest
from amaranth.sim import Simulator

from hw.chip.lite import PENDING, LiteMaster
from tests.hw.handshake import until

CORES = 3


class Registers:
    """Cores that take, do and answer accesses after random times; ``done`` are those of all cores,
    in their order."""

    def __init__(self, lite: LiteMaster, seed: int, stall: float):
        self.rng, self.stall, self.lite = random.Random(seed), stall, lite
        self.done: list[tuple[int, int, int | None]] = []
        self.values: dict[tuple[int, int], int] = {}

    async def pause(self, ctx) -> None:
        while self.rng.random() < self.stall:
            await ctx.tick()

    async def took(self, ctx, channel):
        """The next payload of a channel."""
        await self.pause(ctx)
        ctx.set(channel.ready, 1)
        (payload,) = await until(ctx, channel.valid, channel.payload)
        ctx.set(channel.ready, 0)
        return payload

    def writes(self, core: int):
        """Takes address and data each when it likes."""
        port = self.lite.host[core]
        addresses, words = [], []

        async def address(ctx):
            while True:
                addresses.append(await self.took(ctx, port.aw))

        async def word(ctx):
            while True:
                words.append(await self.took(ctx, port.w))

        async def answer(ctx):
            while True:
                if not (addresses and words):
                    await ctx.tick()
                    continue
                await self.pause(ctx)
                offset, data = addresses.pop(0), words.pop(0)
                assert data.strb == 0xF
                self.values[core, offset] = data.data
                self.done.append((core, offset, data.data))
                ctx.set(port.b.valid, 1)
                await until(ctx, port.b.ready)
                ctx.set(port.b.valid, 0)
        return address, word, answer

    def reads(self, core: int):
        """Answers with what was written."""
        port = self.lite.host[core]

        async def answer(ctx):
            while True:
                offset = await self.took(ctx, port.ar)
                await self.pause(ctx)
                self.done.append((core, offset, None))
                ctx.set(port.r.payload, {"data": self.values.get((core, offset), 0), "resp": 0})
                ctx.set(port.r.valid, 1)
                await until(ctx, port.r.ready)
                ctx.set(port.r.valid, 0)
        return answer


def simulate(bench, seed: int = 1, stall: float = 0.0, answers: bool = True) -> Registers:
    """Run a bench, which gets the context and the master, to its end; without ``answers`` the cores
    take writes and do none."""
    lite = LiteMaster(CORES)
    registers = Registers(lite, seed, stall)

    async def run(ctx):
        await bench(ctx, lite)

    sim = Simulator(lite)
    sim.add_clock(1e-6)
    sim.add_testbench(run)
    for core in range(CORES):
        address, word, answer = registers.writes(core)
        for process in (address, word, *[answer] * answers, registers.reads(core)):
            sim.add_testbench(process, background=True)
    sim.run()
    return registers


async def access(ctx, lite: LiteMaster, core: int, offset: int, value: int | None) -> int:
    """One access; what a read gives."""
    ctx.set(lite.access.payload, {"core": core, "write": value is not None, "offset": offset,
                                  "data": value or 0})
    ctx.set(lite.access.valid, 1)
    (found,) = await until(ctx, lite.access.ready, lite.value)
    ctx.set(lite.access.valid, 0)
    return found


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_accesses_are_done_once_in_their_order(seed, stall):
    """Also those of different cores; a read gives what was written last."""
    rng, asked, values = random.Random(seed), [], {}

    async def bench(ctx, lite):
        for _ in range(150):
            core, offset = rng.randrange(CORES), 4 * rng.randrange(3)
            value = rng.getrandbits(32) if rng.random() < 0.8 else None
            asked.append((core, offset, value))
            found = await access(ctx, lite, core, offset, value)
            if value is None:
                assert found == values.get((core, offset), 0)
            else:
                values[core, offset] = value
            if rng.random() < 0.3:
                await ctx.tick().repeat(rng.randrange(1, 6))
        await access(ctx, lite, 0, 0, None)     # behind all writes

    assert simulate(bench, seed, stall).done[:-1] == asked


def test_no_more_than_some_writes_are_on_their_way():
    """To a core that answers none of them."""
    taken = 0

    async def bench(ctx, lite):
        nonlocal taken
        ctx.set(lite.access.payload, {"core": 1, "write": 1, "offset": 0, "data": 0})
        ctx.set(lite.access.valid, 1)
        for _ in range(10 * PENDING):
            _clk, _rst, ready = await ctx.tick().sample(lite.access.ready)
            taken += ready

    simulate(bench, answers=False)
    assert taken == PENDING
