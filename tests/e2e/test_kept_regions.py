# SPDX-License-Identifier: Apache-2.0
"""WORKSPACE and OUTPUT are zero after a load and keep what an execution leaves, on every device."""

import numpy as np
import pytest

from isa.instructions import Instruction, Opcode, Region, assembled
from isa.presets import PRESETS
from isa.program import Program
from runtime.device import Device
from runtime.golden_device import GoldenDevice
from sim.device import RtlDevice
from tests.e2e.programs import chain

TINY = PRESETS["tiny"]
WORD = TINY.word_bytes


def delays() -> Program:
    """The first word of OUTPUT is the input of the execution before, through WORKSPACE; the second
    is what the first was; the others are never written."""
    code = []
    for source, target, at in ((Region.OUTPUT, Region.OUTPUT, WORD),
                               (Region.WORKSPACE, Region.OUTPUT, 0),
                               (Region.INPUT, Region.WORKSPACE, 0)):
        one = dict(n0=1, n1=1, n2=1, n3=1)
        code += [Instruction(Opcode.LOAD, dict(one, region=source)),
                 Instruction(Opcode.STORE, dict(one, region=target, dram=at))]
    code.append(Instruction(Opcode.END))
    chain(code)
    return Program(name="delays", config=TINY, image=assembled(code),
                   instruction_count=len(code), inputs=[], outputs=[], region_sizes={
                       Region.WORKSPACE: WORD, Region.INPUT: WORD, Region.OUTPUT: 3 * WORD})


@pytest.mark.parametrize("make", [GoldenDevice, RtlDevice])
def test_what_an_execution_leaves(make: type[Device]) -> None:
    device, none = make(TINY), [0] * WORD
    first, second, third = ([k] * WORD for k in (1, 2, 3))
    for _ in range(2):
        device.load(delays())
        kept = []
        for inputs, want in ((first, [none, none, none]), (second, [first, none, none]),
                             (third, [second, first, none])):
            kept.append(device.execute(np.array(inputs, np.uint8)).outputs)
            assert kept[-1].reshape(3, WORD).tolist() == want
        assert kept[0].reshape(3, WORD).tolist() == [none] * 3, "a result changes afterwards"
