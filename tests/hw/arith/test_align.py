# SPDX-License-Identifier: Apache-2.0
"""Single products in the window of a sum against the golden model, at both of its ends."""

import numpy as np
import pytest
from amaranth.hdl import Elaboratable, Module, Signal, signed
from amaranth.lib import data
from amaranth.sim import Simulator

from golden.exact import SPLIT, base_of, product
from golden.formats import unpack
from hw.arith.align import align
from hw.arith.operand import PAIR, SHIFT_BITS, SIGNIFICAND_BITS, assign
from hw.engine.ports import view_of
from isa.instructions import ABSENT, DType
from isa.numerics import PRODUCT_SHIFT_MAX
from isa.presets import PRESETS

ANCHOR = -60


class Lane(Elaboratable):
    """Two patterns into the window, as a column of the array has them; latency 2 cycles."""

    def __init__(self, dtype: DType):
        self._dtype = dtype
        self.a, self.w, self.base = Signal(16), Signal(16), Signal(signed(SHIFT_BITS))

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        a, w = (view_of(data.ArrayLayout(PAIR, 1), name=n) for n in ("a_pair", "w_pair"))
        for name, pair, raw, base in (("a", a, self.a, self.base), ("w", w, self.w, 0)):
            assign(m, name, pair, raw, [raw[:8], raw[8:]], Signal(2, init=self._dtype), base)
        made = Signal(signed(2 * SIGNIFICAND_BITS))
        m.d.sync += made.eq(a[0].first * w[0].first)
        self.value, self.flag = align(m, "", a[0], w[0], made, PRESETS["tiny_fp"])
        return m


def aligned(dtype: DType, a: np.ndarray, w: np.ndarray) -> list[tuple[int, int]]:
    """Value and flags of each pair of patterns, by the hardware."""
    dut, got = Lane(dtype), []

    async def bench(ctx) -> None:
        ctx.set(dut.base, base_of(dtype, ANCHOR))
        for x, y in zip(a, w, strict=True):
            ctx.set(dut.a, int(x))
            ctx.set(dut.w, int(y))
            await ctx.tick().repeat(2)
            got.append((ctx.get(dut.value), ctx.get(dut.flag.as_value())))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return got


def expected(dtype: DType, a: np.ndarray, w: np.ndarray) -> list[tuple[int, int]]:
    """The same by the golden model."""
    sums, beyond = product(unpack(a, dtype), unpack(w, dtype), w != ABSENT,
                           base_of(dtype, ANCHOR))
    flags = sums.nan + 2 * sums.positive + 4 * sums.negative + 8 * beyond
    return [((int(high) << SPLIT) + int(low), int(flag))
            for high, low, flag in zip(sums.high, sums.low, flags, strict=True)]


@pytest.mark.parametrize("shift", [-18, -17, -16, -15, -14, -1, 0, 1, 63, PRODUCT_SHIFT_MAX,
                                   PRODUCT_SHIFT_MAX + 1, PRODUCT_SHIFT_MAX + 2])
def test_ends_of_the_window(shift: int) -> None:
    """BF16 products whose lowest bit lies ``shift`` above the window's, of the smallest and the
    largest significands and both signs. Significands have eight bits, so the lowest bit of a
    number is 2^(e - 7)."""
    exponent = ANCHOR + shift + 14 - 3
    a, w = (np.array([s << 15 | e + 127 << 7 | m for s in (0, 1) for m in (0, 1, 127)], np.uint16)
            for e in (exponent, 3))
    a, w = np.repeat(a, len(w)), np.tile(w, len(a))
    want = expected(DType.BF16, a, w)
    assert aligned(DType.BF16, a, w) == want
    assert all((flag != 0) == (shift > PRODUCT_SHIFT_MAX) for _, flag in want)


@pytest.mark.parametrize("dtype, infinity", [(DType.FP16, 0x7C00), (DType.BF16, 0x7F80)])
def test_special(dtype: DType, infinity: int) -> None:
    """Zeros, subnormals, ones, infinities and NaN of both signs with each other."""
    one = infinity >> 1 & infinity
    values = np.array([0, 1, one, infinity, infinity + 1, infinity | 0x3F], np.uint16)
    both = np.concatenate([values, values | 0x8000])
    a, w = np.repeat(both, len(both)), np.tile(both, len(both))
    assert aligned(dtype, a, w) == expected(dtype, a, w)
