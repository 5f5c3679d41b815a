# SPDX-License-Identifier: Apache-2.0
"""The golden model as a device: what it keeps between executions, and what a load clears."""

from dataclasses import replace

import numpy as np
import pytest

from isa.instructions import Fault, Instruction, Opcode, Region, assembled
from isa.presets import PRESETS
from isa.program import Program
from runtime.device import DeviceFault
from runtime.golden_device import GoldenDevice
from tests.isa.test_program import gang

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


def test_gangs() -> None:
    """A program of several streams gives the same bytes in every order, and a fault says whose it
    is."""
    x = np.arange(64, dtype=np.uint8)
    p = gang()
    for seed in (None, *range(5)):
        with GoldenDevice(p.config, seed=seed) as device:
            device.load(p)
            for _ in range(2):
                out = device.execute(x).outputs
                assert np.array_equal(out[:32], x[:32]) and not out[32:].any()
    # rank 1 waits for a signal that does not come
    mute = assembled([p.instructions()[0], Instruction(Opcode.END)])
    late = replace(p, image=mute + p.image[p.starts[1]:], instruction_count=2, node_of=[],
                   streams=[replace(p.streams[0], start=len(mute))])
    with GoldenDevice(p.config) as device:
        device.load(late)
        with pytest.raises(DeviceFault, match="instruction 0 of rank 1, AWAIT engine: no") as e:
            device.execute(x)
    assert (e.value.code, e.value.rank, e.value.index) == (Fault.WATCHDOG, 1, 0)
