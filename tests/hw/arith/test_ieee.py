# SPDX-License-Identifier: Apache-2.0
"""Binary32 arithmetic against numpy's, on numbers that round in every way, and special ones."""

from collections.abc import Callable

import numpy as np
import pytest
from amaranth.hdl import Elaboratable, Module, Signal, Value, signed
from amaranth.lib import data
from amaranth.sim import Simulator

from golden.exact import Sums
from golden.formats import from_float, largest, pattern, to_float
from golden.results import clip
from hw.arith import ieee
from hw.arith.ieee import STAGES
from hw.engine.ports import view_of
from isa.instructions import DType

COUNT = 3000
WIDE = 96


def interesting(rng: np.random.Generator, count: int) -> np.ndarray:
    """Patterns of binary32: any, near one another in exponent, with few bits, and special."""
    bits = rng.integers(0, 1 << 32, count, np.uint64)
    near = rng.integers(0, 1 << 24, count, np.uint64) | rng.integers(120, 134, count).astype(
        np.uint64) << np.uint64(23) | rng.integers(0, 2, count).astype(np.uint64) << np.uint64(31)
    few = bits & np.uint64(0xFFE00000)
    low = bits & np.uint64(0x81FFFFFF)
    special = rng.choice(np.array([0, 1 << 31, 1, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F7FFFFF,
                                   0x00800000, 0x007FFFFF, 0x3F800000], np.uint64), count)
    which = rng.integers(0, 5, count)
    return np.choose(which, [bits, near, few, low, special]).astype(np.uint32)


def bits_of(value: np.ndarray) -> np.ndarray:
    """Patterns, NaN as the canonical one."""
    return from_float(value, DType.FP32).view(np.uint32).reshape(value.shape)


class Bench(Elaboratable):
    """``make`` on two binary32 patterns; the result as a pattern."""

    def __init__(self, make: Callable[[Module, data.View, data.View], data.View]):
        self._make = make
        self.a, self.b, self.out = Signal(32), Signal(32), Signal(32)

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        a, b = (ieee.from_pattern(m, n, v) for n, v in (("a", self.a), ("b", self.b)))
        out = self._make(m, a, b)
        m.d.comb += self.out.eq(Value.cast(ieee.pattern(out)))
        with m.If(out.nan):
            m.d.comb += self.out.eq(0x7FC00000)
        return m


def stream(dut: Elaboratable, inputs: list[tuple[Signal, np.ndarray]], out: Value, latency: int
           ) -> np.ndarray:
    """A result for each cycle's inputs."""
    count, got = len(inputs[0][1]), []

    async def bench(ctx) -> None:
        for t in range(count + latency):
            for signal, values in inputs:
                ctx.set(signal, int(values[min(t, count - 1)]))
            if t >= latency:
                got.append(ctx.get(out))
            await (ctx.tick() if latency else ctx.delay(1e-8))

    sim = Simulator(dut)
    sim.add_clock(1e-8, if_exists=True)
    sim.add_testbench(bench)
    sim.run()
    return np.array(got)


@pytest.mark.parametrize("name", ("multiply", "add"))
def test_arithmetic(name: str) -> None:
    rng = np.random.default_rng(1)
    a, b = interesting(rng, COUNT), interesting(rng, COUNT)
    b[::7] = a[::7] ^ np.uint32(1 << 31)
    b[::11] = (a[::11] ^ np.uint32(1 << 31)) + np.uint32(1)
    function = getattr(ieee, name)
    dut = Bench(lambda m, x, y: function(m, name, x, y))
    got = stream(dut, [(dut.a, a), (dut.b, b)], dut.out, STAGES[name])
    with np.errstate(all="ignore"):
        x, y = a.view(np.float32), b.view(np.float32)
        want = bits_of(x * y if name == "multiply" else x + y)
    np.testing.assert_array_equal(got, want)


def test_clip() -> None:
    rng = np.random.default_rng(2)
    a = interesting(rng, COUNT)
    for low, high in ((0x0000, 0x7C00), (0xFC00, 0x7C00), (0x8000, 0x4600), (0xBC00, 0x3C00),
                      (0x0001, 0x03FF), (0x7E00, 0x3C00), (0xBC00, 0xFE00), (0x7C01, 0x7E00)):
        def make(m: Module, x: data.View, y: data.View, low: int = low, high: int = high
                 ) -> data.View:
            ends = (ieee.from_half(m, n, Value.cast(Signal(16, init=v, name=n)))
                    for n, v in (("low", low), ("high", high)))
            return ieee.clip(m, "clip", x, *ends)
        dut = Bench(make)
        got = stream(dut, [(dut.a, a)], dut.out, STAGES["clip"])
        want = bits_of(clip(a.view(np.float32), pattern(low), pattern(high)))
        np.testing.assert_array_equal(got, want)


def test_largest() -> None:
    rng = np.random.default_rng(3)
    a, b = interesting(rng, COUNT), interesting(rng, COUNT)
    keep = ~np.isnan(a.view(np.float32)) & ~np.isnan(b.view(np.float32))
    a, b = a[keep], b[keep]

    def make(m: Module, x: data.View, y: data.View) -> data.View:
        out = ieee.named("largest")
        m.d.comb += out.eq(y.as_value())
        with m.If(ieee.key(x) > ieee.key(y)):
            m.d.comb += out.eq(x.as_value())
        return out
    dut = Bench(make)
    got = stream(dut, [(dut.a, a), (dut.b, b)], dut.out, 0)
    np.testing.assert_array_equal(got, bits_of(largest(a.view(np.float32), b.view(np.float32))))


