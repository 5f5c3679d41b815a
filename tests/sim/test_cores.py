# SPDX-License-Identifier: Apache-2.0
"""Several real cores of the smallest machine in front of one memory."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from compiler import compile_model
from examples.digits import INPUT, INT8, held_out
from isa.config import Config
from isa.instructions import Fault, Instruction, Opcode, Region
from isa.presets import PRESETS
from isa.program import Program, ProgramError
from isa.registers import OFFSET
from runtime.device import DeviceFault, MachineError, Result
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from sim.cores import Outcome, RtlCores
from sim.device import RtlDevice
from sim.harness import DramModel
from tests.sim import standin

TINY = PRESETS["tiny"]
IMAGES = held_out()[0][:4]

AMPLE = DramModel(channels=16)
STALLS = DramModel(channels=2, stall=0.3, reorder=0.2, seed=7)


class Recorded(GoldenDevice):
    """The golden model, and the regions that went in and came out."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.taken: list[np.ndarray] = []
        self.given: list[np.ndarray] = []

    def execute(self, inputs: np.ndarray) -> Result:
        result = super().execute(inputs)
        self.taken.append(inputs.copy())
        self.given.append(result.outputs.copy())
        return result


@pytest.fixture(scope="module")
def program() -> Program:
    return compile_model(INT8, TINY, allow_host=("QuantizeLinear", "DequantizeLinear"))


@pytest.fixture(scope="module")
def golden(program) -> Recorded:
    """Four digits, packed, and what the golden model makes of them."""
    device = Recorded(TINY)
    Session(program, device).run({INPUT: IMAGES})
    assert len({given.tobytes() for given in device.given}) == 4
    return device


def loaded(program: Program, cores: int, dram: DramModel | None = None, **options) -> RtlCores:
    device = RtlCores(TINY, cores, dram=dram, **options)
    device.load(program)
    return device


def counted(outcomes: Sequence[Outcome], name: str = "CYCLES") -> list[int]:
    return [outcome.result.counters[name] for outcome in outcomes]


def right(outcomes: Sequence[Outcome], golden: Recorded, skip: int = 0) -> bool:
    return all(np.array_equal(outcome.result.outputs, given)
               for outcome, given in zip(outcomes, golden.given[skip:]))


@pytest.mark.parametrize("dram", [
    DramModel(), DramModel(bandwidth=0.5), DramModel(stall=0.3, reorder=0.3, seed=4)], ids=str)
def test_one_core_is_the_simulated_device(program, golden, dram):
    alone = RtlDevice(TINY, dram=dram)
    alone.load(program)
    expected = alone.execute(golden.taken[0])
    device = loaded(program, 1, dram)
    outcome, = device.execute(golden.taken[:1])
    assert outcome.result.counters == expected.counters
    assert np.array_equal(outcome.result.outputs, expected.outputs)
    assert right([outcome], golden)


@pytest.mark.parametrize("dram,delays", [
    (DramModel(), (0, 0)), (STALLS, (500, 0)), (DramModel(bandwidth=0.3), (0, 0, 0, 0)),
    (STALLS, (0, 1, 5000, 20_000)),
    (replace(STALLS, channels=5, max_reads=2, max_writes=1), (0, 3, 3, 100))], ids=str)
def test_every_core_gives_the_golden_models_bits(program, golden, dram, delays):
    device = loaded(program, len(delays), dram)
    assert right(device.execute(golden.taken[:len(delays)], delays), golden)


def test_a_program_for_each_core(program, golden):
    """Another program beside, whose image lies elsewhere; both as alone."""
    other = replace(program, image=program.image + bytes(4096), region_sizes={
        **program.region_sizes, Region.PROGRAM: program.region_sizes[Region.PROGRAM] + 4096})
    device = RtlCores(TINY, 3)
    device.load(program, other, program)
    first, second, third = (device.harness.read(OFFSET["REGION0_BASE"], core)
                            for core in range(3))
    assert first == third != second
    assert right(device.execute(golden.taken[:3]), golden)


def test_regions_are_each_cores_own_and_the_image_is_shared(program):
    device = loaded(program, 4)
    for region in Region:
        bases = {device.harness.read(OFFSET[f"REGION{int(region)}_BASE"], core)
                 for core in range(4)}
        assert len(bases) == (1 if region is Region.PROGRAM else 4)


def test_counters_and_statistics_add_up(program, golden):
    device = loaded(program, 4, STALLS)
    outcomes = device.execute(golden.taken)
    assert counted(outcomes, "DRAM_READ_BYTES") == [o.read_bytes for o in outcomes]
    assert counted(outcomes, "DRAM_WRITE_BYTES") == [o.write_bytes for o in outcomes]
    moved = sum(o.read_bytes + o.write_bytes for o in outcomes)
    assert sum(device.harness.channel_beats) * TINY.bus_bytes == moved
    assert len({o.read_bytes for o in outcomes}) == 1


