# SPDX-License-Identifier: Apache-2.0
"""Loop nests and sums on a circle against Python's own."""

import gc
import itertools
import random

import pytest
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.sim import Simulator

from hw.parts.nest import Enables, Nest, Term, circle_add

LEVELS = ("x", "y", "k", "tx")


def walked(counts: dict[str, int], x_last: int) -> list[tuple[int, ...]]:
    """Indices and last flags of each step; in the last ``tx``, ``x`` has ``x_last`` iterations."""
    steps = []
    for tx, k, y in itertools.product(*(range(counts[n]) for n in ("tx", "k", "y"))):
        ends = tx == counts["tx"] - 1
        nx = x_last if ends else counts["x"]
        steps += [(x, y, k, tx, x == nx - 1, y == counts["y"] - 1, k == counts["k"] - 1, ends)
                  for x in range(nx)]
    return steps


@pytest.mark.parametrize("seed", range(30))
def test_nest(seed: int) -> None:
    """Two nests one behind the other, with pauses, the second started by the last step."""
    rng = random.Random(seed)
    m, step, start = Module(), Signal(), Signal()
    counts = {n: Signal(4, name=f"n{n}") for n in LEVELS}
    new = {n: Signal(4, name=f"new_{n}") for n in LEVELS}
    x_last, new_last, nx = Signal(4), Signal(4), Signal(4)
    nest = Nest(m, [("x", nx), *((n, counts[n]) for n in LEVELS[1:])])
    m.d.comb += nx.eq(Mux(nest.last("tx"), x_last, counts["x"]))
    nest.varies("x", Mux(nest.next_last("tx"), x_last == 1, counts["x"] == 1))
    nest.step(*(step for _ in LEVELS))
    with m.If(start):
        m.d.sync += [*(counts[n].eq(new[n]) for n in LEVELS), x_last.eq(new_last),
                     *nest.start(x=Mux(new["tx"] == 1, new_last, new["x"]) == 1,
                                 **{n: new[n] == 1 for n in LEVELS[1:]})]

    async def bench(ctx):
        for follows in (False, True):
            chosen = {n: rng.randint(1, 4) for n in LEVELS}
            last = rng.randint(1, chosen["x"])
            for name, value in chosen.items():
                ctx.set(new[name], value)
            ctx.set(new_last, last)
            ctx.set(start, 1)
            ctx.set(step, int(follows))
            await ctx.tick()
            ctx.set(start, 0)
            steps = walked(chosen, last)
            for number, want in enumerate(steps):
                while rng.random() < 0.3:
                    ctx.set(step, 0)
                    await ctx.tick()
                got = (*(ctx.get(nest.index(n)) for n in LEVELS),
                       *(bool(ctx.get(nest.last(n))) for n in LEVELS))
                assert got == want
                assert ctx.get(nest.done) == (number == len(steps) - 1)
                ctx.set(step, 1)
                if number < len(steps) - 1:
                    await ctx.tick()

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("seed", range(10))
def test_terms_behind(seed: int) -> None:
    """A sum of strides a cycle behind the counters, with pauses, twice."""
    rng = random.Random(seed)
    m, step, start, begin = Module(), Signal(), Signal(), Signal()
    counts = {n: Signal(4, name=f"n{n}") for n in LEVELS}
    nest = Nest(m, list(counts.items()))
    strides = {n: rng.randint(1, 9) for n in LEVELS}
    terms = {n: Term(n, 8) for n in LEVELS}
    for n, term in terms.items():
        nest.behind(n, enter=[term.value.eq(term.plus(Const(strides[n])))],
                    leave=[term.value.eq(0)])
    nest.step(*(step for _ in LEVELS))
    nest.follow(*(step for _ in LEVELS), begin=begin,
                start=[term.value.eq(0) for term in terms.values()])
    with m.If(step):
        m.d.sync += begin.eq(0)
    with m.If(start):
        m.d.sync += [begin.eq(1), *nest.start(**{n: c == 1 for n, c in counts.items()})]

    async def bench(ctx):
        for _ in range(2):
            chosen = {n: rng.randint(1, 4) for n in LEVELS}
            for name, value in chosen.items():
                ctx.set(counts[name], value)
            ctx.set(start, 1)
            await ctx.tick()
            ctx.set(start, 0)
            for at in itertools.product(*(range(chosen[n]) for n in reversed(LEVELS))):
                while rng.random() < 0.3:
                    ctx.set(step, 0)
                    await ctx.tick()
                ctx.set(step, 1)
                await ctx.tick()
                got = [ctx.get(terms[n].value) for n in reversed(LEVELS)]
                assert got == [k * strides[n] for k, n in zip(at, reversed(LEVELS), strict=True)]

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_start_names_every_level() -> None:
    nest = Nest(Module(), [("x", Signal(4)), ("y", Signal(4))])
    with pytest.raises(ValueError, match="levels x, y, not x"):
        nest.start(x=Signal())
    del nest
    gc.collect()    # what was not used is gone before the filter is


def test_circle_add() -> None:
    rng = random.Random(1)
    m = Module()
    a, b, size, total = Signal(signed(9)), Signal(signed(9)), Signal(8), Signal(signed(9))
    m.d.comb += total.eq(circle_add(a, b, size, 9))

    async def bench(ctx):
        for _ in range(2000):
            circle = rng.choice([0, 1, 2, 127, 128, 255, rng.randrange(256)])
            bound = (-256, 256) if circle == 0 else (0, circle)
            values = [rng.randrange(*bound) for _ in range(2)]
            for signal, value in zip((a, b, size), (*values, circle), strict=True):
                ctx.set(signal, value)
            want = sum(values) % circle if circle else (sum(values) + 256) % 512 - 256
            assert ctx.get(total) == want

    sim = Simulator(m)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("behind, stages", [(False, 0), (False, 1), (True, 2)])
def test_enables_are_copies_of_their_own(behind: bool, stages: int) -> None:
    """One for the walk, for each level, for each level's terms and for each stage, and no other."""
    enables = Enables(LEVELS, behind=behind, stages=stages)
    assert len(enables.levels) == len(LEVELS) and len(enables.stages) == stages
    assert len(enables.terms) == len(LEVELS) * behind
    every = [enables.walk, *enables.levels, *enables.terms, *enables.stages]
    m, seen = Module(), Signal(len(every))
    m.d.comb += seen.eq(Cat(every))

    async def bench(ctx):
        assert len(enables.copies) == len(every)
        for k in range(len(every)):
            ctx.set(enables.copies, 1 << k)
            assert ctx.get(seen) == 1 << k

    sim = Simulator(m)
    sim.add_testbench(bench)
    sim.run()
