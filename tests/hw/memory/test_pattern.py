# SPDX-License-Identifier: Apache-2.0
"""The runs of a LOAD or STORE, by definition, with back-pressure; every rule by its fault."""

import itertools
import random

import pytest
from amaranth.sim import Simulator

from hw.memory.pattern import Pattern
from hw.top import verilog_of
from isa.config import Config
from isa.instructions import Fault, Opcode, Region
from tests.hw.handshake import send
from tests.hw.memory.dma_bench import BASES, REGION_BYTES, small

WIDE, NARROW = small(lanes=4, bus=16), small(lanes=8, bus=8)
PLAIN = {"region": Region.WORKSPACE, "dram": 64, "spm": 10, "n0": 5, "n1": 3, "n2": 2, "n3": 1,
         "dram_stride1": 256, "dram_stride2": 1024, "dram_stride3": 0, "spm_stride1": 8,
         "spm_stride2": 50, "spm_stride3": 0, "index": 3}


def runs(i: dict[str, int], config: Config) -> list[dict[str, int]]:
    """Each run's first beat, its beats, and its tag; where a beat has one word, no places."""
    found, words = [], config.bus_bytes // config.word_bytes
    counts = [range(i[f"n{k}"]) for k in (3, 2, 1)]
    for at in itertools.product(*counts):
        steps = list(zip(at, (3, 2, 1)))
        byte = BASES[i["region"]] + i["dram"] + sum(n * i[f"dram_stride{k}"] for n, k in steps)
        first, last = (b // config.bus_bytes for b in (
            byte, byte + i["n0"] * config.word_bytes - 1))
        found.append({
            "beat": first, "beats": last - first + 1,
            "spm": i["spm"] + sum(n * i[f"spm_stride{k}"] for n, k in steps),
            "final": all(n == i[f"n{k}"] - 1 for n, k in steps), "index": i["index"],
            **({"first_lane": byte // config.word_bytes % words,
                "last_lane": (byte // config.word_bytes + i["n0"] - 1) % words}
               if words > 1 else {})})
    return found


class Bench:
    """The generator of an opcode, and instructions for it."""

    def __init__(self, config: Config, instructions: list[dict[str, int]],
                 opcode: Opcode = Opcode.LOAD, size: int = REGION_BYTES):
        self.dut = Pattern(config, opcode)
        self.instructions, self.size = instructions, size
        self.sim = Simulator(self.dut)
        self.sim.add_clock(1e-6)
        self.sim.add_testbench(self._feed, background=True)

    async def _feed(self, ctx):
        d = self.dut
        for region in Region:
            ctx.set(d.regions[region].base, BASES[region])
            ctx.set(d.regions[region].size, self.size)
        await send(ctx, d.instr, self.instructions)


@pytest.mark.parametrize("takes", [1.0, 0.4])
@pytest.mark.parametrize("config", [WIDE, NARROW], ids=["wide", "narrow"])
def test_runs(config: Config, takes: float) -> None:
    rng, word = random.Random(8), config.word_bytes
    instructions = [PLAIN]
    for index in range(6):
        instructions.append({
            "region": rng.choice((Region.WORKSPACE, Region.INPUT)), "index": index,
            "dram": 6000 + word * rng.randrange(100), "spm": rng.randrange(300, 500),
            "n0": rng.randint(1, 9), **{f"n{k}": rng.randint(1, 4) for k in (1, 2, 3)},
            **{f"dram_stride{k}": word * rng.randint(-100, 100) for k in (1, 2, 3)},
            **{f"spm_stride{k}": rng.randint(-30, 30) for k in (1, 2, 3)}})
    bench = Bench(config, instructions)
    dut = bench.dut

    async def check(ctx):
        for i in instructions:
            for want in runs(i, config):
                taken = False
                while not taken:
                    ctx.set(dut.runs.ready, rng.random() < takes)
                    _, _, valid, taken, got = await ctx.tick().sample(
                        dut.runs.valid, dut.runs.ready, dut.runs.payload)
                    taken = taken and valid
                assert got.beats % (1 << len(dut.runs.payload.beats)) == want.pop("beats")
                assert got.beat == want.pop("beat")
                assert {f: got.tag[f] for f in want} == want
        assert not ctx.get(dut.fault)

    bench.sim.add_testbench(check)
    bench.sim.run()


def test_latency_and_throughput() -> None:
    bench = Bench(WIDE, [PLAIN])
    dut, count = bench.dut, len(runs(PLAIN, WIDE))

    async def check(ctx):
        ctx.set(dut.runs.ready, 1)
        _, _, taken = await ctx.tick().sample(dut.instr.valid & dut.instr.ready)
        assert taken
        for cycle in range(1, dut.LATENCY + count + 2):
            assert bool(ctx.get(dut.runs.valid)) == (
                dut.LATENCY <= cycle < dut.LATENCY + count), cycle
            await ctx.tick()

    bench.sim.add_testbench(check)
    bench.sim.run()


@pytest.mark.parametrize("wrong, code, before", [
    ({"n0": 0}, Fault.BAD_FIELD, 0), ({"n2": 0}, Fault.BAD_FIELD, 0),
    ({"dram": 65}, Fault.BAD_FIELD, 0), ({"dram_stride1": 258}, Fault.BAD_FIELD, 0),
    ({"dram_stride1": 8192}, Fault.DRAM_RANGE, 2), ({"dram_stride1": -64}, Fault.DRAM_RANGE, 2),
    ({"dram": REGION_BYTES - 16}, Fault.DRAM_RANGE, 0), ({"spm": 1023}, Fault.SPM_RANGE, 0),
    ({"spm_stride1": -6}, Fault.SPM_RANGE, 2), ({"spm_stride2": 1020}, Fault.SPM_RANGE, 3)])
def test_a_fault_stops_at_its_run(wrong: dict[str, int], code: Fault, before: int) -> None:
    """The runs before it are handed over, those of the instruction before as well."""
    bench = Bench(WIDE, [{**PLAIN, "index": 1}, {**PLAIN, **wrong, "index": 2}, PLAIN])
    dut, count = bench.dut, 0

    async def check(ctx):
        nonlocal count
        ctx.set(dut.runs.ready, 1)
        for _ in range(60):
            _, _, valid = await ctx.tick().sample(dut.runs.valid)
            count += valid
        assert ctx.get(dut.fault) and ctx.get(dut.fault_code) == code
        assert ctx.get(dut.fault_index) == 2
        assert count == len(runs(PLAIN, WIDE)) + before

    bench.sim.add_testbench(check)
    bench.sim.run()


@pytest.mark.parametrize("dram, words", [(240, 4), ((1 << 31) - 16, 4), ((1 << 31) - 16, 5),
                                         ((1 << 32) - 16, 4), ((1 << 32) - 16, 5)])
@pytest.mark.parametrize("log2", [31, 32, 33, 63])
def test_a_region_ends_with_the_memory(log2: int, dram: int, words: int) -> None:
    """One at address 0 that is larger than a memory of 2**32 bytes, like one of just that size."""
    bench = Bench(small(lanes=4, bus=16, addr_bits=32), [{
        **PLAIN, "region": Region.PROGRAM, "dram": dram, "n0": words, "n1": 1, "n2": 1}],
        size=1 << log2)
    dut = bench.dut

    async def check(ctx):
        ctx.set(dut.runs.ready, 1)
        await ctx.tick().repeat(20)
        inside = dram + 4 * words <= 1 << min(log2, 32)
        assert ctx.get(dut.fault) == (not inside)
        assert inside or ctx.get(dut.fault_code) == Fault.DRAM_RANGE

    bench.sim.add_testbench(check)
    bench.sim.run()


@pytest.mark.parametrize("opcode", [Opcode.LOAD, Opcode.STORE])
def test_only_a_store_is_refused_in_a_read_only_region(opcode: Opcode) -> None:
    bench = Bench(WIDE, [{**PLAIN, "region": Region.INPUT}], opcode)
    dut = bench.dut

    async def check(ctx):
        ctx.set(dut.runs.ready, 1)
        await ctx.tick().repeat(30)
        assert bool(ctx.get(dut.fault)) == (opcode is Opcode.STORE)
        if opcode is Opcode.STORE:
            assert ctx.get(dut.fault_code) == Fault.DRAM_RANGE

    bench.sim.add_testbench(check)
    bench.sim.run()


def test_convertible() -> None:
    verilog_of(Pattern(WIDE, Opcode.STORE), "pattern")