@pytest.mark.parametrize("dram", [DramModel(bandwidth=0.5), DramModel(bandwidth=0.25),
                                  DramModel(channels=2, bandwidth=0.25)], ids=str)
def test_equal_programs_end_together(program, golden, dram):
    cycles = counted(loaded(program, 4, dram).execute(golden.taken))
    assert max(cycles) <= 1.04 * min(cycles)
    alone = counted(loaded(program, 1, dram).execute(golden.taken[:1]))[0]
    assert min(cycles) > 1.2 * alone    # there is something to share


def test_with_ample_bandwidth_each_is_nearly_as_if_alone(program, golden):
    """Started together, all want the same bytes of PROGRAM, of the same channel."""
    alone = counted(loaded(program, 1).execute(golden.taken[:1]))[0]
    for cores in (2, 4):
        cycles = counted(loaded(program, cores, AMPLE).execute(golden.taken[:cores]))
        assert alone <= min(cycles) and max(cycles) <= 1.03 * alone


def test_a_delay_is_part_of_the_outcome(program, golden):
    device = loaded(program, 2, AMPLE)
    early, late = device.execute(golden.taken[:2], (0, 100_000))
    assert late.cycles - early.cycles == pytest.approx(100_000, rel=0.001)
    assert counted([early]) == counted([late])
    both = device.execute(golden.taken[:2], (100_000, 100_000))
    assert max(o.cycles for o in both) == pytest.approx(early.cycles, rel=0.01)


def test_a_core_that_faults_disturbs_no_other(program, golden):
    image = bytearray(program.image)
    image[sum(map(len, program.codes()[:20]))] = 0xEE
    bad = replace(program, image=bytes(image))
    device = RtlCores(TINY, 3, dram=DramModel(bandwidth=0.5))
    device.load(program, bad, program)
    for _ in range(2):
        first, fault, third = device.execute(golden.taken[:3], (0, 50, 100))
        assert isinstance(fault.found, DeviceFault)
        assert (fault.found.code, fault.found.index) == (Fault.ILLEGAL_OPCODE, 20)
        with pytest.raises(DeviceFault, match="stopped at instruction 20"):
            _ = fault.result
        assert fault.cycles < first.cycles
        assert right([first], golden) and right([third], golden, 2)
    device.load(program)
    assert right(device.execute(golden.taken[:3]), golden)


def test_a_core_that_hangs_is_named():
    text = standin.verilog(TINY).replace("mode != HANG", "mode == HANG")
    device = RtlCores(TINY, 2, verilog=text, max_cycles=3000)
    device.load(standin.program(TINY))
    size = standin.program(TINY).region_sizes[Region.INPUT]
    with pytest.raises(MachineError, match="core 0: program 'add-one' raised no interrupt in 3000"):
        device.execute([np.zeros(size, np.uint8)] * 2)


def test_after_a_core_that_hung_the_others_go_on(program, golden):
    """It waits for ever, and its watchdog is too patient."""
    wait = Instruction(Opcode.STORE, {"region": Region.OUTPUT, "n0": 1, "n1": 1, "n2": 1, "n3": 1,
                                      "wait_mask": 1, "wait_load": 9}).encode()
    bad = replace(program, image=wait + program.image[len(wait):])
    device = RtlCores(TINY, 2, watchdog=10**9, max_cycles=100_000)
    device.load(program, bad)
    with pytest.raises(MachineError, match="core 1: .* raised no interrupt in 100000 cycles"):
        device.execute(golden.taken[:2])
    device.load(program)
    assert right(device.execute(golden.taken[:2]), golden)


def test_what_does_not_fit_is_refused(program, golden):
    device = RtlCores(TINY, 3)
    with pytest.raises(RuntimeError, match="no program is loaded"):
        device.execute(golden.taken[:3])
    with pytest.raises(ValueError, match="2 programs for 3 cores: give one for all, or one for ea"):
        device.load(program, program)
    with pytest.raises(ProgramError, match="compiled for 'core256'"):
        device.load(standin.program(PRESETS["core256"]))
    device.load(program)
    with pytest.raises(ValueError, match="inputs for 2 cores, but there are 3"):
        device.execute(golden.taken[:2])
    with pytest.raises(ValueError, match="delays for 1 cores, but there are 3"):
        device.execute(golden.taken[:3], [5])
    with pytest.raises(ValueError, match="takes .* input bytes"):
        device.execute([np.zeros(1, np.uint8)] * 3)
