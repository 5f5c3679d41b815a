# SPDX-License-Identifier: Apache-2.0
"""Random instructions on the Verilated machine and on the golden model: what every instruction
wrote, every byte of the scratchpad afterwards, and an account of every cycle, without and with a
memory that stalls at random."""

import dataclasses

import numpy as np
import pytest

from golden.signature import SigningMachine
from isa.instructions import QUEUES, Instruction, Opcode, Region
from isa.presets import PRESETS
from isa.registers import BUCKET_COUNTERS, EXCEPTIONS, GANG_WAITS
from sim.device import RtlDevice
from sim.harness import DramModel
from tests.e2e.programs import contents, program, tensor, vector, window

INSTRUCTIONS = 40


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["tiny", "core256", "tiny_fp", *(
    pytest.param(name, marks=pytest.mark.long) for name in ("ecp5", "ecp5_fp"))])
def test_random_instructions(name: str, seed: int) -> None:
    config = PRESETS[name]
    rng = np.random.default_rng([seed, config.lanes, config.tiles])
    instructions = []
    while len(instructions) < INSTRUCTIONS:
        kind = rng.random()
        instructions += (tensor(rng, config) if kind < 0.5 else
                         [window(rng, config) if kind < 0.8 and config.window_taps
                          else vector(rng, config)])
    p = program(config, instructions)
    inputs = contents(rng, config, instructions).reshape(-1)
    stall = (0.0, 0.3, 0.05)[seed]
    device = RtlDevice(config, dram=DramModel(stall=stall, seed=seed))
    device.load(p)
    golden = SigningMachine(config, {region: device.address(region) for region in Region})
    before, seen = np.array(golden.spm), set()

    def watch(index: int, i: Instruction) -> None:
        nonlocal before
        after = np.array(golden.spm)
        if i.opcode not in (Opcode.LOAD, Opcode.STORE):
            seen.update(after[after != before].tolist())
        before = after

    want = golden.run(p.image, inputs, p.region_sizes, watch=watch)
    assert len(seen) > 200, "too few different results: the parameters saturate"
    result, trace = device.execute(inputs), device.trace
    device.close()
    wrong = np.flatnonzero(trace["signature"] != np.array(golden.signatures, np.uint32))
    assert not len(wrong), f"instruction {wrong[0]} differs: {p.instructions()[wrong[0]]}"
    assert np.array_equal(result.outputs, want)
    exceptions = dict(zip(EXCEPTIONS, dataclasses.astuple(golden.exceptions), strict=True))
    assert not config.floats or exceptions.items() <= result.counters.items()
    for queue in QUEUES if config.profile else ():
        buckets = {name: result.counters[counter]
                   for name, counter in BUCKET_COUNTERS[queue].items() if name not in GANG_WAITS}
        assert sum(buckets.values()) == result.counters["CYCLES"], queue
        assert 0 < buckets["active"] < result.counters["CYCLES"], queue
    other = Opcode.WINDOW if config.window_taps else Opcode.VECTOR
    assert {Opcode.TENSOR, other} <= {i.opcode for i in instructions}
