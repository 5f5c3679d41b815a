# SPDX-License-Identifier: Apache-2.0
"""The columns whose areas are compared do the same work, and the page says what they cost."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator

from hw.arith.ieee import LOWEST
from isa.presets import PRESETS
from synth.asic import page
from synth.columns import PRODUCT, FloatAdderColumn, SeparateColumn
from synth.float_adder import STAGES

CONFIG = replace(PRESETS["core256_fp"], dtypes=("int8", "fp16"))
LEVELS = (CONFIG.lanes // 2 - 1).bit_length()
CYCLES = 1 + PRODUCT + (LEVELS + 1) * STAGES
"""From the swap of the weights to the running sum: adders in a tree, and the accumulator."""


def packed(values: np.ndarray) -> int:
    """Pairs of integers of 9 bits, or patterns of numbers, in 18 bits each."""
    if values.dtype == np.float16:
        words = [int(v) for v in values.view(np.uint16)]
    else:
        words = [(int(b) & 511) << 9 | int(a) & 511 for a, b in values.reshape(-1, 2)]
    return sum(w << 18 * k for k, w in enumerate(words))


def run(a: np.ndarray, w: np.ndarray) -> tuple[int, float]:
    """Integer and number that the column of binary32 adders has of one vector."""
    column = FloatAdderColumn(CONFIG)
    found = []

    async def bench(ctx):
        ctx.set(column.word, packed(w))
        ctx.set(column.load, 1)
        await ctx.tick()
        ctx.set(column.load, 0)
        ctx.set(column.swap, 1)
        ctx.set(column.operands, packed(a))
        ctx.set(column.floating, int(a.dtype == np.float16))
        ctx.set(column.fresh, 1)
        await ctx.tick().repeat(CYCLES)
        number = column.number
        value = ctx.get(number.mant) * 2.0 ** ctx.get(number.exp)
        assert ctx.get(number.exp) >= LOWEST and not ctx.get(number.nan)
        found.extend([ctx.get(column.integer), -value if ctx.get(number.sign) else value])

    sim = Simulator(column)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return found[0], found[1]


@pytest.mark.parametrize("seed", range(3))
def test_products_of_the_adder_column(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, w = rng.integers(-255, 256, 16), rng.integers(-255, 256, 16)
    assert run(a, w)[0] == int(a @ w)
    x, y = (rng.standard_normal(8).astype(np.float16) for _ in range(2))
    want = float(x.astype(np.float64) @ y.astype(np.float64))
    assert run(x, y)[1] == pytest.approx(want, abs=1e-6)


def test_a_column_of_each_kind_beside_one_another() -> None:
    text = rtlil.convert(SeparateColumn(CONFIG))
    assert "integers.column" in text and "numbers.column" in text


def test_page() -> None:
    row = {"name": "tile", "area": 6400.0, "delay": 1.234, "memory": 96.0}
    kinds = [{**row, "name": n, "types": "INT8, FP16", "area": a}
             for n, a in (("shared", 50.0), ("float32", 200.0))]
    text = page(PRESETS["ecp5"], "cells.lib", [row], kinds)
    assert "| tile | 6,400 | 2 | 100 | 1.23 | 96 |" in text
    assert "| shared | INT8, FP16 | 50 | 25 % | 1.23 |" in text
