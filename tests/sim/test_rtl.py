# SPDX-License-Identifier: Apache-2.0
"""The smallest machine's RTL on the shipped network: slow memory, stalls, errors, recovery."""

import numpy as np
import pytest

from compiler import compile_model
from examples.digits import INPUT, INT8, OUTPUT, held_out
from isa.instructions import Fault, Instruction, Opcode, Region
from isa.presets import PRESETS
from makalu.facts import dram_bytes
from runtime.device import DeviceFault
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from sim.device import RtlDevice
from sim.harness import DramModel

TINY = PRESETS["tiny"]
IMAGES = held_out()[0][:2]


@pytest.fixture(scope="module")
def program():
    return compile_model(INT8, TINY, allow_host=("QuantizeLinear", "DequantizeLinear"))


@pytest.fixture(scope="module")
def golden(program):
    return Session(program, GoldenDevice(TINY)).run({INPUT: IMAGES})[OUTPUT]


@pytest.mark.parametrize("dram", [
    DramModel(), DramModel(read_latency=1, write_latency=1), DramModel(read_latency=300),
    DramModel(bandwidth=0.25), DramModel(max_reads=1, max_writes=1),
    *(DramModel(stall=0.4, seed=seed) for seed in range(3))], ids=str)
def test_same_bits_whatever_the_memory_does(program, golden, dram):
    session = Session(program, RtlDevice(TINY, dram=dram))
    assert np.array_equal(session.run({INPUT: IMAGES})[OUTPUT], golden)
    for counters in session.counters:
        assert counters["INSTRUCTIONS"] == program.instruction_count - 1
        moved = counters["DRAM_READ_BYTES"] + counters["DRAM_WRITE_BYTES"]
        assert dram_bytes(program) <= moved <= 1.2 * dram_bytes(program)


@pytest.mark.parametrize("response,code", [("SLVERR", Fault.AXI_SLVERR),
                                           ("DECERR", Fault.AXI_DECERR)])
@pytest.mark.parametrize("opcode,region", [(Opcode.LOAD, Region.INPUT),
                                           (Opcode.LOAD, Region.PROGRAM),
                                           (Opcode.STORE, Region.OUTPUT)])
def test_memory_errors_name_the_instruction_and_leave_a_working_machine(
        program, golden, response, code, opcode, region):
    device = RtlDevice(TINY)
    session = Session(program, device)
    index, hit = next((i, x) for i, x in enumerate(program.instructions())
                      if x.opcode is opcode and x.region == region)
    low = device.address(region) + hit.dram
    device.harness.inject(low, low + 4, response)
    for _ in range(2):
        with pytest.raises(DeviceFault) as fault:
            session.run({INPUT: IMAGES})
        assert (fault.value.code, fault.value.index) == (code, index)
        assert fault.value.node == program.node_name(index) and fault.value.node in str(fault.value)
    device.harness.inject(low, low + 4, "OKAY")
    assert np.array_equal(session.run({INPUT: IMAGES})[OUTPUT], golden)


def test_the_image_and_the_input_stay_as_they_are(program):
    device = RtlDevice(TINY)
    Session(program, device).run({INPUT: IMAGES})
    assert device.memory(Region.PROGRAM)[:len(program.image)].tobytes() == program.image


def test_an_illegal_opcode_stops_the_machine(program):
    device = RtlDevice(TINY)
    session = Session(program, device)
    device.memory(Region.PROGRAM)[sum(map(len, program.codes()[:3]))] = 0xEE
    with pytest.raises(DeviceFault) as fault:
        session.run({INPUT: IMAGES})
    assert (fault.value.code, fault.value.index) == (Fault.ILLEGAL_OPCODE, 3)


def test_the_watchdog_stops_a_program_that_waits_for_ever(program):
    device = RtlDevice(TINY, watchdog=2000)
    device.load(program)
    wait = Instruction(Opcode.STORE, {"region": Region.OUTPUT, "n0": 1, "n1": 1, "n2": 1, "n3": 1,
                                      "wait_mask": 1, "wait_load": 9}).encode()
    device.memory(Region.PROGRAM)[:len(wait)] = np.frombuffer(wait, np.uint8)
    with pytest.raises(DeviceFault) as fault:
        device.execute(np.zeros(program.region_sizes[Region.INPUT], np.uint8))
    assert fault.value.code is Fault.WATCHDOG
