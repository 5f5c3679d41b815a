# SPDX-License-Identifier: Apache-2.0
"""Each tile's output and residual word of a step, by definition, with back-pressure."""

import random

import pytest
from amaranth.sim import Simulator

from hw.tensor.drain_addresses import DrainAddresses
from hw.top import verilog_of
from isa.config import Config
from isa.instructions import DType
from isa.presets import PRESETS
from tests.hw.handshake import until

LATENCY = 4


def instruction(rng: random.Random, config: Config) -> dict[str, int]:
    m_split = rng.randrange(config.tiles.bit_length())
    types = list(DType) if config.floats else [DType.INT8]
    wrap = rng.choice((0, 90))
    return {"m_split": m_split, "m_last": rng.randint(1, 1 << m_split),
            "n_last": rng.randint(1, config.tiles >> m_split), "residual": rng.getrandbits(1),
            "o_n": rng.randint(-20, 90), "r_n": rng.randint(-20, 90), "o_m": rng.randrange(90),
            "o_wrap": wrap, "r_wrap": wrap, "o_type": rng.choice(types),
            "r_type": rng.choice(types)}


def step_of(rng: random.Random, config: Config) -> dict[str, int]:
    mark = {"index": rng.randrange(config.psum_depth), "bank": rng.getrandbits(1),
            "first": rng.getrandbits(1), "last": rng.getrandbits(1),
            **({"word": rng.randrange(4)} if config.floats else {})}
    def base() -> int:
        """Around either end of the scratchpad."""
        return rng.randint(-90, 200) + rng.choice((0, config.spm_words - 250))

    return {"out": base(), "residual": base(),
            **{f: rng.randrange(90) for f in ("out_row", "residual_row")},
            **{f: rng.getrandbits(1) for f in ("end_word", "last_group", "last_row")}, "mark": mark}


def placed(i: dict[str, int], step: dict, config: Config) -> list[dict[str, int]]:
    """For each tile the words' addresses, whether it writes, and whether it wants a residual."""
    result = []
    for t in range(config.tiles):
        stream, n = divmod(t, config.tiles >> i["m_split"])
        rows = [step[f"{f}_row"] + stream * i["o_m"] for f in ("out", "residual")]
        if i["o_wrap"]:
            rows = [row % i["o_wrap"] for row in rows]
        write = not (
            (step["last_group"] and n >= i["n_last"])
            or (step["last_row"] and stream >= i["m_last"])
            or (step["last_group"] and n == i["n_last"] - 1 and step["end_word"]))
        result.append({
            "out": step["out"] + n * i["o_n"] * DType(i["o_type"]).size + rows[0],
            "residual": step["residual"] + n * i["r_n"] * DType(i["r_type"]).size + rows[1],
            "write": write, "wants": write and bool(i["residual"])})
    return result


@pytest.mark.parametrize("stalls", [0.0, 0.5])
@pytest.mark.parametrize("name", ["tiny", "tiny_fp", "core1024"])
def test_places(name: str, stalls: float) -> None:
    config, rng = PRESETS[name], random.Random(5)
    dut = DrainAddresses(config, copies=3)
    rounds, steps = 8, 25
    todo: list[tuple[dict, dict]] = []
    seen = {"bad": 0, "good": 0}

    def outside(at: int) -> bool:
        return not 0 <= at < config.spm_words

    async def drive(ctx):
        for _ in range(rounds):
            i = instruction(rng, config)
            for f, value in i.items():
                ctx.set(dut.i[f], value)
            await ctx.tick().repeat(2)
            for _ in range(steps):
                step = step_of(rng, config)
                for f, value in step.items():
                    ctx.set(dut.step[f], value)
                valid = rng.random() < 0.8
                ctx.set(dut.step.valid, valid)
                if valid:
                    todo.append((i, step))
                await until(ctx, dut.go == 0b111)
            ctx.set(dut.step.valid, 0)
            await until(ctx, ~dut.busy)
            assert not todo

    async def check(ctx):
        place = dut.places.payload
        while True:
            ctx.set(dut.places.ready, rng.random() >= stalls)
            _, _, valid, ready, got = await ctx.tick().sample(dut.places.valid, dut.places.ready,
                                                              place)
            if not (valid and ready):
                continue
            i, step = todo.pop(0)
            assert all(got.entry[f] == value for f, value in step["mark"].items())
            bad = False
            for t, want in enumerate(placed(i, step, config)):
                assert got.entry.write >> t & 1 == want["write"]
                assert got.wants >> t & 1 == want["wants"]
                for at, used, address in (
                        (want["out"], want["write"], got.entry.addr[t]),
                        (want["residual"], want["wants"], got.residual[t])):
                    bad |= used and outside(at)
                    assert address == at or not used or outside(at)
            assert got.bad == bad
            seen["bad" if bad else "good"] += 1

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.add_testbench(check, background=True)
    sim.run()
    assert min(seen.values()) > 10


def test_latency_and_room() -> None:
    """A step is a place four cycles later; with ``places`` stalled two more find room behind it
    before ``go`` falls."""
    dut = DrainAddresses(PRESETS["tiny"], copies=1)

    async def bench(ctx):
        ctx.set(dut.step.valid, 1)
        for cycle in range(LATENCY):
            assert ctx.get(dut.go) and not ctx.get(dut.places.valid), cycle
            await ctx.tick()
        assert ctx.get(dut.places.valid) and ctx.get(dut.go)
        await ctx.tick()
        for _ in range(3):
            assert ctx.get(dut.places.valid) and not ctx.get(dut.go)
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_convertible() -> None:
    verilog_of(DrainAddresses(PRESETS["tiny_fp"], copies=3), "addresses")
