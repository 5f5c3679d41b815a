# SPDX-License-Identifier: Apache-2.0
"""The whole board, simulated: the driver of real boards, through the line, the bridge and a memory
that checks its controller, to the machine and back."""

import dataclasses

import numpy as np
import pytest

from examples.digits import INPUT, INT8, OUTPUT, held_out
from isa.instructions import Fault, Region
from isa.packets import Command, request
from isa.presets import PRESETS
from isa.program import ProgramError
from isa.registers import IDENT, OFFSET
import makalu
from runtime.device import DeviceFault, MachineError
from runtime.session import Session
from runtime.uart_device import UartDevice
from sim.board import BoardDevice, SimulatedBoard
from tests.sim import standin

CONFIG = dataclasses.replace(PRESETS["tiny"], name="tiny without buckets", profile=False)
HOST = ("QuantizeLinear", "DequantizeLinear")
IMAGES = 3


pytestmark = pytest.mark.long    # its simulation takes two minutes to build


@pytest.fixture(scope="module")
def device():
    device = BoardDevice(CONFIG)
    yield device
    device.board.close()


def test_classifies_digits_as_the_golden_model(device):
    """Bit for bit, and the memory saw what had to be read and written."""
    images = held_out()[0][:IMAGES]
    program = makalu.compile(INT8, CONFIG, host=HOST)
    session = Session(program, device)
    logits = session.run({INPUT: images})[OUTPUT]
    want = Session(program, makalu.open_device("golden", CONFIG)).run({INPUT: images})[OUTPUT]
    assert np.array_equal(logits, want)
    assert device.link.retries == 0 and len(session.counters) == IMAGES
    read = IMAGES * session.counters[0]["DRAM_READ_BYTES"] // 8
    assert device.board.statistics.reads >= read > 1000


def test_reads_what_was_written_anywhere_in_the_memory(device):
    rng = np.random.default_rng(1)
    size = device.link.memory_bytes
    pieces = {at: rng.integers(0, 256, n, np.uint8)
              for at, n in ((0, 4096), (size - 64, 64), (size // 2 - 1024, 2048), (1 << 20, 8))}
    for at, data in pieces.items():
        device.link.write_memory(at, data)
    for at, data in pieces.items():
        assert np.array_equal(device.link.read_memory(at, data.size), data)


def test_damaged_lines_are_repaired(device):
    """Noise, half a packet, and a packet whose CRC is wrong, in front of what is asked."""
    good = request(Command.WRITE_MEMORY, 1, 8, 0, bytes(8))
    before = device.link.retries
    for noise in (b"\x00\xff\x5a", good[:7], good[:-1] + b"\x00", bytes([0xA5])):
        device.board.write(noise)
        assert device.link.read(OFFSET["IDENT"]) == IDENT
    assert device.link.retries >= before + 2


def test_a_fault_is_told_and_the_machine_runs_again(device):
    """The program region is too small for the program: the machine stops, and is reset."""
    program = standin.program(CONFIG)
    device.load(program)
    device.link.write(OFFSET["REGION0_SIZE"], 32)
    with pytest.raises(DeviceFault) as e:
        device.execute(np.zeros(program.region_sizes[Region.INPUT], np.uint8))
    assert e.value.code == Fault.DRAM_RANGE
    device.execute(np.zeros(program.region_sizes[Region.INPUT], np.uint8))


def test_the_button_resets_and_the_lights_tell(device):
    board = device.board
    assert board.leds & 1
    board.press(1)
    board.run(100)
    assert not board.leds & 1, "the memory is initialized anew"
    board.press()
    board.run(200)
    assert board.leds & 1 and device.link.read(OFFSET["IDENT"]) == IDENT


def test_another_machine_is_refused(device):
    other = dataclasses.replace(CONFIG, name="other", queue_depth=8)
    with pytest.raises(MachineError, match="not a 'other': its configuration hash is 0x"):
        UartDevice(other, device.board)
    with pytest.raises(ProgramError, match="compiled for 'other'"):
        device.load(standin.program(other))


def test_a_wide_bus_is_refused():
    with pytest.raises(ValueError, match="'core256' has a bus of 16 bytes.*set bus_bytes to 8"):
        SimulatedBoard(PRESETS["core256"])
