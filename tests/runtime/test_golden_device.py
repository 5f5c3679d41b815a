# SPDX-License-Identifier: Apache-2.0
"""The golden model as a device: what it keeps between executions, and what a load clears."""

import numpy as np

from isa.instructions import Instruction, Opcode, Region, assembled
from isa.presets import PRESETS
from isa.program import Program
from runtime.golden_device import GoldenDevice

CONFIG = PRESETS["tiny"]
ONE = dict(n0=1, n1=1, n2=1, n3=1)


def program(*code: Instruction) -> Program:
    """One word of input, one of output, in 32 bytes each."""
    code = (*code, Instruction(Opcode.END))
    return Program(name="p", config=CONFIG, image=assembled(code),
                   instruction_count=len(code), inputs=[], outputs=[],
                   region_sizes={Region.INPUT: 32, Region.OUTPUT: 32})


def test_a_load_clears_the_scratchpad() -> None:
    """An execution finds what the one before has left there; behind a load there are zeros."""
    load = Instruction(Opcode.LOAD, dict(ONE, region=Region.INPUT, spm=5))
    # the word that the execution before has loaded, then that of this one
    late = program(Instruction(Opcode.STORE, dict(ONE, region=Region.OUTPUT, spm=5)), load)
    with GoldenDevice(CONFIG) as device:
        for _ in range(2):
            device.load(late)
            for value, want in ((1, 0), (2, 1), (3, 2)):
                out = device.execute(np.full(32, value, np.uint8)).outputs
                assert out[:CONFIG.lanes].tolist() == [want] * CONFIG.lanes
