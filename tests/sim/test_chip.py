# SPDX-License-Identifier: Apache-2.0
"""A whole chip of two of the smallest cores: jobs of several images, faults, isolation."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from compiler import compile_model
from examples.digits import INPUT, INT8, held_out
from isa.chip import CHIPS
from isa.config import ConfigError
from isa.instructions import Fault, Region
from isa.presets import PRESETS
from isa.program import Program, ProgramError
from runtime.chip_host import Chip, Lease, places_bytes, teams
from runtime.device import DeviceFault, MachineError, Result
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from hw.chip.top import UNCORE, verilog as chip_verilog
from sim.build import build, rtl
from sim.chip import kind, simulation
from sim.chip_device import LeasedCores, RtlChip
from sim.device import HarnessLink
from sim.harness import DramModel, Harness
from sim.shared_chip import SharedChip

CHIP = CHIPS["chip2_tiny"]
TINY = CHIP.core
IMAGES = held_out()[0][:4]
BASE = 1 << 20
STALLS = DramModel(stall=0.2, reorder=0.3, seed=5)


@pytest.fixture(scope="module")
def program() -> Program:
    return compile_model(INT8, TINY, allow_host=("QuantizeLinear", "DequantizeLinear"))


@pytest.fixture(scope="module")
def golden(program) -> dict[str, np.ndarray]:
    return Session(program, GoldenDevice(TINY)).run({INPUT: IMAGES})


def bad(program: Program) -> Program:
    """The same, with an instruction that no machine has in front."""
    image = bytes(range(200, 232)) + program.image[32:]
    return Program(**{**vars(program), "image": image})


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("dram", [DramModel(), STALLS], ids=["quiet", "stalls"])
def test_images_on_all_cores_have_the_golden_bits(program, golden, cores, dram):
    with RtlChip(CHIP, dram=dram) as device:
        session = Session(program, device, cores=cores)
        assert same(session.run({INPUT: IMAGES}), golden)
        assert len(session.counters) == 4
        assert all(c["INSTRUCTIONS"] > 100 for c in session.counters)


def test_weights_and_instructions_are_read_once(program, golden):
    """By both cores together: what the second one adds are inputs and results."""
    moved = {}
    for cores in (1, 2):
        with RtlChip(CHIP) as device:
            session = Session(program, device, cores=cores)
            before = sum(device.harness.channel_beats)
            assert same(session.run({INPUT: IMAGES[:cores]}),
                        {k: v[:cores] for k, v in golden.items()})
            moved[cores] = (sum(device.harness.channel_beats) - before) * TINY.bus_bytes
    shared = len(program.image)
    assert moved[1] > shared and moved[2] < 2 * moved[1] - 0.9 * shared


def test_two_cores_take_less_time_than_one(program):
    took = {}
    for cores in (1, 2):
        with RtlChip(CHIP) as device:
            session = Session(program, device, cores=cores)
            before = device.harness.cycle
            session.run({INPUT: IMAGES})
            took[cores] = device.harness.cycle - before
    assert took[2] < 0.6 * took[1]


def test_two_threads_with_a_lease_each(program, golden):
    """Their executions are under way together, on one clock, and have their own bits; then each
    takes the other's core, and at last one has both."""
    shared = SharedChip(CHIP, dram=STALLS)
    devices = [LeasedCores(shared, k) for k in range(2)]
    took = []

    def run(k, cores, tenant):
        devices[k].assign(cores, tenant)
        session = Session(program, devices[k])
        found = session.run({INPUT: IMAGES[:2]})
        assert all(np.array_equal(found[name], right[:2]) for name, right in golden.items())
        assert set(session.ran_on) == set(cores)
        took.extend(c["CYCLES"] for c in session.counters)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, (0, 1), ([0], [1]), (1, 2)))
        assert shared.harness.cycle < 0.7 * sum(took)
        list(pool.map(run, (0, 1), ([1], [0]), (2, 1)))
    run(0, [0, 1], 3)
    shared.close()


