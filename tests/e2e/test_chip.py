# SPDX-License-Identifier: Apache-2.0
"""Programs side by side on a simulated chip: each has the golden model's bits, whatever the others
do, and finds nothing of theirs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from compiler import compile_model
from examples.digits import INT8
from golden.machine import Machine
from isa.chip import CHIPS, ChipConfig
from isa.instructions import Fault, Instruction, Opcode, Region, assembled
from isa.program import Program
from runtime.chip_host import Chip, Lease, places_bytes
from runtime.device import DeviceFault, MachineError, Result
from runtime.golden_device import GoldenDevice
from sim.chip import simulation
from sim.chip_device import RtlChip
from sim.device import HarnessLink
from sim.harness import DramModel, Harness
from tests.e2e.gangs import random_exchange
from tests.e2e.programs import chain, contents, program, tensor, vector, window
from tests.e2e.test_tenants import FILL, SECRET, SPY, of

CHIP = CHIPS["chip2_tiny"]
TINY = CHIP.core
BASE = 1 << 20
SPACE = 1 << 18
"""Bytes of each lease's part of memory."""


@contextmanager
def chip(dram: DramModel, watchdog: int | None = None) -> Iterator[tuple[Chip, list[Lease]]]:
    """A chip with a lease for each core."""
    h = Harness(simulation(CHIP).path, dram, max_burst=TINY.max_burst)
    control = Chip(HarnessLink(h, 10**7), CHIP)
    h.allocate(BASE, CHIP.cores * SPACE)
    yield control, [Lease(control, k, 1 << k, tenant=k + 1, base=BASE + k * SPACE,
                          watchdog=watchdog) for k in range(CHIP.cores)]
    h.close()


def random_instructions(rng: np.random.Generator) -> list[Instruction]:
    made = []
    while len(made) < 8:
        kind = rng.random()
        made += (tensor(rng, TINY) if kind < 0.5 else
                 [window(rng, TINY) if kind < 0.8 else vector(rng, TINY)])
    return made


def random_program(rng: np.random.Generator) -> tuple[Program, np.ndarray]:
    made = random_instructions(rng)
    return program(TINY, made), contents(rng, TINY, made).reshape(-1)


