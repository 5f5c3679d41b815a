# SPDX-License-Identifier: Apache-2.0
"""Entries become PSUM reads and slices, in order, without a gap and under back-pressure."""

import random
from collections import deque

import pytest
from amaranth.sim import Simulator

from hw.tensor.issue import Issue
from hw.tensor.post import slice_columns, types, unit
from hw.top import verilog_of
from isa.config import Config
from isa.instructions import DType
from isa.presets import PRESETS

ENTRIES = 40


def run(config: Config, dtype: DType, comes: float, ready: float) -> int:
    """Check ``ENTRIES`` entries of an output type; the cycles from the first issue to the last."""
    dut, rng = Issue(config), random.Random(11)
    columns = config.lanes // dtype.size                     # of a word
    entries = [{"index": rng.randrange(config.psum_depth), "bank": rng.getrandbits(1),
                "first": rng.getrandbits(1), "last": rng.getrandbits(1),
                **({"word": k % dtype.size} if config.floats else {})} for k in range(ENTRIES)]
    firsts = [[(k % dtype.size * columns + at) // unit(config)
               for at in range(0, columns, slice_columns(config, dtype))] for k in range(ENTRIES)]
    issued: list[int] = []

    async def bench(ctx):
        todo, taken = deque(entries), 0
        slices: deque[tuple[int, bool, int]] = deque()
        ctx.set(dut.o_type, dtype)
        await ctx.tick().repeat(2)
        for cycle in range(60 * ENTRIES):
            ctx.set(dut.entries.valid, bool(todo) and rng.random() < comes)
            for f, value in (todo[0] if todo else {}).items():
                ctx.set(dut.entries.payload[f], value)
            ctx.set(dut.ready, rng.random() < ready)
            # what runs now was issued before, and does not depend on either side
            assert bool(ctx.get(dut.running)) == bool(slices)
            assert bool(ctx.get(dut.idle)) == (taken == len(issued) and not slices)
            closes = None
            if slices:
                first, ends, bank = slices.popleft()
                assert ctx.get(dut.first) == first
                closes = bank if ends else None
            assert bool(ctx.get(dut.release)) == (closes is not None)
            assert closes is None or ctx.get(dut.release_bank) == closes
            if ctx.get(dut.issue):
                assert ctx.get(dut.ready) and not slices
                entry = entries[len(issued)]
                assert all(ctx.get(dut.waiting[f]) == value for f, value in entry.items())
                mine = firsts[len(issued)]
                slices += [(at, bool(entry["last"]) and k == len(mine) - 1, entry["bank"])
                           for k, at in enumerate(mine)]
                issued.append(cycle)
            if ctx.get(dut.entries.valid) and ctx.get(dut.entries.ready):
                todo.popleft()
                taken += 1
            assert 0 <= taken - len(issued) <= 1
            if len(issued) == ENTRIES and not slices:
                await ctx.tick()
                assert ctx.get(dut.idle) and not ctx.get(dut.running)
                return
            await ctx.tick()
        raise AssertionError(f"{len(issued)} of {ENTRIES} issued")

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return issued[-1] - issued[0]


CASES = [(name, t) for name in ("tiny", "core256", "tiny_fp", "core256_fp")
         for t in types(PRESETS[name])]


@pytest.mark.parametrize("name, dtype", CASES)
def test_no_gap(name: str, dtype: DType) -> None:
    """A slice in every cycle while entries come and all is ready."""
    config = PRESETS[name]
    slices = config.lanes // dtype.size // slice_columns(config, dtype)
    assert run(config, dtype, comes=1.0, ready=1.0) == (ENTRIES - 1) * slices


@pytest.mark.parametrize("name, dtype", CASES)
def test_gaps_and_back_pressure(name: str, dtype: DType) -> None:
    run(PRESETS[name], dtype, comes=0.6, ready=0.5)


def test_convertible() -> None:
    verilog_of(Issue(PRESETS["tiny_fp"]), "issue")
