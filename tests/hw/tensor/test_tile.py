# SPDX-License-Identifier: Apache-2.0
"""A tile against numpy: weights swapped without a lost cycle, sums after exactly its latency."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from hw.tensor.column import tree_stages
from hw.tensor.tile import Tile
from isa.config import Config
from tests.hw.memory.dma_bench import small


@pytest.mark.parametrize("lanes,words", [(4, 1), (8, 2), (16, 2), (16, 4)])
def test_sums(lanes: int, words: int) -> None:
    rng = np.random.default_rng(lanes)
    dut = Tile(small(lanes, 16, weight_words=words, spm_banks=8))
    beats = lanes // words
    sets, per_set = 4, beats + 3
    weights = rng.integers(-256, 256, (sets, lanes, lanes))      # [set, column, lane]
    weights[0] = -256
    vectors = rng.integers(-256, 256, (sets * per_set, lanes))
    vectors[:3] = -256                                           # the largest sums there are
    got = []

    async def bench(ctx):
        def load(which: int, beat: int) -> None:
            ctx.set(dut.load, 1)
            ctx.set(dut.beat, beat)
            for k in range(words):
                for lane in range(lanes):
                    ctx.set(dut.weights[k][lane], int(weights[which, beat * words + k, lane]))

        for beat in range(beats):
            load(0, beat)
            await ctx.tick()
        ctx.set(dut.load, 0)
        for t in range(sets * per_set + dut.latency):
            which, step = divmod(t, per_set)
            if which < sets:
                ctx.set(dut.swap, step == 0)
                for lane in range(lanes):
                    ctx.set(dut.vector[lane], int(vectors[t, lane]))
                if which + 1 < sets and step < beats:
                    load(which + 1, step)      # the first beat comes in the cycle of the swap
                else:
                    ctx.set(dut.load, 0)
            if t >= dut.latency:
                got.append([ctx.get(dut.sums[k].sum) for k in range(lanes)])
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    want = np.concatenate([vectors[s * per_set:(s + 1) * per_set] @ weights[s].T
                           for s in range(sets)])
    assert np.array_equal(got, want)


def test_tree_stages() -> None:
    def stages(*dtypes: str) -> list[int]:
        return [tree_stages(Config(lanes=n, dtypes=dtypes, ppu_lanes=4, vector_lanes=4,
                                   weight_words=1)) for n in (4, 8, 16)]

    assert stages("int8") == [2, 3, 4]
    assert stages("int8", "fp16") == [1, 2, 2]
