# SPDX-License-Identifier: Apache-2.0
"""Accumulators under random timing: one bank drains while the other accumulates.

Runs inside the simulator; test_accumulator.py builds the design and starts it. The ports are driven
after the rising edge and sampled at the falling one, in the middle of the cycle.
"""

import os
import random
from collections.abc import Iterator

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from hw.arith.sums import SEGMENT_BITS
from hw.tensor.accumulator import Accumulator
from tests.cocotb.bench import config
from tests.cocotb.bench_tile import pack, unpack


class Checker:
    """Model and in-order checker. A drained entry is compared in the cycle after it was asked for
    and in each one until its bank is read again."""

    def __init__(self, dut, columns: int, depth: int, sum_bits: int):
        self.dut, self.columns, self.depth, self.sum_bits = dut, columns, depth, sum_bits
        self.entries = np.zeros((2, depth, columns), np.int32)
        self.drained = self.held = 0
        self.overlaps = self.wrapped = 0
        cocotb.start_soon(self._run())

    def _add(self, add: int) -> tuple[int, int, int]:
        """Bank, index and overwrite of the accumulation on the port."""
        bits = self.depth.bit_length() - 1
        return add >> 1 & 1, add >> 2 & self.depth - 1, add >> 2 + bits & 1

    def _accumulate(self, bank: int, index: int, overwrite: int) -> None:
        sums = np.array(unpack(int(self.dut.sums.value), self.sum_bits, self.columns), np.int64)
        total = sums + (0 if overwrite else self.entries[bank, index])
        self.wrapped += bool((total != total.astype(np.int32)).any())
        self.entries[bank, index] = total.astype(np.int32)

    async def _run(self) -> None:
        dut = self.dut
        adding, showing, fresh = [None] * Accumulator.LEAD, None, False
        while True:
            await FallingEdge(dut.clk)
            if showing is not None:
                want = showing[1].tolist()
                got = unpack(int(dut.drained.value), SEGMENT_BITS, self.columns)
                assert got == want, f"drained {got}, not {want}"
                self.drained += fresh
                self.held += not fresh
            if (due := adding.pop(0)) is not None:
                self._accumulate(*due)
            add = int(dut.add.value)
            reads = self._add(add) if add & 1 else None
            adding.append(reads)
            fresh = bool(int(dut.drain_en.value))
            if fresh:
                bank, index = int(dut.drain_bank.value), int(dut.drain_index.value)
                showing = bank, self.entries[bank, index].copy()
                self.overlaps += reads is not None
            elif reads and showing and reads[0] == showing[0] and not reads[2]:
                showing = None


class TB:
    """The accumulators with a driver of sums and one of drains. ``idle`` is the chance that either
    rests in a cycle."""

    def __init__(self, dut, *, idle: float, seed: int):
        self.dut, self.idle, self.rng = dut, idle, random.Random(seed)
        self.config, self.sum_bits = config(), int(os.environ["BENCH_SUM_BITS"])
        self.checker = Checker(dut, self.config.columns, self.config.psum_depth, self.sum_bits)
        self.cycle = self.asked = 0
        self.ready: list[tuple[int, int, list[int]]] = []     # cycle, bank, indices to drain
        self.free = [True, True]
        Clock(dut.clk, 10, "ns").start()
        dut.add.value = dut.sums.value = dut.drain_en.value = 0
        dut.drain_bank.value = dut.drain_index.value = dut.rst.value = 0

    def _rests(self) -> bool:
        return self.rng.random() < self.idle

    def _additions(self, blocks: int) -> Iterator[int]:
        """The port ``add``, cycle by cycle. Every third block continues what its bank holds, as
        a reduction cut over two instructions does."""
        depth = self.config.psum_depth
        bits = depth.bit_length() - 1
        last: dict[int, list[int]] = {}
        for block in range(blocks):
            bank = block % 2
            while not self.free[bank]:
                yield 0
            self.free[bank] = False
            if block < 2 or block % 3:
                pixels = self.rng.sample(range(depth), self.rng.randint(Accumulator.LATENCY, depth))
                fresh = True
            else:
                pixels, fresh = last[bank], False
            last[bank] = pixels
            for step in range(self.rng.randint(1, 4)):
                for index in pixels:
                    while self._rests():
                        yield 0
                    yield 1 | bank << 1 | index << 2 | (fresh and not step) << 2 + bits
            # it was in the cycle before this one
            self.ready.append((self.cycle - 1 + Accumulator.LATENCY, bank, pixels))

    def _drains(self) -> Iterator[tuple[int, int, int]]:
        """``drain_en``, ``drain_bank`` and ``drain_index``, cycle by cycle."""
        while True:
            while not self.ready or self.cycle < self.ready[0][0]:
                yield 0, 0, 0
            _, bank, pixels = self.ready.pop(0)
            for index in self.rng.sample(pixels, len(pixels)):
                while self._rests():
                    yield 0, 0, 0
                self.asked += 1
                yield 1, bank, index
            self.free[bank] = True

    def _sums(self) -> int:
        half = 1 << self.sum_bits - 1
        return pack([self.rng.choice((-half, half - 1, self.rng.randrange(-half, half)))
                     for _ in range(self.config.columns)], self.sum_bits)

    async def run(self, blocks: int) -> None:
        """All blocks, and then drain."""
        dut, additions, drains = self.dut, self._additions(blocks), self._drains()
        left = 1
        while left or self.ready or not all(self.free):
            await RisingEdge(dut.clk)
            add = next(additions, None)
            left = add is not None
            dut.add.value = add or 0
            dut.sums.value = self._sums()
            dut.drain_en.value, dut.drain_bank.value, dut.drain_index.value = next(drains)
            self.cycle += 1
        for _ in range(2):
            await RisingEdge(dut.clk)
            dut.drain_en.value = 0
        assert self.checker.drained == self.asked > 0


@cocotb.test()
@cocotb.parametrize(idle=[0.0, 0.3, 0.7])
async def accumulate_and_drain(dut, idle):
    tb = TB(dut, idle=idle, seed=8)
    await tb.run(blocks=60)
    checker = tb.checker
    assert checker.overlaps > 50, "the banks never worked at once"
    assert checker.held > 50
    dut._log.info("%d entries drained, %d while the other bank accumulated, %d cycles held, %d "
                  "wraps, %d cycles", checker.drained, checker.overlaps, checker.held,
                  checker.wrapped, tb.cycle)
