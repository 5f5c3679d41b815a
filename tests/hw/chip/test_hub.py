# SPDX-License-Identifier: Apache-2.0
"""Cores behind a hub see an ordinary AXI memory each, whatever the others and the channels do."""

import gc
import random

import pytest
from amaranth.sim import Simulator

from hw.chip.depths import Depths, fetch_depths, store_depths
from hw.chip.hub import Hub
from isa.chip import INTERLEAVE
from hw.memory.axi import FETCH_ID, LOAD_ID, STORE_ID, Resp
from tests.hw.chip.hub_bench import READ_BYTES, WRITE_BYTES, Bench, Burst, Core, random_bursts
from tests.hw.memory.dma_bench import small

BUS = 8
TIGHT = (Depths(bursts=2, pieces=3, beats=64), Depths(bursts=1, pieces=1, beats=64),
         Depths(bursts=1, pieces=1))
"""No more than the longest piece needs."""


def some_errors(seed: int, cores: int) -> dict[int, int]:
    """One block in six answers with an error."""
    rng = random.Random(seed)
    blocks = (READ_BYTES + cores * WRITE_BYTES) // INTERLEAVE
    return {b: rng.choice([Resp.SLVERR, Resp.DECERR]) for b in range(blocks)
            if not rng.randrange(6)}


@pytest.mark.parametrize("cores, channels, stall, depths", [
    (1, 2, 0.0, None), (2, 1, 0.5, None), (2, 2, 0.0, None), (2, 2, 0.5, TIGHT),
    (2, 4, 0.5, None), (3, 2, 0.2, TIGHT), (4, 1, 0.0, TIGHT), (4, 2, 0.5, None),
    (4, 4, 0.3, None)])
