# SPDX-License-Identifier: Apache-2.0
"""Waits are the rule of the instruction set, modulo 2**16."""

import random

from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from hw.engine.ports import COMPLETED, instruction_layout
from hw.engine.waits import blocked
from isa.instructions import QUEUES, Opcode


def rule(mask: int, waits: dict[str, int], completed: dict[str, int]) -> int:
    return sum((mask >> i & 1 and (completed[q] - waits[q]) % 2**16 >= 2**15) << i
               for i, q in enumerate(QUEUES))


def test_rule():
    m = Module()
    instr, completed = Signal(instruction_layout(Opcode.VECTOR)), Signal(COMPLETED)
    waiting = Signal(len(QUEUES))
    m.d.comb += waiting.eq(blocked(instr, completed))
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
            assert ctx.get(waiting) == rule(mask, waits, counts)

    sim = Simulator(m)
    sim.add_testbench(bench)
    sim.run()
