# SPDX-License-Identifier: Apache-2.0
"""The weight loader's beats in the order of use, by definition, with back-pressure and lost
arbitrations."""

import random

import pytest
from amaranth.sim import Simulator

from hw.tensor.weights import WeightLoader
from hw.top import verilog_of
from isa.config import PARAM_WORDS, Config
from isa.instructions import DType
from isa.presets import PRESETS
from tests.hw.handshake import send
from tests.hw.spm_stub import server

BASE = 32


def beats(i: dict[str, int], config: Config) -> list[tuple[int, int, int, int, int]]:
    """Address, params, tile, beat and last of each beat; a word of two columns comes twice."""
    tiles, words, found = config.tiles >> i["m_split"], config.weight_words, []
    for _ in range(i["ntx"] * i["nty"]):
        at = BASE
        for _ in range(i["nnb"]):
            passes = i["ncb"] * i["ns"] * i["nr"]
            parts = [(0, config.lanes)] * passes + [(1, PARAM_WORDS)] * (not i["hold"])
            for params, size in parts:
                for tile in range(tiles):
                    for beat in range(size // words):
                        last = tile == tiles - 1 and beat == size // words - 1
                        found.append((at, params, tile, beat, int(last)))
                        at += words * (params or not i["w_type"] or beat % 2)
    return found


INSTRUCTIONS: list[dict[str, int]] = [
    {"ncb": 2, "ns": 3, "nr": 2, "nnb": 1, "ntx": 1, "nty": 2, "hold": 0},
    {"ncb": 1, "ns": 1, "nr": 1, "nnb": 3, "ntx": 2, "nty": 1, "hold": 0},
    {"ncb": 1, "ns": 2, "nr": 1, "nnb": 1, "ntx": 1, "nty": 1, "hold": 1}]

NARROW: list[dict[str, int]] = [
    {**INSTRUCTIONS[0], "w_type": 1, "dtype": DType.FP16, "w_signed": 1},
    {**INSTRUCTIONS[1], "dtype": DType.FP16},
    {**INSTRUCTIONS[1], "w_type": 1, "dtype": DType.BF16, "w_zp": 77}]


class Bench:
    """A loader, its memory, and whoever takes the beats with probability ``takes``."""

    def __init__(self, name: str, instructions: list[dict[str, int]], ready: float, takes: float):
        self.config = PRESETS[name]
        self.dut = WeightLoader(self.config)
        self.rng = random.Random(4)
        bits = 8 * self.config.word_bytes
        self.words = [self.rng.getrandbits(bits) for _ in range(self.config.spm_words)]
        rest = dict.fromkeys(("m_split", "dtype", "w_type", "w_signed", "w_zp"), 0)
        self.instructions = [{**rest, "w_base": BASE, "index": k, **i}
                             for k, i in enumerate(instructions)]
        self.takes = takes
        self.sim = Simulator(self.dut)
        self.sim.add_clock(1e-6)
        for k, port in enumerate(self.dut.port):
            self.sim.add_testbench(server(port, self.words, ready, k), background=True)
        self.sim.add_testbench(self._feed, background=True)

    async def _feed(self, ctx):
        await send(ctx, self.dut.instr, self.instructions)


@pytest.mark.parametrize("ready, takes", [(1.0, 1.0), (0.7, 0.5), (0.3, 1.0), (1.0, 0.2)])
@pytest.mark.parametrize("name", ["tiny", "core256", "core1024"])
def test_beats(name: str, ready: float, takes: float) -> None:
    bench = Bench(name, INSTRUCTIONS, ready, takes)
    config, dut = bench.config, bench.dut

    async def check(ctx):
        for i in bench.instructions:
            for at, params, tile, beat, last in beats(i, config):
                taken = False
                while not taken:
                    ctx.set(dut.beats.ready, bench.rng.random() < takes)
                    _, _, valid, taken, got = await ctx.tick().sample(
                        dut.beats.valid, dut.beats.ready, dut.beats.payload)
                    taken = taken and valid
                assert (got.params, got.tile, got.beat, got.last) == (params, tile, beat, last)
                assert [got.raw[k] for k in range(config.weight_words)] == bench.words[
                    at:at + config.weight_words]

    bench.sim.add_testbench(check)
    bench.sim.run()


@pytest.mark.parametrize("name", ["tiny_fp", "core256_fp"])
def test_int8_weights_of_floats(name: str) -> None:
    """What lanes multiply is ``first * 2**shift``, whose unit is the type's smallest subnormal."""
    bench = Bench(name, NARROW, 0.7, 0.5)
    config, dut = bench.config, bench.dut
    half = config.lanes // 2

    async def check(ctx):
        for i in bench.instructions:
            for at, params, tile, beat, last in beats(i, config):
                taken = False
                while not taken:
                    ctx.set(dut.beats.ready, bench.rng.random() < bench.takes)
                    _, _, valid, taken, got = await ctx.tick().sample(
                        dut.beats.valid, dut.beats.ready, dut.beats.payload)
                    taken = taken and valid
                assert (got.params, got.tile, got.beat, got.last) == (params, tile, beat, last)
                for k in range(config.weight_words):
                    assert got.raw[k] == bench.words[at + k]
                    if params or not i["w_type"]:
                        continue
                    data = bench.words[at + k].to_bytes(config.lanes, "little")
                    for lane, byte in enumerate(data[beat % 2 * half:][:half]):
                        n = byte - 256 * (byte >> 7 & i["w_signed"]) - i["w_zp"]
                        pair = got.weights[k][lane]
                        assert (pair.first, pair.negative, pair.zero) == (n, n < 0, n == 0)
                        assert pair.shift == (24 if i["dtype"] == DType.FP16 else 133)
                        assert not (pair.inf or pair.nan or pair.absent)

    bench.sim.add_testbench(check)
    bench.sim.run()


@pytest.mark.parametrize("name", ["tiny", "core1024"])
def test_latency_and_throughput(name: str) -> None:
    bench = Bench(name, INSTRUCTIONS[:1], 1.0, 1.0)
    dut, wanted = bench.dut, len(beats(bench.instructions[0], bench.config))

    async def check(ctx):
        ctx.set(dut.beats.ready, 1)
        _, _, taken = await ctx.tick().sample(dut.instr.valid & dut.instr.ready)
        assert taken
        for cycle in range(1, dut.LATENCY + wanted + 1):
            assert bool(ctx.get(dut.beats.valid)) == (dut.LATENCY <= cycle < dut.LATENCY + wanted)
            await ctx.tick()

    bench.sim.add_testbench(check)
    bench.sim.run()


def test_a_stream_that_leaves_the_scratchpad_is_a_fault() -> None:
    bench = Bench("tiny", [INSTRUCTIONS[0]], 1.0, 1.0)
    dut = bench.dut
    bench.instructions[0].update(w_base=bench.config.spm_words - 8, index=9)

    async def check(ctx):
        ctx.set(dut.beats.ready, 1)
        count = 0
        for _ in range(100):
            _, _, valid = await ctx.tick().sample(dut.beats.valid)
            count += valid
        assert ctx.get(dut.fault) and ctx.get(dut.fault_index) == 9
        assert count == 8 // bench.config.weight_words

    bench.sim.add_testbench(check)
    bench.sim.run()


def test_convertible() -> None:
    verilog_of(WeightLoader(PRESETS["tiny_fp"]), "weights")
