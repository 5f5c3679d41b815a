# SPDX-License-Identifier: Apache-2.0
"""The drain's steps against six nested loops, without and with stalls."""

import itertools
import random

import pytest
from amaranth.sim import Simulator

from hw.tensor.drain_walk import DrainWalk
from hw.top import verilog_of
from isa.config import Config
from isa.instructions import DType
from isa.presets import PRESETS

LATENCY = 3


def instruction(rng: random.Random, config: Config) -> dict[str, int]:
    """Fields that the drain reads."""
    o_type = rng.choice(list(DType)) if config.floats else DType.INT8
    smaller = [t for t in DType if t.size <= o_type.size] if config.floats else [DType.INT8]
    nx, ny = rng.randint(1, 3), rng.randint(1, 2)
    return {
        "nx": nx, "ny": ny, "nx_last": rng.randint(1, nx), "ny_last": rng.randint(1, ny),
        "nnb": rng.randint(1, 3), "ntx": rng.randint(1, 3), "nty": rng.randint(1, 3),
        "o_type": o_type, "r_type": rng.choice(smaller), "w_skip": rng.randrange(o_type.size),
        "m_split": rng.randrange(config.tiles.bit_length()),
        **{f: rng.randint(-40, 400) for f in ("o_base", "o_x", "o_n", "r_base", "r_n")},
        # rows on a circle, and without one
        "o_wrap": 60, "o_y": rng.randrange(60), "o_row": rng.randrange(60),
        "r_wrap": 0, "r_row": rng.randint(-40, 400)}


def walked(i: dict[str, int], config: Config, bank: int) -> list[dict[str, int]]:
    """The steps of an instruction, by definition; ``bank``: of its first block."""
    steps = []
    size, r_size = DType(i["o_type"]).size, DType(i["r_type"]).size
    columns = config.tiles >> i["m_split"]
    for ty, tx, nb in itertools.product(range(i["nty"]), range(i["ntx"]), range(i["nnb"])):
        ny = i["ny_last"] if ty == i["nty"] - 1 else i["ny"]
        nx = i["nx_last"] if tx == i["ntx"] - 1 else i["nx"]
        block = list(itertools.product(range(ny), range(nx), range(size)))
        for at, (y, x, word) in enumerate(block):
            pixel = (tx * i["nx"] + x) * i["o_x"]
            rows = (ty * i["ny"] + y) * i["o_y"]
            steps.append({
                "out": i["o_base"] + pixel + (nb * columns * size + word) * i["o_n"],
                "residual": i["r_base"] + pixel + (
                    nb * columns * r_size + word * r_size // size) * i["r_n"],
                "out_row": (i["o_row"] + rows) % i["o_wrap"], "residual_row": i["r_row"] + rows,
                "end_word": word + i["w_skip"] >= size, "last_group": nb == i["nnb"] - 1,
                "last_row": ty == i["nty"] - 1 and y == ny - 1, "index": y * nx + x, "bank": bank,
                "first": at == 0, "last": at == len(block) - 1,
                **({"word": word} if config.floats else {})})
        bank ^= 1
    return steps


@pytest.mark.parametrize("stalls", [0.0, 0.4])
@pytest.mark.parametrize("name", ["tiny", "tiny_fp", "core1024"])
def test_steps(name: str, stalls: float) -> None:
    config, rng = PRESETS[name], random.Random(3)
    dut = DrainWalk(config)

    async def bench(ctx):
        bank = 0
        for _ in range(12):
            fields = instruction(rng, config)
            for f, value in fields.items():
                ctx.set(dut.next[f], value)
            ctx.set(dut.valid, 1)
            ctx.set(dut.idle, 1)
            ctx.set(dut.go, -1)
            await ctx.tick()
            ctx.set(dut.idle, 0)
            for f, value in fields.items():
                ctx.set(dut.i[f], value)
                ctx.set(dut.next[f], rng.getrandbits(1))
            moved = 0
            for number, want in enumerate(walked(fields, config, bank)):
                found = False
                while not found:
                    go = rng.random() >= stalls
                    ctx.set(dut.go, -1 if go else 0)
                    moved += go
                    found = go and bool(ctx.get(dut.step.valid))
                    if found:
                        step = dut.step
                        got = {f: ctx.get(step.mark[f] if f in step.mark.shape().members
                                          else step[f]) for f in want}
                        assert got == want
                        assert moved == number + LATENCY
                    await ctx.tick()
            bank = (bank + fields["nty"] * fields["ntx"] * fields["nnb"]) % 2
            assert not ctx.get(dut.walking)
            ctx.set(dut.go, -1)
            await ctx.tick()
            assert not ctx.get(dut.busy)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_a_held_bank_is_not_drained() -> None:
    """HOLD keeps the sums in their bank: no step; nor does a payload without an instruction."""
    dut = DrainWalk(PRESETS["tiny"])

    async def bench(ctx):
        for valid, hold in ((1, 1), (0, 0)):
            for f in ("nx", "ny", "nx_last", "ny_last", "nnb", "ntx", "nty"):
                ctx.set(dut.next[f], 2)
            ctx.set(dut.next.hold, hold)
            ctx.set(dut.valid, valid)
            ctx.set(dut.idle, 1)
            ctx.set(dut.go, -1)
            await ctx.tick()
            ctx.set(dut.idle, 0)
            for _ in range(6):
                assert not ctx.get(dut.walking) and not ctx.get(dut.busy)
                await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_convertible() -> None:
    verilog_of(DrainWalk(PRESETS["tiny_fp"]), "walk")