def test_what_a_chip_cannot_lease():
    shared = SharedChip(CHIP)
    with pytest.raises(ConfigError, match="'chip2_tiny' has 2 job queues: there is none with numb"):
        LeasedCores(shared, 2)
    device = LeasedCores(shared, 1)
    for cores in ([], [1, 2]):
        with pytest.raises(ConfigError, match="'chip2_tiny' has 2 cores, from 0 on: there are no"):
            device.assign(cores, 1)
    shared.close()


def test_a_core_that_faults_leaves_the_other_its_bits(program, golden):
    """Two leases, two programs, one of them broken; after its fault the core works again."""
    with_fault, size = bad(program), places_bytes(program, 1)
    h = Harness(simulation(CHIP).path, STALLS, max_burst=TINY.max_burst)
    chip = Chip(HarnessLink(h, 10**7), CHIP)
    h.allocate(BASE, 2 * size)
    leases = [Lease(chip, k, 1 << k, tenant=k + 1, base=BASE + k * size) for k in range(2)]
    leases[0].load(with_fault, 1)
    leases[1].load(program, 1)
    region = np.random.default_rng(0).integers(0, 256, program.region_sizes[Region.INPUT], np.uint8)
    with GoldenDevice(TINY) as device:
        device.load(program)
        right = device.execute(region).outputs
    for lease in leases:
        lease.begin([region])
    (fault,), (result,) = (lease.end() for lease in leases)
    assert isinstance(fault, DeviceFault) and fault.code is Fault.ILLEGAL_OPCODE
    assert isinstance(result, Result) and np.array_equal(result.outputs, right)
    leases[0].load(program, 1)
    (again,) = leases[0].execute_all([region])
    assert isinstance(again, Result) and np.array_equal(again.outputs, right)
    h.close()


@pytest.mark.long
@pytest.mark.parametrize("dram", [DramModel(), STALLS], ids=["quiet", "stalls"])
def test_one_design_takes_the_same_cycles(program, golden, dram):
    """The joined cores and the uncore are the chip: against its whole Verilog in one piece."""
    whole = build(chip_verilog(CHIP, gated=True, name=UNCORE), kind=kind(CHIP, cores=0),
                  beside={"makalu": rtl(TINY, trace=True, gated=True)})
    taken = {}
    for name, library in (("joined", simulation(CHIP)), ("whole", whole)):
        with RtlChip(CHIP, dram=dram, library=library) as device:
            session = Session(program, device)
            assert same(session.run({INPUT: IMAGES}), golden)
            taken[name] = (session.counters, device.harness.cycle)
    assert taken["joined"] == taken["whole"]


def test_errors_of_one_image_reach_the_session(program):
    with RtlChip(CHIP) as device:
        session = Session(bad(program), device)
        with pytest.raises(DeviceFault, match="illegal opcode"):
            session.run({INPUT: IMAGES[:2]})


def test_another_chip_is_refused():
    h = Harness(simulation(CHIP).path, DramModel(), max_burst=TINY.max_burst)
    with pytest.raises(MachineError, match="not a 'chip4_small': its configuration hash"):
        Chip(HarnessLink(h, 1000), CHIPS["chip4_small"])
    h.close()


def test_what_a_chip_does_not_have():
    with pytest.raises(ConfigError, match="'chip2_tiny' has 2 cores: use 1 to 2, not 3"):
        RtlChip(CHIP, 3)


def test_a_session_asks_for_no_more_cores_than_there_are(program):
    with pytest.raises(ValueError, match="'golden' runs 2 executions of program .* not 3"):
        Session(program, GoldenDevice(TINY, cores=2), cores=3)


@pytest.mark.parametrize("cores, ranks, count", [
    (range(4), 1, 4), (range(4), 2, 2), (range(5), 2, 2), (range(6), 3, 2), (range(4), 3, 1),
    ([0, 1, 3, 4], 2, 1), ([1, 2, 3, 4], 2, 2), ([0, 2, 4], 2, 0), ([0, 2, 4], 1, 3)])
def test_teams_lie_side_by_side(cores, ranks, count):
    assert teams([*cores], ranks) == count


def test_a_program_for_another_machine(program):
    other = compile_model(INT8, PRESETS["core256"],
                          allow_host=("QuantizeLinear", "DequantizeLinear"))
    with RtlChip(CHIP) as device, pytest.raises(ProgramError, match="compiled for .core256."):
        device.load(other)
