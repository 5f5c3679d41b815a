# SPDX-License-Identifier: Apache-2.0
"""A memory that answers with errors, wrongly, out of order or not at all, on the whole machine.

The harness watches the rules that the machine has to keep on the bus in all of these runs; a breach
would be a SimulationError."""

import numpy as np
import pytest

from isa.instructions import Fault, Instruction, Opcode, Region, assembled
from isa.presets import PRESETS
from isa.program import Program
from runtime.device import DeviceFault, MachineError
from sim.device import RtlDevice
from sim.harness import DramModel

CONFIG = PRESETS["tiny"]
LOADS, WORDS, BURSTS = 4, 64, 2
"""Instructions of each kind, words of each, and bursts that those take."""

BEATS = WORDS * CONFIG.word_bytes // CONFIG.bus_bytes // BURSTS
BYTES = LOADS * WORDS * CONFIG.word_bytes
FETCH, DATA = 1, 0
"""IDs on the bus."""


def copies() -> Program:
    """LOADs 0 … 3, then STOREs 4 … 7, each of which waits for its LOAD: four to a burst."""
    code = []
    for opcode, region in ((Opcode.LOAD, Region.INPUT), (Opcode.STORE, Region.OUTPUT)):
        for k in range(LOADS):
            waits = dict(wait_mask=1, wait_load=k + 1) if opcode is Opcode.STORE else {}
            code.append(Instruction(opcode, dict(
                region=region, dram=k * WORDS * CONFIG.word_bytes, spm=k * WORDS, n0=WORDS, n1=1,
                n2=1, n3=1, **waits)))
    code.append(Instruction(Opcode.END))
    return Program(name="copies", config=CONFIG, image=assembled(code),
                   instruction_count=len(code), inputs=[], outputs=[],
                   region_sizes={Region.INPUT: BYTES, Region.OUTPUT: BYTES})


INPUTS = np.random.default_rng(3).integers(1, 256, BYTES, np.uint8)

ERRORS = [
    ("read SLVERR", DATA, 3, Fault.AXI_SLVERR, "load", 1),
    ("read DECERR", DATA, 7, Fault.AXI_DECERR, "load", 3),
    ("read SLVERR", FETCH, 1, Fault.AXI_SLVERR, "", 4),
    ("read DECERR", FETCH, 2, Fault.AXI_DECERR, "", 8),
    *(("write SLVERR", DATA, b, Fault.AXI_SLVERR, "store", 4 + b // 2) for b in range(8)),
    ("write DECERR", DATA, 2, Fault.AXI_DECERR, "store", 5)]
"""What the memory does, with which ID and burst, and what the machine has to say of it."""

BREACHES = [
    ("early RLAST", DATA, 3, "load", 1), ("missing RLAST", DATA, 3, "load", 1),
    ("wrong RID", DATA, 6, "load", 3), ("extra R", DATA, 3, "load", 2),
    ("extra R", DATA, 7, "load", 3), ("lost last R", DATA, 3, "load", 1),
    ("early RLAST", FETCH, 1, "", 4), ("missing RLAST", FETCH, 1, "", 7),
    ("wrong RID", FETCH, 0, "", 0), ("wrong BID", DATA, 0, "store", 4),
    ("wrong BID", DATA, 5, "store", 6)]

SILENCE = [
    ("lost R", DATA, 7, "load", 3), ("lost last R", DATA, 7, "load", 3),
    ("lost R", FETCH, 2, "", 8), ("lost B", DATA, 7, "store", 7),
    ("shut AR", DATA, 0, "load", 0), ("shut AR", DATA, 3, "load", 1), ("shut AR", FETCH, 0, "", 0),
    ("shut AW", DATA, 0, "store", 4), ("shut AW", DATA, 3, "store", 5),
    ("shut W", DATA, 0, "store", 4), ("shut W", DATA, 5 * BEATS + 3, "store", 6)]


def run(dram: DramModel, code: Fault, engine: str, index: int) -> tuple[RtlDevice, DeviceFault]:
    """The device behind a memory, after it has stopped as it has to."""
    device, program = RtlDevice(CONFIG, dram=dram, watchdog=2_000, max_cycles=200_000), copies()
    device.load(program)
    with pytest.raises(DeviceFault) as e:
        device.execute(INPUTS)
    assert (e.value.code, e.value.engine, e.value.index) == (code, engine, index)
    assert f"instruction {index}, " in str(e.value)
    assert np.array_equal(device.memory(Region.PROGRAM)[:len(program.image)],
                          np.frombuffer(program.image, np.uint8))
    assert np.array_equal(device.memory(Region.INPUT), INPUTS)
    out = device.memory(Region.OUTPUT)
    assert ((out == 0) | (out == INPUTS)).all()
    return device, e.value


def goes_on(device: RtlDevice) -> None:
    """The mischief was of one burst alone, so that the next run is right."""
    assert np.array_equal(device.execute(INPUTS).outputs, INPUTS)
    device.close()


@pytest.mark.parametrize("stall", [0.0, 0.3])
@pytest.mark.parametrize("what, number, burst, code, engine, index", ERRORS)
def test_error_responses(what, number, burst, code, engine, index, stall):
    dram = DramModel(mischief=((what, number, burst),), stall=stall, read_latency=9,
                     write_latency=3)
    device, fault = run(dram, code, engine, index)
    assert not fault.stuck
    goes_on(device)


@pytest.mark.parametrize("what, number, burst, engine, index", BREACHES)
def test_broken_rules(what, number, burst, engine, index):
    device, fault = run(DramModel(mischief=((what, number, burst),)), Fault.AXI_PROTOCOL, engine,
                        index)
    if what == "lost last R":
        assert fault.stuck, "the reset waits for the beat that was lost"
        device.close()
    else:
        goes_on(device)


@pytest.mark.parametrize("what, number, burst, engine, index", SILENCE)
def test_silence(what, number, burst, engine, index):
    """Told first; then that the machine does not come out of its reset, since AXI does not let it
    withdraw; loading again, with a reset of everything, does."""
    device, fault = run(DramModel(mischief=((what, number, burst),)), Fault.BUS_TIMEOUT, engine,
                        index)
    assert fault.stuck and "does not come out of its reset" in str(fault)
    with pytest.raises(MachineError, match="does not come out of its reset"):
        device.execute(INPUTS)
    device.close()


@pytest.mark.parametrize("seed", range(4))
def test_reads_in_any_order(seed):
    """Instructions and data, whose bursts have different IDs, come mixed beat by beat."""
    device = RtlDevice(CONFIG, dram=DramModel(reorder=0.5, stall=0.2, seed=seed))
    device.load(copies())
    goes_on(device)
