# SPDX-License-Identifier: Apache-2.0
"""What one program leaves and what the next one finds, on golden model and RTL."""

import numpy as np
import pytest

from golden.machine import Machine, MachineFault
from isa.instructions import FETCH_BYTES, Fault, Instruction, Opcode, Region, assembled
from isa.presets import PRESETS
from isa.program import Program
from runtime.device import DeviceFault
from runtime.golden_device import GoldenDevice
from sim.device import RtlDevice

CONFIG = PRESETS["tiny"]
WHOLE = dict(n0=CONFIG.spm_words, n1=1, n2=1, n3=1)
SIZES = {Region.INPUT: CONFIG.spm_bytes, Region.OUTPUT: CONFIG.spm_bytes}
FILL = Instruction(Opcode.LOAD, dict(WHOLE, region=Region.INPUT))
SPY = Instruction(Opcode.STORE, dict(WHOLE, region=Region.OUTPUT))
SUM = dict(nx=1, ny=1, ncb=1, ns=1, nr=1, nnb=1, ntx=1, nty=1, nx_last=1, ny_last=1, m_last=1,
           n_last=1, iw=1, ih=1, scale_a=0x3F800000)
SECRET = np.full(CONFIG.spm_bytes, 0x5A, np.uint8)


def of(instruction: Instruction) -> Program:
    image = assembled([instruction, Instruction(Opcode.END)]).ljust(2 * FETCH_BYTES, b"\0")
    return Program(name="tenant", config=CONFIG, image=image, instruction_count=2, inputs=[],
                   outputs=[], region_sizes=SIZES)


class Tenants:
    """A simulated machine that programs use one after another."""

    def __init__(self):
        self.device = RtlDevice(CONFIG)
        self.device.load(of(FILL))
        self.host, self.base = self.device._host, self.device._base

    def run(self, instruction: Instruction, clear: bool) -> np.ndarray:
        """A program's outputs, with or without what its loading does to the machine."""
        program = of(instruction)
        if clear:
            self.host.load(program, self.base)
        else:
            at = self.device.harness.memory(self.base[Region.PROGRAM], len(program.image))
            at[:] = np.frombuffer(program.image, np.uint8)
        return self.host.execute(SECRET).outputs


@pytest.fixture
def tenants():
    tenants = Tenants()
    yield tenants
    tenants.device.close()


@pytest.mark.parametrize("clear", [True, False])
def test_loading_a_program_clears_the_scratchpad(tenants, clear):
    """Without it the secret is there: a program finds what the one before has left."""
    tenants.run(FILL, clear=True)
    assert np.array_equal(tenants.run(SPY, clear), np.zeros_like(SECRET) if clear else SECRET)


def test_loading_a_program_clears_the_golden_device():
    golden = GoldenDevice(CONFIG)
    golden.load(of(FILL))
    golden.execute(SECRET)
    golden.load(of(SPY))
    assert not golden.execute(SECRET).outputs.any()
    kept = Machine(CONFIG)
    kept.run(of(FILL).image, SECRET, SIZES)
    assert np.array_equal(kept.run(of(SPY).image, SECRET, SIZES), SECRET)


@pytest.mark.parametrize("clear", [True, False])
def test_no_sums_are_held_when_a_program_begins(tenants, clear):
    hold, acc = (Instruction(Opcode.TENSOR, {**SUM, flag: 1}) for flag in ("hold", "acc"))
    tenants.run(hold, clear=True)
    with pytest.raises(DeviceFault) as rtl:
        tenants.run(acc, clear)
    golden = Machine(CONFIG)
    golden.run(of(hold).image, SECRET, SIZES)
    with pytest.raises(MachineFault) as e:
        golden.run(of(acc).image, SECRET, SIZES)
    assert (rtl.value.code, rtl.value.index) == (e.value.code, e.value.index) == (
        Fault.BAD_FIELD, 0)
