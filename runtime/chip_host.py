# SPDX-License-Identifier: Apache-2.0
"""The host's side of a chip: leases, jobs and records (:mod:`isa.jobs`) over any link.

::

    Chip     the chip control's registers ─► leases: cores, a window of memory, two rings
             interrupt ─► each lease that has records takes them
    Lease    load: the program once, WORKSPACE, INPUT and OUTPUT for each place
             begin: a job for each execution ─► records ─► end: outputs

A place is what one execution at a time uses. One alone runs on whichever core of the lease is free;
several at the same time are a gang, whose cores read the program together. A program for several
cores has a team of a gang for each execution, cores that follow one another. Executions of several
leases are under way at the same time.
"""

from collections.abc import Sequence

import numpy as np

from isa.chip import ChipConfig
from isa.config import ISA_VERSION
from isa.instructions import GANG_QUEUES, KEPT, Fault, Region
from isa.jobs import (BLOCK, IDENT, OFFSET, POSITIONS, REFUSAL_TEXT, RING_LIMIT, Job, Outcome,
                      Record)
from isa.program import Program, ProgramError
from runtime.device import (DeviceFault, MachineError, Result, region_bytes, region_input)
from runtime.host import PAGE, Link, watchdog_cycles

SHARED = (Region.PROGRAM,)
"""Regions that all places have together."""

RING = 6
"""Logarithm of the jobs that a lease may have under way."""

assert RING <= RING_LIMIT

TENANTS = 0xFFFF
"""Numbers of tenants, from 1 on."""


class Chip:
    """A chip behind a link; the link's wait is for the chip's interrupt.

    Parameters
    ----------
    link : runtime.host.Link
    chip : ChipConfig
        What is expected.

    Raises
    ------
    MachineError
        If it is another chip, or does not answer.

    Attributes
    ----------
    leases : dict of int to Lease
        Who takes the records of each queue.
    """

    def __init__(self, link: Link, chip: ChipConfig):
        self.link, self.config = link, chip
        self.leases = dict[int, Lease]()
        version = ISA_VERSION[0] << 16 | ISA_VERSION[1]
        for what, want, got in (
                ("identification", IDENT, self.read("IDENT")),
                ("instruction set version", version, self.read("VERSION")),
                ("configuration hash", chip.hash, self.read_wide("CONFIG_HASH"))):
            if got != want:
                raise MachineError(f"the chip is not a {chip.name!r}: its {what} is {got:#x} "
                                   f"instead of {want:#x}")
        self.write("CONTROL", 1)

    def read(self, name: str) -> int:
        """A register of the chip control."""
        return self.link.read(OFFSET[name])

    def read_wide(self, name: str) -> int:
        """A register of 64 bits."""
        return self.read(name) | self.read(f"{name}_HI") << 32

    def write(self, name: str, value: int) -> None:
        """Change a register of the chip control."""
        self.link.write(OFFSET[name], value)

    def write_wide(self, name: str, value: int) -> None:
        """Change a register of 64 bits."""
        self.write(name, value & 0xFFFF_FFFF)
        self.write(f"{name}_HI", value >> 32)


    def wait(self) -> bool:
        """Wait for the interrupt, and have each lease that it is for take its records; false if it
        does not come."""
        if not self.link.wait():
            return False
        self.collect()
        return True

    def collect(self) -> None:
        """Have each lease that has records take them."""
        status = self.read("IRQ_STATUS")
        for queue, lease in self.leases.items():
            if status >> queue & 1:
                lease.take()


