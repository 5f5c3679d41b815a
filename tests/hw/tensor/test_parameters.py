# SPDX-License-Identifier: Apache-2.0
"""Parameters of the post-processor: each lane's are those of its column, of the set in use."""

import random
from dataclasses import replace

import pytest
from amaranth.sim import Simulator

from hw.tensor.parameters import BITS, PostParameters
from hw.tensor.post import slice_columns, types, unit
from hw.top import verilog_of
from isa.config import PARAM_WORDS, Config
from isa.presets import PRESETS

SHAPES = [(name, {}) for name in PRESETS] + [
    ("core256", {"ppu_lanes": 1}), ("core256", {"weight_words": 1}),
    ("core256", {"weight_words": 4, "ppu_lanes": 2}), ("core256_fp", {"ppu_lanes": 16})]


@pytest.fixture(params=SHAPES, ids=lambda s: "-".join(map(str, (s[0], *s[1].values()))))
def config(request) -> Config:
    name, changes = request.param
    return replace(PRESETS[name], **changes)


def test_the_set_in_use(config: Config) -> None:
    """A set comes while the one before is read; its first beat is taken in the cycle before the two
    change, and is written in theirs."""
    dut = PostParameters(config, unit(config))
    rng = random.Random(7)
    columns = config.columns
    sets = [[rng.getrandbits(BITS) for _ in range(2 * columns)] for _ in range(4)]
    beats = PARAM_WORDS // config.weight_words
    size = 2 * columns * BITS // beats

    async def bench(ctx):
        def check(values):
            for dtype in types(config):
                wide = slice_columns(config, dtype)
                for start in range(0, columns, wide):
                    ctx.set(dut.first, start // unit(config))
                    for k in range(wide):
                        assert ctx.get(dut.bias[k]) == values[start + k]
                        assert ctx.get(dut.scale[k]) == values[columns + start + k]

        older, old = None, None
        for new in [*sets, sets[0]]:
            whole = sum(value << BITS * k for k, value in enumerate(new))
            for beat in range(beats + 2):
                ctx.set(dut.load, beat < beats)
                ctx.set(dut.params.raw.as_value(), whole >> beat * size & (1 << size) - 1)
                ctx.set(dut.params.beat, beat % beats)
                ctx.set(dut.swap, bool(old) and beat == 1)
                values = older if beat < 2 else old
                if values:
                    check(values)
                await ctx.tick()
            older, old = old, new

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_no_wire_is_empty(config: Config) -> None:
    """Verilog has no wires of no bits."""
    assert "[-1:0]" not in verilog_of(PostParameters(config, unit(config)), "parameters")
