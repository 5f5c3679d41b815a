# SPDX-License-Identifier: Apache-2.0
"""The host's side of the registers, on a machine that is only registers."""

import dataclasses

import numpy as np
import pytest

from isa.config import ISA_VERSION
from isa.instructions import Fault, Instruction, Opcode, Region, assembled
from isa.presets import PRESETS
from isa.program import Program
from isa.registers import IDENT, OFFSET
from runtime.device import DeviceFault, MachineError, region_bytes
from runtime.host import CLEAR, ERROR, IRQ_ENABLE, MIN_WATCHDOG, PAGE, RESET, Host, layout

CONFIG = PRESETS["tiny"]
CODE = [Instruction(Opcode.LOAD), Instruction(Opcode.STORE), Instruction(Opcode.END)]
PROGRAM = Program(name="p", config=CONFIG, image=assembled(CODE),
                  instruction_count=3, inputs=[], outputs=[], region_sizes={Region.INPUT: 32})
INPUT = np.zeros(32, np.uint8)


class Registers:
    """A :class:`runtime.host.Link`; a reset of it ends unless it is ``stuck``. Its memory begins at
    ``base`` and holds what another program has left."""

    patience = "no time"

    def __init__(self, base: int = 0):
        self.of = {"IDENT": IDENT, "VERSION": ISA_VERSION[0] << 16 | ISA_VERSION[1],
                   "CONFIG_HASH": CONFIG.hash & 0xFFFFFFFF, "CONFIG_HASH_HI": CONFIG.hash >> 32}
        self.written: list[tuple[str, int]] = []
        self.names = {offset: name for name, offset in OFFSET.items()}
        self.stuck = False
        self.base, self.memory = base, np.full(1 << 16, 0xEE, np.uint8)

    def read(self, offset):
        name = self.names[offset]
        return self.of.get(name, 0) | (RESET if self.stuck and name == "CONTROL" else 0)

    def write(self, offset, value):
        self.written.append((self.names[offset], value))

    def read_memory(self, address, size):
        return np.zeros(size, np.uint8)

    def write_memory(self, address, data):
        self.memory[address - self.base:][:data.size] = data

    def wait(self):
        return True


def loaded(program: Program = PROGRAM, base: int = 0, **options) -> tuple[Host, Registers]:
    link = Registers(base)
    host = Host(link, CONFIG, **options)
    host.load(program, layout(program, base))
    return host, link


def test_a_program_is_loaded_into_a_cleared_machine():
    _, link = loaded()
    assert link.written[0] == ("CONTROL", IRQ_ENABLE | RESET | CLEAR)


@pytest.mark.parametrize("base", [0, 0x7FFF_FFFF_F000, 0x5_FFFF_E000])
def test_regions_of_a_loaded_program(base):
    """They begin where the registers say; those that executions keep are zero, and nothing else
    has changed but that of the program."""
    _, link = loaded(dataclasses.replace(PROGRAM, region_sizes={
        Region.INPUT: 32, Region.WORKSPACE: 100, Region.OUTPUT: 5000}), base)
    written, want = dict(link.written), np.full(link.memory.size, 0xEE, np.uint8)
    for region, size in ((Region.PROGRAM, 128), (Region.WORKSPACE, 128), (Region.INPUT, 32),
                         (Region.OUTPUT, 5024)):
        start, found = (written[f"REGION{region:d}_{f}"] | written[f"REGION{region:d}_{f}_HI"] << 32
                        for f in ("BASE", "SIZE"))
        assert found == size
        image = np.frombuffer(PROGRAM.image, np.uint8)
        if region is not Region.INPUT:
            want[start - base:][:size] = image if region is Region.PROGRAM else 0
    np.testing.assert_array_equal(link.memory, want)


@pytest.mark.parametrize("predicted, options, want", [
    ([], {}, MIN_WATCHDOG), ([5, 10**7], {}, MIN_WATCHDOG + 4 * (5 + 10**7)),
    ([1 << 40], {}, 2**32 - 1), ([5], {"watchdog": 600}, 600)])
def test_the_watchdog_has_room_for_what_is_predicted(predicted, options, want):
    _, link = loaded(dataclasses.replace(PROGRAM, predicted_cycles=predicted), **options)
    assert dict(link.written)["WATCHDOG"] == want


@pytest.mark.parametrize("stuck", [False, True])
@pytest.mark.parametrize("code, engine, index, name", [
    (Fault.BUS_TIMEOUT, 5, 1, "store"), (Fault.AXI_SLVERR, 0, 1, ""),
    (Fault.WATCHDOG, 0, 0, "load"), (Fault.WATCHDOG, 0, 7, "")])
def test_a_fault_is_told_whatever_the_reset_does(stuck, code, engine, index, name):
    host, link = loaded()
    link.of |= {"STATUS": ERROR, "ERROR_CODE": code, "ERROR_ENGINE": engine, "ERROR_INDEX": index}
    link.stuck = stuck
    with pytest.raises(DeviceFault) as e:
        host.execute(INPUT)
    assert (e.value.code, e.value.engine, e.value.index) == (code, name, index)
    assert e.value.stuck == stuck
    assert ("does not come out of its reset" in str(e.value)) == stuck
    if stuck:
        with pytest.raises(MachineError, match="does not come out of its reset"):
            host.execute(INPUT)
        link.stuck = False
        with pytest.raises(DeviceFault):
            host.execute(INPUT)


def test_a_page_is_free_between_regions() -> None:
    """So that an address behind the end of one is in none."""
    p = Program(name="net", config=PRESETS["tiny"], image=bytes(PAGE), instruction_count=0,
                inputs=[], outputs=[], region_sizes={
                    Region.PROGRAM: PAGE, Region.INPUT: PAGE + 1, Region.OUTPUT: 1,
                    Region.WORKSPACE: 0})
    starts = layout(p, PAGE)
    ends = {r: starts[r] + region_bytes(p, r) for r in Region}
    for one in Region:
        for other in Region:
            assert one == other or starts[other] >= ends[one] + PAGE or \
                starts[one] >= ends[other] + PAGE
