# SPDX-License-Identifier: Apache-2.0
"""Heads that are written out: each word once and in order, and the last one of an instruction
leaves no sooner than all writes have been made."""

import random

import pytest
from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.sim import Simulator

from hw.engine.ports import SpmWrite
from hw.scratchpad.last_write import write_out
from isa.presets import PRESETS

COUNT = 300


class Queue(Elaboratable):
    """A head that the bench shows."""

    def __init__(self) -> None:
        self.port = SpmWrite(PRESETS["tiny"]).create()
        self.valid, self.write, self.last, self.leaves = (Signal() for _ in range(4))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.leaves.eq(write_out(m, "head", self.port, self.valid, self.write,
                                             self.last))
        return m


@pytest.mark.parametrize("idle, stall, slow", [
    (0.0, 0.0, 0.0), (0.5, 0.0, 0.7), (0.0, 0.6, 0.0), (0.3, 0.5, 0.8)])
def test_each_word_is_written_once(idle: float, stall: float, slow: float) -> None:
    dut, rng = Queue(), random.Random(2)
    heads = [(rng.random() < 0.7, rng.random() < 0.3) for _ in range(COUNT)]
    accepted: list[int] = []
    made = 0

    async def bench(ctx):
        nonlocal made
        at, shown, cycles = 0, False, 0
        while at < COUNT:
            shown = shown or rng.random() >= idle
            write, last = heads[at]
            ctx.set(dut.valid, shown)
            ctx.set(dut.write, write)
            ctx.set(dut.last, last)
            ctx.set(dut.port.ready, rng.random() >= stall)
            ctx.set(dut.port.pending, made < len(accepted))
            goes = ctx.get(dut.port.valid) and ctx.get(dut.port.ready)
            leaves = ctx.get(dut.leaves)
            if leaves and last:
                assert made == len(accepted)
            made += made < len(accepted) and rng.random() >= slow
            if goes:
                assert write and shown
                accepted.append(at)
            if leaves:
                assert shown and (not write or accepted[-1] == at)
                at, shown = at + 1, False
            await ctx.tick()
            cycles += 1
            assert cycles < 40 * COUNT

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert accepted == [k for k, (write, _) in enumerate(heads) if write]
