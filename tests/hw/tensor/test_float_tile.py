# SPDX-License-Identifier: Apache-2.0
"""Tile and accumulator on numbers: sums as exact as the golden model's, INT8 between them."""

import numpy as np
import pytest
from amaranth.hdl import Elaboratable, Module, Signal, signed
from amaranth.lib import data
from amaranth.sim import Simulator

from golden.exact import SPLIT, base_of, products
from hw.arith import operand
from hw.arith.operand import SHIFT_BITS
from hw.tensor.accumulator import Accumulator
from hw.tensor.tile import Tile
from isa.config import Config
from isa.instructions import ABSENT, DType
from tests.hw.memory.dma_bench import small

ANCHOR = -90
PASSES, ENTRIES = 6, 5


class Harness(Elaboratable):
    """Words into a tile and an accumulator, as the tensor engine has them."""

    def __init__(self, config: Config):
        self.config = config
        self.tile, self.accumulator = Tile(config), Accumulator(config)
        self.word = Signal(8 * config.lanes)
        self.weights = [Signal(8 * config.lanes, name=f"w{k}") for k in range(config.weight_words)]
        self.dtype, self.base = Signal(2), Signal(signed(SHIFT_BITS))

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.tile, m.submodules.accumulator = self.tile, self.accumulator
        yes, none = Signal(init=1), Signal(9)

        def integers(word: Signal) -> list:
            return [operand.integer(word[8 * k:8 * k + 8], yes, none)
                    for k in range(self.config.lanes)]

        operand.assign(m, "act", self.tile.vector, self.word, integers(self.word), self.dtype,
                       self.base)
        for k, word in enumerate(self.weights):
            operand.assign(m, f"weight{k}", self.tile.weights[k], word, integers(word),
                           self.dtype, 0)
        m.d.comb += [self.tile.floating.eq(self.dtype != DType.INT8),
                     self.accumulator.sums.eq(self.tile.sums)]
        return m


def numbers(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
    """Patterns: any at all for FP16, of moderate exponents for BF16; rarely a special one."""
    bits = rng.integers(0, 1 << 16, shape).astype(np.uint16)
    if dtype is DType.FP16:
        finite = np.where((bits >> 10 & 31) == 31, bits & 0x83FF, bits)
        special = rng.choice(np.array([0x7C00, 0xFC00, 0x7E01, 0, ABSENT], np.uint16), shape)
    else:
        exponent = rng.integers(127 - 60, 127 - 5, shape).astype(np.uint16)
        finite = bits & 0x807F | exponent << 7
        special = rng.choice(np.array([0x7F80, 0xFF80, 0x7FC1, 0, ABSENT, 0x7F00], np.uint16),
                             shape)
    return np.where(rng.integers(0, 40 * shape[-1], shape) == 0, special, finite).astype(np.uint16)


@pytest.mark.parametrize("lanes,words", [(4, 1), (8, 2), (16, 2)])
@pytest.mark.parametrize("dtype", (DType.INT8, DType.FP16, DType.BF16))
def test_sums(lanes: int, words: int, dtype: DType) -> None:
    config = small(lanes, 16, weight_words=words, spm_banks=8,
                   dtypes=("int8", "fp16", "bf16"))
    rng = np.random.default_rng(lanes + dtype)
    dut = Harness(config)
    beats, step = lanes // words, max(lanes // words, 4)
    if dtype is DType.INT8:
        weights = rng.integers(0, 256, (PASSES, lanes, lanes), np.uint8)
        acts = rng.integers(0, 256, (PASSES, ENTRIES, lanes), np.uint8)
    else:
        weights = numbers(rng, (PASSES, lanes, lanes // 2), dtype).view(np.uint8)
        acts = numbers(rng, (PASSES, ENTRIES, lanes // 2), dtype).view(np.uint8)
    if dtype is not DType.INT8:
        acts[1, 0, -2:] = np.array([{DType.FP16: 0x7C00, DType.BF16: 0x7F80}[dtype]],
                                   np.uint16).view(np.uint8)
    got: list[list[list[int]]] = []
    latency = dut.tile.latency

    def as_int(raw: np.ndarray) -> int:
        return int.from_bytes(raw.tobytes(), "little")

    async def bench(ctx) -> None:
        adds = {}
        ctx.set(dut.dtype, dtype)
        ctx.set(dut.base, base_of(DType.BF16, ANCHOR) if dtype is DType.BF16 else 0)

        async def tick(t: int) -> None:
            add = adds.pop(t, None)
            ctx.set(dut.accumulator.add.valid, add is not None)
            if add is not None:
                ctx.set(dut.accumulator.add.index, add[1])
                ctx.set(dut.accumulator.add.overwrite, add[0] == 0)
            await ctx.tick()
        t = 0
        for p in range(PASSES):
            for beat in range(beats):
                ctx.set(dut.tile.load, 1)
                ctx.set(dut.tile.beat, beat)
                for k in range(words):
                    ctx.set(dut.weights[k], as_int(weights[p, beat * words + k]))
                await tick(t)
                t += 1
            ctx.set(dut.tile.load, 0)
            for e in range(max(ENTRIES, step)):
                ctx.set(dut.tile.swap, e == 0)
                if e < ENTRIES:
                    ctx.set(dut.word, as_int(acts[p, e]))
                    adds[t + latency - Accumulator.LEAD] = (p, e)
                await tick(t)
                t += 1
            ctx.set(dut.tile.swap, 0)
        for _ in range(latency + Accumulator.LATENCY):
            await tick(t)
            t += 1
        for e in range(ENTRIES):
            ctx.set(dut.accumulator.drain_en, 1)
            ctx.set(dut.accumulator.drain_index, e)
            await ctx.tick()
            got.append([value(ctx, dut.accumulator.drained[c]) for c in range(lanes)])

    def value(ctx, entry: data.View) -> tuple[int, int]:
        total = (ctx.get(entry.low) + ((ctx.get(entry.middle) + ctx.get(entry.to_middle)) << 32)
                 + ((ctx.get(entry.high) + ctx.get(entry.to_high)) << 64)) % (1 << 96)
        return total - (1 << 96 if total >> 95 else 0), ctx.get(entry.flags.as_value())

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    if dtype is DType.INT8:
        sums = np.einsum("pek,pck->ec", acts.view(np.int8).astype(int),
                         weights.view(np.int8).astype(int))
        assert got == [[(int(v), 0) for v in row] for row in sums]
        return
    a = acts.view(np.uint16).transpose(1, 0, 2).reshape(ENTRIES, -1)
    w = weights.view(np.uint16).transpose(0, 2, 1).reshape(-1, lanes)
    exact, overflow = products(a, w, dtype, ANCHOR)
    flags = exact.nan + 2 * exact.positive + 4 * exact.negative + 8 * overflow
    want = [[((int(exact.high[e, c]) << SPLIT) + int(exact.low[e, c]), int(flags[e, c]))
             for c in range(lanes)] for e in range(ENTRIES)]
    assert got == want
    assert flags.any() and not flags.all()
