# SPDX-License-Identifier: Apache-2.0
"""Waits are the rule of the instruction set, modulo 2**16."""

import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from hw.ports import COMPLETED, instruction_layout
from hw.semaphore import satisfied
from isa.instructions import QUEUES, Opcode


def rule(mask: int, waits: dict[str, int], completed: dict[str, int], only) -> bool:
    return all(0 <= (completed[q] - waits[q]) % 2**16 < 2**15
               for i, q in enumerate(QUEUES) if mask >> i & 1 and q in only)


@pytest.mark.parametrize("only", [None, ("load",), ("tensor", "store")])
def test_rule(only):
    m = Module()
    instr, completed = Signal(instruction_layout(Opcode.VECTOR)), Signal(COMPLETED)
    free = Signal()
    m.d.comb += free.eq(satisfied(instr, completed, only))
    rng = random.Random(0)

    async def bench(ctx):
        for _ in range(500):
            near = rng.choice([0, 5, 2**15, 2**16 - 3])
            counts = {q: (near + rng.randint(-2, 2)) % 2**16 for q in QUEUES}
            waits = {q: rng.choice([counts[q], (counts[q] + rng.randint(-3, 3)) % 2**16,
                                    (counts[q] + 2**15 + rng.randint(-1, 1)) % 2**16])
                     for q in QUEUES}
            mask = rng.randrange(32)
            ctx.set(instr, {"wait_mask": mask, **{f"wait_{q}": w for q, w in waits.items()}})
            ctx.set(completed, counts)
            assert ctx.get(free) == rule(mask, waits, counts, only or QUEUES)

    sim = Simulator(m)
    sim.add_testbench(bench)
    sim.run()


def test_unknown_queue():
    with pytest.raises(ValueError, match="no queue 'lod'"):
        satisfied(Signal(instruction_layout(Opcode.LOAD)), Signal(COMPLETED), ("lod",))
