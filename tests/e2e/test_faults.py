# SPDX-License-Identifier: Apache-2.0
"""Bad programs on the whole machine: the fault is the golden model's, nothing outside the program's
buffers is touched, and after the reset the next program runs right.

The simulated memory answers DECERR wherever no region lies, so a stray access would show as another
fault than the one expected."""

import dataclasses

import numpy as np
import pytest

from golden.machine import Machine, MachineFault
from isa.instructions import Fault, Instruction, Opcode, Region, assembled
from isa.presets import PRESETS
from isa.program import Program
from runtime.device import DeviceFault
from sim.device import RtlDevice
from tests.e2e.programs import chain, contents, program, tensor, vector, whole, window

CONFIG = PRESETS["tiny"]
ONE = dict(n0=1, n1=1, n2=1, n3=1)
WINDOW = dict(nx=1, ny=1, nnb=1, ns=1, nr=1, stride=1, ng=1, m_last=1, n_last=1, iw=1, ih=1)

ONES = np.full(CONFIG.spm_bytes // 4, 1, np.float32).view(np.uint8)
"""Inputs that are legal scales."""

BAD = {
    "DRAM address outside its region": (
        Instruction(Opcode.LOAD, dict(ONE, region=Region.INPUT, dram=CONFIG.spm_bytes)),
        Fault.DRAM_RANGE),
    "DRAM address before its region": (
        Instruction(Opcode.LOAD, dict(ONE, region=Region.INPUT, n1=2, dram_stride1=-4)),
        Fault.DRAM_RANGE),
    "store to the program": (
        Instruction(Opcode.STORE, dict(ONE, region=Region.PROGRAM)), Fault.DRAM_RANGE),
    "load outside the scratchpad": (
        Instruction(Opcode.LOAD, dict(ONE, region=Region.INPUT, spm=2048)), Fault.SPM_RANGE),
    "no words at all": (
        Instruction(Opcode.STORE, dict(ONE, region=Region.OUTPUT, n0=0)), Fault.BAD_FIELD),
    "empty tensor": (Instruction(Opcode.TENSOR), Fault.BAD_FIELD),
    "empty vector": (Instruction(Opcode.VECTOR), Fault.BAD_FIELD),
    "empty window": (Instruction(Opcode.WINDOW), Fault.BAD_FIELD),
    "window over nothing": (Instruction(Opcode.WINDOW, dict(WINDOW, a_base=2048)),
                            Fault.SPM_RANGE),
    "window without weights": (Instruction(Opcode.WINDOW, dict(WINDOW, w_base=2040)),
                               Fault.SPM_RANGE),
    "window to nowhere": (Instruction(Opcode.WINDOW, dict(WINDOW, o_base=-1)), Fault.SPM_RANGE),
}


def bad_program(instruction: Instruction) -> Program:
    """Load everything, then the instruction, then overwrite the whole output."""
    code = [*whole(CONFIG, Region.INPUT, Opcode.LOAD),
            Instruction(instruction.opcode, dict(instruction.fields)),
            *whole(CONFIG, Region.OUTPUT, Opcode.STORE), Instruction(Opcode.END)]
    chain(code)
    return raw(assembled(code), len(code))


def raw(image: bytes, count: int) -> Program:
    sizes = {Region.PROGRAM: len(image), Region.WORKSPACE: 0, Region.INPUT: CONFIG.spm_bytes,
             Region.OUTPUT: CONFIG.spm_bytes}
    return Program(name="bad", config=CONFIG, image=image, instruction_count=count, inputs=[],
                   outputs=[], region_sizes=sizes)


def good_program() -> tuple[Program, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    instructions = [*tensor(rng, CONFIG), window(rng, CONFIG), vector(rng, CONFIG)]
    p = program(CONFIG, instructions)
    inputs = contents(rng, CONFIG, instructions).reshape(-1)
    return p, inputs, Machine(CONFIG).run(p.image, inputs, p.region_sizes)


@pytest.fixture
def device():
    device = RtlDevice(CONFIG, watchdog=5_000)
    yield device
    device.close()


def recovers(device: RtlDevice) -> None:
    p, inputs, want = good_program()
    device.load(p)
    assert np.array_equal(device.execute(inputs).outputs, want)


def faults(device: RtlDevice, p: Program, want: Fault, index: int) -> None:
    """The device stops as expected, twice (the first reset must leave it ready for more)."""
    device.load(p)
    inputs = ONES
    for _ in range(2):
        with pytest.raises(DeviceFault) as e:
            device.execute(inputs)
        assert (e.value.code, e.value.index) == (want, index)
        assert np.array_equal(device.memory(Region.PROGRAM)[:len(p.image)],
                              np.frombuffer(p.image, np.uint8))
        assert np.array_equal(device.memory(Region.INPUT), ONES)


@pytest.mark.parametrize("name", BAD)
def test_bad_instruction(device: RtlDevice, name: str) -> None:
    instruction, want = BAD[name]
    p = bad_program(instruction)
    with pytest.raises(MachineFault) as golden:
        Machine(CONFIG).run(p.image, ONES, p.region_sizes)
    assert (golden.value.code, golden.value.index) == (want, 1)
    faults(device, p, want, 1)
    assert not device.memory(Region.OUTPUT).any(), "the STORE behind the fault has run"
    recovers(device)


@pytest.mark.long    # builds a machine of its own; tests/hw/control/test_sequencer.py has the same
def test_an_engine_that_is_not_there() -> None:
    config = dataclasses.replace(CONFIG, window_taps=0)
    code = [Instruction(Opcode.WINDOW, WINDOW), Instruction(Opcode.END)]
    p = dataclasses.replace(raw(assembled(code), 2), config=config)
    device = RtlDevice(config)
    faults(device, p, Fault.ILLEGAL_OPCODE, 0)
    device.close()


def test_a_deadlock_meets_the_watchdog(device: RtlDevice) -> None:
    code = [Instruction(Opcode.LOAD, dict(ONE, region=Region.INPUT, wait_mask=16, wait_store=1)),
            Instruction(Opcode.END)]
    faults(device, raw(assembled(code), 2), Fault.WATCHDOG, 0)
    recovers(device)


def test_a_program_without_an_end(device: RtlDevice) -> None:
    code = assembled([Instruction(Opcode.LOAD, dict(ONE, region=Region.INPUT))] * 4)
    faults(device, raw(code, 4), Fault.DRAM_RANGE, 4)
    recovers(device)


def test_garbage(device: RtlDevice) -> None:
    """Random bytes as a program: some fault, and the machine survives it."""
    rng = np.random.default_rng(4)
    for _ in range(20):
        image = rng.integers(0, 256, 1024, np.uint8)
        image[::160] = rng.integers(1, 6, 7)      # legal opcodes, nonsense behind them
        image[1::160] = (2, 3, 5)[rng.integers(3)]
        image[3::160] &= 0xE0                     # that wait for nothing
        device.load(raw(image.tobytes(), 8))
        with pytest.raises(DeviceFault):
            device.execute(np.zeros(CONFIG.spm_bytes, np.uint8))
    recovers(device)
