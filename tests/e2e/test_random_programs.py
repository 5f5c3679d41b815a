# SPDX-License-Identifier: Apache-2.0
"""Random instructions on the Verilated machine and on the golden model: every byte of the
scratchpad afterwards, without and with a memory that stalls at random."""

import numpy as np
import pytest

from golden.machine import Machine
from isa.instructions import Opcode
from isa.presets import PRESETS
from sim.device import RtlDevice
from sim.harness import DramModel
from tests.e2e.programs import contents, program, tensor, vector, window

INSTRUCTIONS = 40


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["tiny", "ecp5", "core256"])
def test_random_instructions(name: str, seed: int) -> None:
    config = PRESETS[name]
    rng = np.random.default_rng([seed, config.lanes, config.tiles])
    instructions = []
    while len(instructions) < INSTRUCTIONS:
        kind = rng.random()
        instructions += (tensor(rng, config) if kind < 0.5 else
                         [window(rng, config) if kind < 0.8 else vector(rng, config)])
    p = program(config, instructions)
    inputs = contents(rng, config, instructions).reshape(-1)
    want = Machine(config).run(p.image, inputs, p.region_sizes)
    changed = want[want != inputs].view(np.int8)
    assert len(np.unique(changed)) > 60, "too few different results: the parameters saturate"
    stall = (0.0, 0.3, 0.05)[seed]
    device = RtlDevice(config, dram=DramModel(stall=stall, seed=seed))
    device.load(p)
    got = device.execute(inputs).outputs
    device.close()
    if not np.array_equal(got, want):
        word = np.argwhere(got != want)[0, 0] // config.lanes
        kinds = [i.opcode.name for i in instructions]
        raise AssertionError(f"word {word} differs after {kinds}")
    assert {Opcode.TENSOR, Opcode.WINDOW} <= {i.opcode for i in instructions}
