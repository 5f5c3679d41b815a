# SPDX-License-Identifier: Apache-2.0
"""The array as cells beside the array as RTL: accumulated sums are the golden model's, and the two
agree on every output in every cycle.

Runs inside the simulator; test_gates.py builds the design and starts it.
"""

import os
from collections.abc import Iterator

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from golden.arith import operand
from golden.tensor import Tensor
from hw.arith.operand import OPERAND_BITS
from hw.arith.sums import SEGMENT_BITS
from hw.tensor.accumulator import Accumulator
from isa.instructions import Instruction, Opcode
from tests.cocotb.bench import config
from tests.cocotb.bench_tile import pack, unpack

PASSES, PIXELS, ROUNDS = 5, 6, 24


class Round:
    """Vectors and weights of a reduction over ``PASSES`` channel blocks, and what the golden model
    accumulates; every third has the largest operands."""

    def __init__(self, rng: np.random.Generator, number: int):
        c = config()
        extreme = number % 3 == 0
        raw = rng.integers(0, 256, (2, PASSES, max(PIXELS, c.lanes), c.lanes), np.uint8)
        if extreme:
            raw = np.where(raw < 128, np.uint8(0), np.uint8(255))
        acts, weights = raw[0, :, :PIXELS], raw[1, :, :c.lanes]
        signs = [int(v) for v in rng.integers(0, 2, 2)]
        zeros = [int(rng.choice((0, 255)) if extreme else rng.integers(0, 256)) - 128 * s
                 for s in signs]
        spm = np.zeros((c.spm_words, c.lanes), np.uint8)
        at = PASSES * PIXELS
        at += -at % c.weight_words
        spm[:PASSES * PIXELS] = acts.reshape(-1, c.lanes)
        spm[at:at + PASSES * c.lanes] = weights.reshape(-1, c.lanes)
        fields = dict(nx=PIXELS, nx_last=PIXELS, ny=1, ny_last=1, nr=1, ns=1, nnb=1, ntx=1, nty=1,
                      ncb=PASSES, a_x=c.granules, a_cb=c.granules * PIXELS, ix_x=1, iw=PIXELS, ih=1,
                      w_base=at, a_signed=signs[0], w_signed=signs[1], a_zp=zeros[0],
                      w_zp=zeros[1], m_last=1, n_last=1, hold=1)
        golden = Tensor(c)
        golden.execute(Instruction(Opcode.TENSOR, fields), 0, spm)
        self.sums = golden.psum[0, :PIXELS].tolist()
        self.vectors = operand(acts, signs[0], zeros[0])
        self.weights = operand(weights, signs[1], zeros[1])


class TB:
    """Drives all ports of the array, and compares cells with RTL in every cycle."""

    def __init__(self, dut, seed: int):
        self.dut, self.rng, self.config = dut, np.random.default_rng(seed), config()
        self.latency, self.cycles, self.largest = int(os.environ["BENCH_LATENCY"]), 0, 0
        self.adds: dict[int, int] = {}
        for name in ("rst", "swap", "load", "floating", "drain_en", "drain_bank", "drain_index",
                     "beat", "vector", "weights", "add"):
            getattr(dut, name).value = 0
        Clock(dut.clk, 10, "ns").start()

    async def cycle(self, **ports: int) -> None:
        """A cycle with these values; the other enables are low, and the other data anything."""
        dut, c = self.dut, self.config
        data = self.rng.integers(-256, 256, (1 + c.weight_words) * c.lanes)
        idle = {"swap": 0, "load": 0, "drain_en": 0, "vector": pack(data[:c.lanes], OPERAND_BITS),
                "weights": pack(data[c.lanes:], OPERAND_BITS)}
        await RisingEdge(dut.clk)
        for name, value in {**idle, **ports, "add": self.adds.pop(self.cycles, 0)}.items():
            getattr(dut, name).value = value
        await FallingEdge(dut.clk)
        assert int(dut.same.value), f"cycle {self.cycles}: cells and RTL differ"
        self.cycles += 1

    def _load(self, weights: np.ndarray) -> Iterator[dict[str, int]]:
        words = self.config.weight_words
        for beat in range(self.config.lanes // words):
            yield {"load": 1, "beat": beat, "weights": pack(
                weights[beat * words:(beat + 1) * words].ravel(), OPERAND_BITS)}

    async def accumulate(self, bank: int, work: Round) -> None:
        """All passes, with idle cycles; the weights of the next pass come during this one."""
        bits = (self.config.psum_depth - 1).bit_length()
        for beat in self._load(work.weights[0]):
            await self.cycle(**beat)
        for p in range(PASSES):
            beats = self._load(work.weights[p + 1]) if p + 1 < PASSES else iter(())
            for pixel in range(PIXELS):
                while pixel and self.rng.random() < 0.2:
                    await self.cycle(**next(beats, {}))
                self.adds[self.cycles + self.latency - Accumulator.LEAD] = (
                    1 | bank << 1 | pixel << 2 | (p == 0) << 2 + bits)
                await self.cycle(swap=int(pixel == 0), **next(beats, {}),
                                 vector=pack(work.vectors[p, pixel], OPERAND_BITS))
            for beat in beats:
                await self.cycle(**beat)

    async def drain(self, bank: int, want: list[list[int]]) -> None:
        """All entries, once the last one is written."""
        for _ in range(self.latency + Accumulator.LATENCY):
            await self.cycle()
        for pixel, entry in enumerate(want):
            await self.cycle(drain_en=1, drain_bank=bank, drain_index=pixel)
            await self.cycle()
            got = unpack(int(self.dut.drained.value), SEGMENT_BITS, self.config.columns)
            assert got == entry, f"entry {pixel}: {got}, not {entry}"
            self.largest = max(self.largest, *map(abs, got))


@cocotb.test()
async def sums_are_the_golden_models(dut):
    tb = TB(dut, seed=5)
    for number in range(ROUNDS):
        work = Round(tb.rng, number)
        await tb.accumulate(number % 2, work)
        await tb.drain(number % 2, work.sums)
    assert tb.largest > PASSES * 2 ** 16, "no large sum was seen"
    dut._log.info("%d cycles, sums to %d", tb.cycles, tb.largest)