class Convert(Elaboratable):
    """A binary32 pattern to another type, or an element of it to binary32 (times one)."""

    def __init__(self, dtype: DType, back: bool):
        self._dtype, self._back = dtype, back
        self.a, self.integer, self.out, self.kind = Signal(32), Signal(signed(10)), Signal(32), \
            Signal(2)

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        dtype = Signal(2, init=self._dtype)
        if self._back:
            number = ieee.unpack(m, "number", self.a, dtype, self.integer)
            one = ieee.from_pattern(m, "one", Signal(32, init=0x3F800000, name="one_bits"))
            product = ieee.multiply(m, "product", number, one)
            m.d.comb += self.out.eq(Value.cast(ieee.pattern(product)))
            m.d.comb += self.kind.eq(product.nan)
        else:
            number = ieee.from_pattern(m, "number", self.a)
            bits, kind = ieee.convert(m, "convert", number, dtype)
            m.d.comb += [self.out.eq(bits), self.kind.eq(kind)]
        return m


@pytest.mark.parametrize("dtype", (DType.FP16, DType.BF16, DType.FP32))
def test_convert(dtype: DType) -> None:
    rng = np.random.default_rng(4)
    a = interesting(rng, COUNT)
    halves = rng.integers(0, 1 << 16, COUNT).astype(np.uint16).view(np.float16)
    with np.errstate(all="ignore"):
        a[::3] = halves[::3].astype(np.float32).view(np.uint32) + np.uint32(rng.choice(
            [0, 0xFFF, 0x1000, 0x1001]))
    dut = Convert(dtype, back=False)
    got = stream(dut, [(dut.a, a)], dut.out, STAGES["convert"])
    raw = from_float(a.view(np.float32)[:, None], dtype)
    want = raw.view({2: np.uint16, 4: np.uint32}[dtype.size])[:, 0]
    np.testing.assert_array_equal(got, want)
    kinds = stream(dut, [(dut.a, a)], dut.kind, STAGES["convert"])
    value = to_float(raw, dtype)[:, 0]
    np.testing.assert_array_equal(kinds, np.isnan(value) + 2 * np.isinf(value))


@pytest.mark.parametrize("dtype", tuple(DType))
def test_unpack(dtype: DType) -> None:
    rng = np.random.default_rng(5)
    dut = Convert(dtype, back=True)
    if dtype is DType.INT8:
        a = rng.integers(-511, 512, COUNT)
        inputs, want = [(dut.integer, a)], a.astype(np.float32)
    else:
        a = interesting(rng, COUNT) if dtype is DType.FP32 else rng.integers(0, 1 << 16, COUNT)
        raw = a.astype({2: np.uint16, 4: np.uint32}[dtype.size])[:, None].view(np.uint8)
        inputs, want = [(dut.a, a)], to_float(raw, dtype)[:, 0]
    got = stream(dut, inputs, dut.out, STAGES["multiply"])
    nan = stream(dut, inputs, dut.kind, STAGES["multiply"]).astype(bool)
    np.testing.assert_array_equal(nan, np.isnan(want))
    np.testing.assert_array_equal(got[~nan], bits_of(want)[~nan])


class Fixed(Elaboratable):
    """A sum in fixed point, rounded."""

    def __init__(self, unit: int):
        self._unit = unit
        self.value, self.kind, self.out = Signal(signed(WIDE)), Signal(3), Signal(32)

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        flags = view_of(data.StructLayout({"nan": 1, "positive": 1, "negative": 1}))
        m.d.comb += flags.eq(self.kind)
        unit = Signal(signed(10), init=self._unit)
        number = ieee.round_fixed(m, "fixed", self.value, unit, flags)
        m.d.comb += self.out.eq(Value.cast(ieee.pattern(number)))
        with m.If(number.nan):
            m.d.comb += self.out.eq(0x7FC00000)
        return m


@pytest.mark.parametrize("unit", (-149, -48, 0, 60))
def test_round_fixed(unit: int) -> None:
    rng = np.random.default_rng(6)
    high = rng.integers(-(1 << 47), 1 << 47, COUNT) >> rng.integers(0, 48, COUNT)
    low = rng.integers(0, 1 << 48, COUNT) >> rng.integers(0, 48, COUNT)
    low[::5] = 1 << 47
    high[::9], low[::9] = 0, rng.integers(0, 1 << 26, len(low[::9]))
    high[0], low[0] = -(1 << 47) + 1, 0
    kind = np.where(rng.integers(0, 4, COUNT) == 0, rng.integers(0, 8, COUNT), 0)
    dut = Fixed(unit)
    values = [(int(h) << 48) + int(w) for h, w in zip(high, low, strict=True)]
    got = stream(dut, [(dut.value, np.array(values, object)), (dut.kind, kind)], dut.out,
                 STAGES["round_fixed"])
    sums = Sums(high, low, *((kind >> k & 1).astype(bool) for k in range(3)))
    np.testing.assert_array_equal(got, bits_of(sums.to_float(unit)))
