# SPDX-License-Identifier: Apache-2.0
"""The machine that is simulated, with gated clocks and rewritten Verilog, against the Verilog that
is shipped: in every run equal outputs, counters, traces and cycles; through stalls, faults, resets
in mid-flight and the watchdog."""

import dataclasses
import functools

import numpy as np
import pytest

from isa.instructions import Instruction, Opcode, Region, assembled
from isa.presets import PRESETS
from isa.program import Program
from runtime.device import DeviceFault, MachineError
from sim import build, device
from sim.device import RtlDevice
from sim.harness import DramModel
from tests.e2e.programs import chain, contents, tensor, vector, whole, window
from tests.e2e.test_faults import BAD, bad_program, raw

CONFIG = PRESETS["tiny"]
PLAIN = dataclasses.replace(build.MACHINE, rewritten=False)


@pytest.fixture
def machines(monkeypatch):
    """Gives both devices, set up alike."""
    made: list[RtlDevice] = []
    text = build.rtl(CONFIG, trace=True)

    def both(**kwargs):
        made.append(RtlDevice(CONFIG, **kwargs))
        with monkeypatch.context() as patch:
            patch.setattr(device, "build", functools.partial(build.build, kind=PLAIN))
            made.append(RtlDevice(CONFIG, verilog=text, **kwargs))
        return made[-2:]

    yield both
    for one in made:
        one.close()


def observed(machine: RtlDevice, inputs: np.ndarray) -> list[object]:
    """All that there is to see of an execution."""
    try:
        result = machine.execute(inputs)
        seen: list[object] = [result.outputs.tobytes(), result.counters]
    except DeviceFault as e:
        seen = [e.code, e.index]
    except MachineError as e:
        seen = [str(e)]
    return [*seen, machine.trace.tobytes(), machine.harness.cycle, machine.simulated_cycles,
            machine.memory(Region.OUTPUT).tobytes()]


def some_program(seed: int, chained: bool) -> tuple[Program, np.ndarray]:
    """Random instructions, one after another or without any order among them."""
    rng = np.random.default_rng(seed)
    instructions: list[Instruction] = []
    for _ in range(8):
        instructions += [*tensor(rng, CONFIG), window(rng, CONFIG), vector(rng, CONFIG)]
    code = [*whole(CONFIG, Region.INPUT, Opcode.LOAD), *instructions,
            *whole(CONFIG, Region.OUTPUT, Opcode.STORE)]
    chain(code)
    if not chained:
        for i in code[1:-1]:
            i.fields["wait_mask"] = int(rng.integers(32)) & i.wait_mask
    code.append(Instruction(Opcode.END))
    return (raw(assembled(code), len(code)),
            contents(rng, CONFIG, instructions).reshape(-1))


@pytest.mark.parametrize("chained", [True, False])
@pytest.mark.parametrize("dram", [DramModel(), DramModel(read_latency=200, write_latency=150),
                                  DramModel(stall=0.3, seed=5)], ids=str)
def test_random_programs(machines, dram, chained):
    pair = machines(dram=dram)
    for seed in range(3):
        p, inputs = some_program(seed, chained)
        for machine in pair:
            machine.load(p)
        for _ in range(2):
            gated, plain = (observed(machine, inputs) for machine in pair)
            assert gated == plain


@pytest.mark.parametrize("name", BAD)
def test_faults(machines, name):
    pair = machines(watchdog=5_000)
    p, inputs = bad_program(BAD[name][0]), np.zeros(CONFIG.spm_bytes, np.uint8)
    for machine in pair:
        machine.load(p)
    for _ in range(2):
        gated, plain = (observed(machine, inputs) for machine in pair)
        assert gated == plain and gated[0] is BAD[name][1]


@pytest.mark.parametrize("region", [Region.INPUT, Region.PROGRAM, Region.OUTPUT])
def test_errors_of_the_memory(machines, region):
    pair = machines()
    p, inputs = some_program(7, True)
    for machine in pair:
        machine.load(p)
        low = machine.address(region) + 1024
        machine.harness.inject(low, low + 8, "SLVERR")
    gated, plain = (observed(machine, inputs) for machine in pair)
    assert gated == plain and len(gated) == 6


def test_resets_in_mid_flight(machines):
    """Broken off at some cycle, reset by the host, and run again."""
    p, inputs = some_program(9, True)
    for limit in range(400, 4000, 300):
        pair = machines(max_cycles=limit)
        for machine in pair:
            machine.load(p)
        for _ in range(2):
            gated, plain = (observed(machine, inputs) for machine in pair)
            assert gated == plain
        for machine in pair:
            machine._link._max_cycles = 10**6
        gated, plain = (observed(machine, inputs) for machine in pair)
        assert gated == plain and isinstance(gated[0], bytes)


def test_the_watchdog(machines):
    pair = machines(watchdog=2_000)
    stuck = Instruction(Opcode.VECTOR, dict(wait_mask=1, wait_load=9))
    p = raw(assembled([stuck, Instruction(Opcode.END)]), 2)
    for machine in pair:
        machine.load(p)
    gated, plain = (observed(machine, np.zeros(CONFIG.spm_bytes, np.uint8)) for machine in pair)
    assert gated == plain