def random_gang(rng: np.random.Generator) -> tuple[Program, np.ndarray]:
    """A program with some constants, whose LOADs are of the gang or not, among inputs."""
    made = random_instructions(rng)
    given = contents(rng, TINY, made).reshape(-1)
    loads, at, blank = [], 0, program(TINY, made)
    while at < TINY.spm_words:
        words = min(int(rng.integers(1, TINY.spm_words // 4)), TINY.spm_words - at)
        region = rng.choice([Region.PROGRAM, Region.PROGRAM, Region.INPUT])
        loads.append(Instruction(Opcode.LOAD, {
            "region": int(region), "dram": at * TINY.word_bytes, "spm": at, "n0": words, "n1": 1,
            "n2": 1, "n3": 1, "group": int(region == Region.PROGRAM and rng.random() < 0.8)}))
        at += words
    everything = [*loads, *blank.instructions()[1:]]
    chain(everything)
    constants = len(assembled(everything))
    for load in loads:
        load.fields["dram"] += constants if load.fields["region"] == Region.PROGRAM else 0
    image = assembled(everything) + given.tobytes()
    return Program(**{**vars(blank), "image": image, "instruction_count": len(everything),
                      "region_sizes": {**blank.region_sizes, Region.PROGRAM: len(image)}}), given


@pytest.mark.parametrize("seed, pairs", [(0, 6), (1, 6), pytest.param(
    2, 1000, marks=pytest.mark.long)])
def test_random_programs_side_by_side(seed: int, pairs: int) -> None:
    """Two at a time, each with its own, behind a memory that stalls and answers out of order."""
    rng = np.random.default_rng(seed)
    dram = DramModel(stall=(0.3, 0.05, 0.1)[seed], reorder=0.3, seed=seed)
    with chip(dram) as (_, leases):
        for _ in range(pairs):
            given = [random_program(rng) for _ in leases]
            for lease, (p, _) in zip(leases, given, strict=True):
                assert places_bytes(p, 1) <= SPACE
                lease.load(p, 1)
            for lease, (_, inputs) in zip(leases, given, strict=True):
                lease.begin([inputs])
            for lease, (p, inputs) in zip(leases, given, strict=True):
                (result,) = lease.end()
                assert isinstance(result, Result), result
                assert np.array_equal(result.outputs,
                                      Machine(TINY).run(p.image, inputs, p.region_sizes))


def random_sends(rng: np.random.Generator) -> tuple[Program, np.ndarray]:
    """Ranks with streams of their own, which send to one another."""
    p, (given,) = random_exchange(rng, TINY, CHIP.cores)
    return p, given


@pytest.mark.parametrize("seed, programs", [(0, 8), (1, 8), pytest.param(
    2, 1000, marks=pytest.mark.long)])
@pytest.mark.parametrize("make", [random_gang, random_sends])
def test_random_programs_on_all_cores(
        make: Callable[[np.random.Generator], tuple[Program, np.ndarray]], seed: int, programs: int
        ) -> None:
    """Each core at its own pace; the golden model takes another order each time."""
    rng = np.random.default_rng(seed)
    dram = DramModel(stall=(0.3, 0.05, 0.1)[seed], reorder=0.3, seed=seed)
    with RtlChip(CHIP, dram=dram) as device:
        for k in range(programs):
            p, given = make(rng)
            golden = GoldenDevice(TINY, seed=k)
            for each in (golden, device):
                each.load(p)
            right = golden.execute(given).outputs
            for result in device.execute_all([given] * (CHIP.cores // p.ranks)):
                assert np.array_equal(result.outputs, right)


@pytest.mark.parametrize("ranks, seed, programs", [
    (2, 0, 3), (3, 1, 3), (6, 2, 2), pytest.param(2, 1, 300, marks=pytest.mark.long),
    pytest.param(3, 2, 300, marks=pytest.mark.long)])
def test_random_programs_of_teams(ranks: int, seed: int, programs: int) -> None:
    """Six cores in clusters of two: as many teams as there is room for, with an input each. Their
    constants are read together, and their cores send within clusters and across."""
    chip = ChipConfig(name="six", core=TINY, cores=6, channels=1, cluster=2)
    rng = np.random.default_rng(seed)
    dram = DramModel(stall=(0.3, 0.05, 0.1)[seed], reorder=0.3, seed=seed)
    with RtlChip(chip, dram=dram) as device:
        for k in range(programs):
            p, given = random_exchange(rng, TINY, ranks, chip.cores // ranks)
            golden = GoldenDevice(TINY, seed=k)
            for each in (golden, device):
                each.load(p)
            for region, result in zip(given, device.execute_all(given), strict=True):
                assert np.array_equal(result.outputs, golden.execute(region).outputs)


@pytest.mark.parametrize("tenant", [1, 2])
def test_another_tenant_finds_zeros(tenant: int) -> None:
    """The same one finds its own bytes, which shows that there is something to find."""
    with chip(DramModel()) as (control, (lease, _)):
        lease.load(of(FILL), 1)
        lease.execute_all([SECRET])
        spy = Lease(control, 0, 1, tenant, BASE)
        spy.load(of(SPY), 1)
        (found,) = spy.execute_all([SECRET])
        assert isinstance(found, Result)
        assert np.array_equal(found.outputs, SECRET if tenant == 1 else np.zeros_like(SECRET))


@pytest.fixture(scope="module")
def digits() -> tuple[Program, np.ndarray, np.ndarray]:
    """A network, an image, and what the golden model makes of it."""
    p = compile_model(INT8, TINY, allow_host=("QuantizeLinear", "DequantizeLinear"))
    region = np.random.default_rng(0).integers(0, 256, p.region_sizes[Region.INPUT], np.uint8)
    with GoldenDevice(TINY) as device:
        device.load(p)
        return p, region, device.execute(region).outputs


def test_a_core_that_the_memory_does_not_answer_disturbs_no_other(digits) -> None:
    """Core 0 waits for its last burst of a channel, which never comes, until its watchdog, and
    stays in its reset; core 1 has its bits, in as many cycles as beside a core that works."""
    p, region, right = digits
    last = TINY.spm_bytes // (CHIP.channels * TINY.max_burst * TINY.bus_bytes) - 1
    taken = {}
    for name, dram in (("beside work", DramModel()),
                       ("beside a hang", DramModel(mischief=(("lost R", 0, last),)))):
        with chip(dram, watchdog=3000) as (control, leases):
            for lease, q, given in zip(leases, (of(FILL), p), (SECRET, region), strict=True):
                lease.load(q, 1)
                lease.begin([given])
            (first,), (second,) = (lease.end() for lease in leases)
            assert isinstance(second, Result) and np.array_equal(second.outputs, right)
            taken[name] = second.counters["CYCLES"]
            if name == "beside work":
                assert isinstance(first, Result)
                continue
            assert isinstance(first, DeviceFault) and first.code is Fault.BUS_TIMEOUT
            for _ in range(3):
                (again,) = leases[1].execute_all([region])
                assert isinstance(again, Result) and np.array_equal(again.outputs, right)
            assert (control.read("RESETTING"), control.read("RUNNING")) == (0b01, 0)
    assert taken["beside a hang"] <= taken["beside work"]


def test_a_member_that_hangs_disturbs_no_other(digits) -> None:
    """Of a gang, whose other core waits for it meanwhile, longer than its own watchdog allows: both
    have the same. Then the other works alone."""
    p, region, right = digits
    with RtlChip(CHIP, dram=DramModel(mischief=(("lost R", 0, 0),)), watchdog=3000) as device:
        device.load(p)
        first, second = device.outcomes([region] * 2)
        assert isinstance(first, DeviceFault) and first.code is Fault.BUS_TIMEOUT
        assert isinstance(second, Result) and np.array_equal(second.outputs, right)
        assert second.counters["CYCLES"] > 3000
        for _ in range(2):
            assert np.array_equal(device.execute(region).outputs, right)


def test_members_that_ask_for_different_words_find_out() -> None:
    """What is no constant is elsewhere for each core; the first member of the gang is told, and the
    other one has what it asked for."""
    p, given = random_program(np.random.default_rng(0))
    load = p.instructions()[0]
    wrong = Instruction(load.opcode, {**load.fields, "group": 1}).encode()
    image = wrong + p.image[len(load.encode()):]
    p = Program(**{**vars(p), "image": image})
    with RtlChip(CHIP, watchdog=3000) as device:
        device.load(p)
        first, second = device.outcomes([given] * 2)
        assert isinstance(first, DeviceFault) and (first.code, first.index) == (Fault.GROUP, 0)
        assert isinstance(second, Result) and np.array_equal(
            second.outputs, Machine(TINY).run(p.image, given, p.region_sizes))


def test_a_job_outside_its_window_touches_nothing(digits) -> None:
    """The driver's own jobs are inside; a window that shrinks behind its back refuses them."""
    p, region, _ = digits
    with chip(DramModel()) as (control, (lease, _)):
        lease.load(p, 1)
        control.write("QUEUE0_WINDOW_SIZE", 4096)
        lease.begin([region])
        with pytest.raises(MachineError, match="outside the window of its lease"):
            lease.end()
        assert control.read("QUEUE0_JOBS_HEAD") == 1
