# SPDX-License-Identifier: Apache-2.0
"""The whole machine with its real engines against the golden model, byte for byte.

Runs inside the simulator; test_core.py builds the design, compiles the network and starts it. Every
test ends drained: no burst unanswered, STATUS.QUIET.
"""

import os
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiResp

from golden.machine import Machine
from isa.config import Config
from isa.instructions import Fault, Region
from isa.program import Program
from tests.cocotb.bench import Bench
from tests.e2e.programs import contents, program, tensor, vector, window

DONE, ERROR = 1, 2
GRANULE = 32
"""Bases and sizes of regions are multiples of this."""

BASES = {Region.PROGRAM: 0x3020, Region.WORKSPACE: 0x4_0FE0, Region.INPUT: 0x4_4F60,
         Region.OUTPUT: 0x4_8FE0}
MEMORY_BYTES = 0x4_C000
WORKERS = ("LOAD", "TENSOR", "WINDOW", "VECTOR")
"""Engines before the last one of a program, the STORE."""


def room(size: int) -> int:
    """The smallest legal region of ``size`` bytes."""
    return -(-size // GRANULE) * GRANULE


def random_program(config: Config, seed: int, count: int) -> tuple[Program, np.ndarray]:
    """``count`` or more instructions, and the input."""
    rng = np.random.default_rng([seed, 77])
    instructions = [vector(rng, config), window(rng, config)]
    while len(instructions) < count:
        kind = rng.random()
        instructions += (tensor(rng, config) if kind < 0.5 else
                         [window(rng, config) if kind < 0.8 else vector(rng, config)])
    return program(config, instructions), contents(rng, config, instructions).reshape(-1)


class TB(Bench):
    """A :class:`Bench` that runs compiled programs and compares with the golden model."""

    def __init__(self, dut, **options):
        sizes = {r: 0x1000 for r in Region}
        super().__init__(dut, bases=BASES, sizes=sizes, memory=MEMORY_BYTES, **options)

    async def prepare(self, p: Program, inputs: np.ndarray) -> None:
        """Write program and input, spoil the output, set the regions up."""
        self.sizes = {r: room(p.region_sizes.get(r, 0)) for r in Region}
        assert all(BASES[r] + self.sizes[r] <= end
                   for r, end in zip(Region, [*list(BASES.values())[1:], MEMORY_BYTES],
                                     strict=True))
        self.ram.write(BASES[Region.PROGRAM], p.image)
        self.ram.write(BASES[Region.INPUT], inputs.tobytes())
        self.ram.write(BASES[Region.OUTPUT], b"\xa5" * self.sizes[Region.OUTPUT])
        await self.regions()

    async def check(self, p: Program, inputs: np.ndarray) -> None:
        """Run the program: its output buffers (the whole region if it names none) are the golden
        model's, and no other byte of the memory has changed, apart from the workspace."""
        await self.prepare(p, inputs)
        before = self.memory()
        assert await self.execute() == DONE
        want = Machine(self.config).run(p.image, inputs, p.region_sizes)
        for offset, size in [(b.offset, b.size) for b in p.outputs] or [(0, len(want))]:
            at = BASES[Region.OUTPUT] + offset
            before[at:at + size] = want[offset:offset + size]
        after, at = self.memory(), BASES[Region.WORKSPACE]
        before[at:at + self.sizes[Region.WORKSPACE]] = after[at:at + self.sizes[Region.WORKSPACE]]
        np.testing.assert_array_equal(after, before)
        assert await self.get("INSTRUCTIONS") == p.instruction_count - 1
        assert await self.get("STATUS") == 0b1010
        await self.drained()


@cocotb.test()
@cocotb.parametrize((("stall", "seed"), [(0.0, 0), (0.4, 1)]))
async def random_instructions(dut, stall, seed):
    """TENSOR, WINDOW and VECTOR between a LOAD and a STORE of the whole scratchpad."""
    tb = TB(dut, stall=stall, seed=seed)
    await tb.reset()
    await tb.check(*random_program(tb.config, seed, 5))


@cocotb.test()
async def network(dut):
    """A compiled network, whose engines overlap and whose waits alone order them."""
    tb = TB(dut, stall=0.4)
    await tb.reset()
    folder = Path(os.environ["BENCH_FOLDER"])
    await tb.check(Program.load(folder / "network.mkl"), np.load(folder / "inputs.npy"))
    assert await tb.get("TENSOR_ACTIVE") > 0
    dut._log.info("%d cycles", await tb.get("CYCLES"))


@cocotb.test()
async def reset_in_mid_flight(dut):
    """By the host and by the pin, from the first LOAD's bursts to the last engine; then a good
    run."""
    tb = TB(dut, stall=0.2, seed=3)
    await tb.reset()
    good = random_program(tb.config, 2, 3)
    reached, cut = set(), {False: 0, True: 0}
    for wait, pin in ((60, False), (90, True), (700, True), (1800, False), (2600, True)):
        await tb.prepare(*good)
        await tb.set("DOORBELL", 1)
        await ClockCycles(dut.clk, wait)
        assert await tb.get("STATUS") & 1, f"the program was done before {wait} cycles"
        reached |= {q for q in WORKERS if await tb.get(f"{q}_ACTIVE")}
        cut[pin] += sum(tb.watcher.outstanding.values())
        if pin:
            dut.rst.value = 1
            await tb.reset()
        else:
            await tb.recover()
        await tb.drained()
    assert reached == set(WORKERS) and all(cut.values())
    await tb.check(*good)


@cocotb.test()
async def an_error_response(dut):
    """A LOAD and the STORE get SLVERR: code and instruction are reported, and the machine
    recovers."""
    tb = TB(dut, stall=0.4, seed=4)
    await tb.reset()
    good = p, inputs = random_program(tb.config, 4, 2)
    for region, index in ((Region.INPUT, 0), (Region.OUTPUT, p.instruction_count - 2)):
        await tb.prepare(p, inputs)
        tb.errors = {BASES[region] + 4099: AxiResp.SLVERR}
        assert await tb.execute() == ERROR
        report = await tb.get("ERROR_CODE"), await tb.get("ERROR_INDEX")
        assert report == (Fault.AXI_SLVERR, index)
        tb.errors = {}
        await tb.recover()
        await tb.drained()
        await tb.check(*good)
