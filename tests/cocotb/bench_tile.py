# SPDX-License-Identifier: Apache-2.0
"""A tile under random timing: weight sets loaded beat by beat, swapped with a vector, sums checked.

Runs inside the simulator; test_tile.py builds the design and starts it. The ports are driven after
the rising edge and sampled at the falling one, in the middle of the cycle.
"""

import os
import random
from collections import deque

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from hw.arith.operand import OPERAND_BITS
from hw.tensor.column import tree_bits

LOW, HIGH = -(1 << OPERAND_BITS - 1), (1 << OPERAND_BITS - 1) - 1


def pack(values, bits: int) -> int:
    """Signed numbers, the first in the low bits."""
    return sum((int(v) & (1 << bits) - 1) << bits * k for k, v in enumerate(values))


def unpack(value: int, bits: int, count: int) -> list[int]:
    """The inverse of :func:`pack`."""
    half = 1 << bits - 1
    return [((value >> bits * k & 2 * half - 1) ^ half) - half for k in range(count)]


class Checker:
    """Model and in-order checker: follows the ports, knows what is due in which cycle; from the
    first swap on, sums are checked in every cycle, whether the driver's vector is idle or not."""

    def __init__(self, dut, lanes: int, words: int, latency: int):
        self.dut, self.lanes, self.words = dut, lanes, words
        self.latency = latency
        self.shadow = np.zeros((lanes, lanes), np.int64)
        self.active: np.ndarray | None = None
        self.due: deque[tuple[int, np.ndarray]] = deque()
        self.checked = 0
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        dut, cycle = self.dut, 0
        while True:
            await FallingEdge(dut.clk)
            if self.due and self.due[0][0] == cycle:
                want = self.due.popleft()[1].tolist()
                got = unpack(int(dut.sums.value), tree_bits(self.lanes), self.lanes)
                assert got == want, f"cycle {cycle}: {got}, not {want}"
                self.checked += 1
            if int(dut.swap.value):
                self.active = self.shadow.copy()
            vector = unpack(int(dut.vector.value), OPERAND_BITS, self.lanes)
            if self.active is not None:
                self.due.append((cycle + self.latency, self.active @ vector))
            if int(dut.load.value):
                at = int(dut.beat.value) * self.words
                self.shadow[at:at + self.words] = np.reshape(unpack(
                    int(dut.weights.value), OPERAND_BITS, self.words * self.lanes),
                    (self.words, self.lanes))
            cycle += 1


class TB:
    """The tile with a driver of weights and vectors. ``idle`` is the chance that either rests."""

    def __init__(self, dut, *, idle: float, seed: int):
        self.dut, self.idle, self.rng = dut, idle, random.Random(seed)
        self.lanes, self.words = int(os.environ["BENCH_LANES"]), int(os.environ["BENCH_WORDS"])
        self.todo: list[int] = []
        self.swaps = self.vectors = 0
        Clock(dut.clk, 10, "ns").start()
        dut.swap.value = dut.load.value = dut.vector.value = dut.weights.value = dut.beat.value = 0
        dut.rst.value = 0

    def _operands(self, count: int) -> list[int]:
        """Random ones, now and then the extremes, which give the largest sums."""
        if self.rng.random() < 0.2:
            return [self.rng.choice((LOW, HIGH))] * count
        return [self.rng.randint(LOW, HIGH) for _ in range(count)]

    def _next_set(self) -> None:
        self.todo = list(range(self.lanes // self.words))
        self.rng.shuffle(self.todo)

    def _load(self) -> None:
        """A beat of the shadow set, perhaps; never one behind the set's last."""
        self.dut.load.value = load = bool(self.todo) and self.rng.random() >= self.idle
        self.dut.weights.value = pack(self._operands(self.words * self.lanes), OPERAND_BITS)
        self.dut.beat.value = self.todo.pop() if load \
            else self.rng.randrange(self.lanes // self.words)

    async def fill(self) -> None:
        """The first set, without vectors."""
        self._next_set()
        while self.todo:
            await RisingEdge(self.dut.clk)
            self._load()

    async def cycle(self) -> None:
        """A vector or an idle cycle. A complete set is swapped in by the next vector, in whose
        cycle the next set's first beat may already come."""
        await RisingEdge(self.dut.clk)
        vector = self.rng.random() >= self.idle
        swap = vector and not self.todo
        self.dut.swap.value = swap
        self.dut.vector.value = pack(self._operands(self.lanes), OPERAND_BITS)
        self.vectors += vector
        self.swaps += swap
        if swap:
            self._next_set()
        self._load()


@cocotb.test()
@cocotb.parametrize(idle=[0.0, 0.3, 0.8])
async def sums(dut, idle):
    tb = TB(dut, idle=idle, seed=3)
    checker = Checker(dut, tb.lanes, tb.words, int(os.environ["BENCH_LATENCY"]))
    await tb.fill()
    cycles = 600
    for _ in range(cycles):
        await tb.cycle()
    assert idle or tb.vectors == cycles
    assert idle or tb.swaps == -(-cycles * tb.words // tb.lanes), "a swap has cost a cycle"
    dut.swap.value = dut.load.value = 0
    for _ in range(checker.latency + 1):
        await RisingEdge(dut.clk)
    assert checker.checked >= tb.vectors and tb.swaps > cycles // 40
    dut._log.info("%d vectors, %d swaps, %d sums checked", tb.vectors, tb.swaps, checker.checked)