def test_random_bursts(cores, channels, stall, depths):
    """Data, IDs, order and responses, with memories that answer late, in any order between IDs,
    some blocks with errors."""
    config = small(4, BUS, max_burst=128, outstanding=4)
    seed = 16 * cores + channels
    Bench(config, [random_bursts(config, k, seed, 24 // cores + 6, 12 // cores + 3)
                   for k in range(cores)],
          channels, stall=stall, latency=(1, 40), seed=seed, errors=some_errors(seed, cores),
          depths=depths).run().check()


def run_through(axi_id: int, start: int, bursts: int, beats: int) -> list[Burst]:
    """Bursts one behind the other; a write has data."""
    return [Burst(axi_id, start + k * beats * BUS, beats,
                  tuple((start + k, 0xFF) for _ in range(beats)))
            for k in range(bursts)]


@pytest.mark.parametrize("cores, channels, beats, latency", [
    (1, 1, 16, 30), (1, 2, 16, 30), (1, 2, 4, 1), (2, 2, 16, 30)])
def test_each_core_gets_a_beat_a_cycle(cores, channels, beats, latency):
    """As many cycles as beats, and the latency once: 2 cycles of the memory here, 1 of the core,
    and those of the hub."""
    config = small(4, BUS, max_burst=16, outstanding=4)
    total = 256
    reads = [Core(k, run_through(LOAD_ID, k * INTERLEAVE, total // beats, beats), [],
                  at_once=64 // beats) for k in range(cores)]
    bench = Bench(config, reads, channels, latency=(latency, latency), mixes=False).run()
    bench.check()
    assert [c.done for c in reads] == [total + latency + 4 + 4 + 1] * cores

    writes = [Core(k, [], run_through(STORE_ID, READ_BYTES + k * (WRITE_BYTES + INTERLEAVE),
                                      total // beats, beats)) for k in range(cores)]
    bench = Bench(config, writes, channels, mixes=False).run()
    bench.check()
    assert [c.done for c in writes] == [total + 3 + 3 + 2] * cores


def test_latencies():
    """Of each channel, from register to register."""
    dut, seen = Hub(small(4, BUS, max_burst=8), cores=2, channels=2), {}

    async def pulse(ctx, source):
        ctx.set(source.valid, 1)
        await ctx.tick()
        ctx.set(source.valid, 0)

    async def cycles(ctx, source, sink, **payload):
        ctx.set(source.payload, payload)
        ctx.set(source.valid, 1)
        for stream in (dut.channels[1].ar, dut.channels[1].aw, dut.channels[1].w, dut.cores[1].r,
                       dut.cores[1].b):
            ctx.set(stream.ready, 1)
        count = 0
        while not ctx.get(sink.valid):
            await ctx.tick()
            ctx.set(source.valid, 0)
            count += 1
            assert count < 10, "does not arrive"
        await ctx.tick()
        return count

    async def bench(ctx):
        core, channel = dut.cores[1], dut.channels[1]
        for name, axi_id in (("LOAD", LOAD_ID), ("fetch", FETCH_ID)):
            seen["AR", name] = await cycles(ctx, core.ar, channel.ar, id=axi_id, addr=0x200)
            seen["R", name] = await cycles(ctx, channel.r, core.r, id=2 + axi_id, last=1)
        await pulse(ctx, core.w)
        seen["AW"] = await cycles(ctx, core.aw, channel.aw, addr=0x200)
        seen["B"] = await cycles(ctx, channel.b, core.b, id=2)
        await pulse(ctx, core.aw)
        await ctx.tick().repeat(5)
        seen["W"] = await cycles(ctx, core.w, channel.w, last=1)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert seen == {("AR", "LOAD"): 4, ("R", "LOAD"): 3, ("AR", "fetch"): 4, ("R", "fetch"): 4,
                    "AW": 3, "B": 3, "W": 2}


@pytest.mark.parametrize("kind", ["reads", "writes"])
def test_cores_take_turns(kind):
    """All ask a channel that is slow to take addresses: in each four that it takes each core has
    one, though one of them has two kinds of reads."""
    config = small(4, BUS, max_burst=16, outstanding=16)
    both = run_through(FETCH_ID, 0, 40, 1) + run_through(LOAD_ID, 0, 40, 1)
    cores = [Core(k, both if k == 3 else run_through(LOAD_ID, 0, 40, 1), [], at_once=16)
             if kind == "reads" else
             Core(k, [], run_through(STORE_ID, READ_BYTES + k * WRITE_BYTES, 40, k + 1))
             for k in range(4)]
    bench = Bench(config, cores, 1, stall=0.8 if kind == "reads" else 0.0).run()
    bench.check()
    taken = [axi_id >> 1 for axi_id, *_ in getattr(bench.memories[0], kind)]
    begun = max(taken.index(k) for k in range(4))
    ended = min(len(taken) - taken[::-1].index(k) for k in range(4))
    assert ended - begun > 100
    assert all(len(set(taken[k:k + 4])) == 4 for k in range(begun, ended - 4))


@pytest.mark.parametrize("held, first", [("LOAD of both", "fetch"), ("core 0", "core 1")])
def test_nobody_waits_for_another(held, first):
    """While the memory leaves the LOADs unanswered, as many as there may be, most of them in front
    of the channels, instructions come; while it leaves a core, the other one goes on, to its
    end."""
    config = small(4, BUS, max_burst=16, outstanding=4)
    cores = [Core(k, run_through(LOAD_ID, 0, 20, 16) + run_through(FETCH_ID, 0, 20, 16),
                  run_through(STORE_ID, READ_BYTES + k * WRITE_BYTES, 20, 4), at_once=4)
             for k in range(2)]
    fetch = first == "fetch"

    def holds(axi_id: int) -> bool:
        if fetch:
            return axi_id & 1 == LOAD_ID and any(
                sum(beat[0] == FETCH_ID for beat in core.data) < 320 for core in cores)
        return axi_id >> 1 == 0 and not cores[1].finished

    depths = (Depths(bursts=4, pieces=1, beats=16), fetch_depths(config, 2), store_depths(config))
    bench = Bench(config, cores, 2, depths=depths)
    for memory in bench.memories:
        memory.holds = holds
    bench.run().check()
    if not fetch:
        assert cores[1].done + 300 < cores[0].done


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_what_cannot_be_built():
    with pytest.raises(ValueError, match="3 channels"):
        Hub(small(4, BUS), cores=2, channels=3)
    with pytest.raises(ValueError, match="0 cores"):
        Hub(small(4, BUS), cores=0, channels=2)
    gc.collect()    # what was not used is gone before the filter is