def side_by_side(cores: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """So many of some cores, given ascending, that follow one another: each way to take them."""
    return [tuple(cores[k:k + count]) for k in range(len(cores) - count + 1)
            if cores[k + count - 1] - cores[k] == count - 1]


def teams(cores: Sequence[int], ranks: int) -> int:
    """How many executions at a time some cores, given ascending, have room for, of a program that
    takes so many: of several side by side, and those of all executions, too."""
    if ranks == 1:
        return len(cores)
    return next((count for count in range(len(cores) // ranks, 0, -1)
                 if side_by_side(cores, count * ranks)), 0)


def places_bytes(program: Program, places: int) -> int:
    """Bytes of the window of a lease that runs a program in so many places, rings included."""
    return _Plan(program, places).end


class _Plan:
    """Where things lie in a lease's part of memory, from its first byte on."""

    def __init__(self, program: Program, places: int):
        self.end = 0
        self.jobs = self._take(BLOCK << RING)
        self.records = self._take(BLOCK << RING)
        self.window = self.end
        shared = {r: self._take(region_bytes(program, r)) for r in SHARED}
        self.places = [{**shared, **{r: self._take(region_bytes(program, r))
                                     for r in Region if r not in SHARED}} for _ in range(places)]

    def _take(self, size: int) -> int:
        at = self.end
        self.end += -(-size // PAGE) * PAGE
        return at


class Lease:
    """Some cores of a chip and a part of its memory, for one tenant.

    Parameters
    ----------
    chip : Chip
    queue : int
        Which job queue of the chip.
    cores : int
        Mask of its cores.
    tenant : int
        Whose it is, from 1 to :data:`TENANTS`: a core is cleared before it works for another one.
    base : int
        First byte of its memory, a multiple of 4096.
    watchdog : int, optional
        As :class:`runtime.host.Host` has it.

    Raises
    ------
    ValueError
        If there is no such tenant.
    """

    def __init__(self, chip: Chip, queue: int, cores: int, tenant: int, base: int,
                 watchdog: int | None = None):
        if not 1 <= tenant <= TENANTS:
            raise ValueError(f"tenant {tenant}: they have numbers from 1 to {TENANTS}")
        self._chip, self._name, self._cores = chip, f"QUEUE{queue}", cores
        self._base, self._watchdog = base, watchdog
        chip.write(f"{self._name}_TENANT", tenant)
        chip.write(f"{self._name}_RING", RING)
        self._position = self._taken = chip.read(f"{self._name}_JOBS_TAIL")
        self._count, self._found = 0, dict[int, Record]()
        chip.leases[queue] = self

    def load(self, program: Program, places: int) -> None:
        """Write a program, clear what its executions keep, and set up the queue, which is at rest.

        Raises
        ------
        isa.program.ProgramError
            If it takes more cores side by side than there are.
        """
        count = len(self._all())
        if not teams(self._all(), program.ranks):
            lie = "" if count < program.ranks else "not side by side, "
            raise ProgramError(f"program {program.name!r} takes {program.ranks} cores together, "
                               f"and there are {count}, {lie}of chip {self._chip.config.name!r}: "
                               "give it more, or compile it with --cores for as many")
        chip, plan, base, link = self._chip, _Plan(program, places), self._base, self._chip.link
        self._program, self._plan = program, plan
        for name, value in (("CORES", 0),   # a gang whose jobs were refused is no more
                            ("JOBS_BASE", base + plan.jobs), ("RECORDS_BASE", base + plan.records),
                            ("WINDOW_BASE", base + plan.window),
                            ("WINDOW_SIZE", plan.end - plan.window), ("CORES", self._cores)):
            chip.write_wide(f"{self._name}_{name}", value)
        size = region_bytes(program, Region.PROGRAM)
        link.write_memory(base + plan.places[0][Region.PROGRAM], np.frombuffer(
            program.image.ljust(size, b"\0"), np.uint8))
        for place in plan.places:
            for region in KEPT:
                link.write_memory(base + place[region],
                                  np.zeros(region_bytes(program, region), np.uint8))

    def execute_all(self, inputs: Sequence[np.ndarray]) -> list[Result | DeviceFault]:
        """Run the program once for each of the inputs, at most as many as there are places.

        Raises
        ------
        MachineError
            If the chip refuses a job or does not come back.
        """
        self.begin(inputs)
        return self.end()

    def begin(self, inputs: Sequence[np.ndarray]) -> None:
        """Write the inputs of executions, and post their jobs; :meth:`end` waits for them."""
        ranks, places = self._program.ranks, len(self._plan.places)
        if len(inputs) > places:
            raise ValueError(f"{len(inputs)} executions at a time, and there is room for {places}")
        self._count, self._found = ranks * len(inputs), {}
        for k, region in enumerate(inputs):
            self._chip.link.write_memory(self._base + self._plan.places[k][Region.INPUT],
                                         region_input(self._program, region))
        if ranks > 1:
            gang: Sequence[int] = self._side_by_side(self._count)
        elif len(inputs) > 1:
            gang = self._healthy(len(inputs))
        else:
            gang = []
        members = sum(1 << core for core in gang)
        for k in range(self._count):
            self._put(k, 1 << gang[k] if gang else self._cores, members)
        self._chip.write(f"{self._name}_JOBS_TAIL", self._position)

    def _all(self) -> list[int]:
        return [core for core in range(self._cores.bit_length()) if self._cores >> core & 1]

    def _healthy(self, count: int) -> list[int]:
        """So many cores of the lease, those last that are in reset."""
        resetting = self._chip.read_wide("RESETTING")
        return sorted(sorted(self._all(), key=lambda core: resetting >> core & 1)[:count])

    def _side_by_side(self, count: int) -> Sequence[int]:
        """So many cores of the lease that follow one another, none of them in reset if that can
        be."""
        resetting = self._chip.read_wide("RESETTING")
        return min(side_by_side(self._all(), count),
                   key=lambda run: sum(resetting >> core & 1 for core in run))

    @property
    def ended(self) -> bool:
        """Whether the executions have all ended, as far as records were taken."""
        return len(self._found) == self._count

    def end(self) -> list[Result | DeviceFault]:
        """What the executions have given, when all have ended."""
        while not self.ended:
            if not self._chip.wait():
                raise self.late(self._chip.link.patience)
        ranks = self._program.ranks
        return [self._together([self._result(place, k - place * ranks, self._found[k])
                                for k in range(place * ranks, (place + 1) * ranks)])
                for place in range(self._count // ranks)]

    def _together(self, found: list[Result | DeviceFault]) -> Result | DeviceFault:
        """What all ranks of an execution have given: the fault of one that did not only wait for
        the others, or the counters of all, of which the cycles are those of the last."""
        faults = [each for each in found if isinstance(each, DeviceFault)]
        if faults:
            return min(faults, key=lambda fault: fault.code is Fault.WATCHDOG)
        results = [each for each in found if isinstance(each, Result)]
        counters = {name: sum(r.counters[name] for r in results) for name in results[0].counters}
        counters["CYCLES"] = max(r.counters["CYCLES"] for r in results)
        return Result(results[0].outputs, counters, results[0].core)

    def late(self, patience: str) -> MachineError:
        """The error of executions that have not ended in that time."""
        return MachineError(f"{self._count - len(self._found)} of {self._count} jobs of program "
                            f"{self._program.name!r} have not come back in {patience}: cores "
                            f"running {self._chip.read_wide('RUNNING'):#x}, in reset "
                            f"{self._chip.read_wide('RESETTING'):#x}")

    def take(self) -> None:
        """Take the records that are there, by their tags."""
        chip = self._chip
        tail = chip.read(f"{self._name}_RECORDS_TAIL")
        while self._taken != tail:
            data = chip.link.read_memory(self._block(self._plan.records, self._taken), BLOCK)
            record = Record.decode(data.tobytes())
            self._found[record.tag] = record
            self._taken = (self._taken + 1) % POSITIONS
        chip.write(f"{self._name}_RECORDS_HEAD", tail)

    def _put(self, tag: int, cores: int, gang: int) -> None:
        """A job into the ring; its tag is its rank, behind those of the places before."""
        program, plan = self._program, self._plan
        place, rank = divmod(tag, program.ranks)
        job = Job(tag, cores,
                  watchdog_cycles(program) if self._watchdog is None else self._watchdog,
                  program.starts[rank], tuple((plan.places[place][r] - plan.window,
                                        region_bytes(program, r)) for r in Region),
                  gang, program.ranks, together=gang != 0)
        self._chip.link.write_memory(self._block(plan.jobs, self._position),
                                     np.frombuffer(job.encode(), np.uint8))
        self._position = (self._position + 1) % POSITIONS

    def _block(self, ring: int, position: int) -> int:
        return self._base + ring + position % (1 << RING) * BLOCK

    def _result(self, place: int, rank: int, record: Record) -> Result | DeviceFault:
        program, values = self._program, record.values
        if record.outcome is Outcome.REFUSED:
            assert record.refusal is not None
            raise MachineError(f"the chip refuses a job of program {program.name!r}: "
                               f"{REFUSAL_TEXT[record.refusal]}")
        if record.outcome is Outcome.FAULT:
            code = Fault(values["ERROR_CODE"])
            # the watchdog finds what hangs in an engine
            engine = (None if code == Fault.WATCHDOG
                      else ("", *GANG_QUEUES)[values["ERROR_ENGINE"]])
            return DeviceFault(program, code, values["ERROR_INDEX"], engine, rank=rank)
        outputs = self._chip.link.read_memory(
            self._base + self._plan.places[place][Region.OUTPUT],
            region_bytes(program, Region.OUTPUT))
        counters = {name: values[name] for name in ("CYCLES", "INSTRUCTIONS", "DRAM_READ_BYTES",
                                                    "DRAM_WRITE_BYTES")}
        return Result(outputs[:program.region_sizes.get(Region.OUTPUT, 0)].copy(), counters,
                      record.core)
