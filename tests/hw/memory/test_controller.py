# SPDX-License-Identifier: Apache-2.0
"""Who gets the address channel of reads."""

import pytest
from amaranth.sim import Simulator

from hw.memory.axi import FETCH_ID, LOAD_ID
from hw.memory.controller import MemoryController
from tests.hw.memory.dma_bench import small

CYCLES = 40


@pytest.mark.parametrize("fetch, load", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("stall", [0, 1, 2])
def test_reads_take_turns(fetch: bool, load: bool, stall: int) -> None:
    """Where both ask all the time each gets every other address, alone every one; each as its
    user gave it, however often the memory stalls."""
    dut, seen, asked = MemoryController(small(8, 8)), [], {FETCH_ID: 0, LOAD_ID: 0}
    users = {FETCH_ID: dut.fetch_ar, LOAD_ID: dut.load_ar}

    async def bench(ctx):
        ctx.set(dut.fetch_ar.valid, fetch)
        ctx.set(dut.load_ar.valid, load)
        for cycle in range(CYCLES):
            for user, ar in users.items():
                ctx.set(ar.payload.addr, 0x1000 * user + 8 * asked[user])
            ctx.set(dut.bus.ar.ready, cycle % (stall + 1) == 0)
            _, _, valid, ready, address, *taken = await ctx.tick().sample(
                dut.bus.ar.valid, dut.bus.ar.ready, dut.bus.ar.payload,
                *(ar.valid & ar.ready for ar in users.values()))
            for user, took in zip(users, taken, strict=True):
                asked[user] += took
            if valid and ready:
                seen.append((address.id, address.addr))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert len(seen) >= CYCLES // (stall + 1) - 3
    for user, wants in ((FETCH_ID, fetch), (LOAD_ID, load)):
        got = [address for who, address in seen if who == user]
        assert got == [0x1000 * user + 8 * k for k in range(len(got))]
        assert len(got) >= wants * (len(seen) // (fetch + load) - 1)
        assert wants or not got
