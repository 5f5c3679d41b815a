# SPDX-License-Identifier: Apache-2.0
"""What a host and a chip say to one another: jobs and records in memory, and the registers of the
chip control.

::

    host ─ job ─► ring of jobs ──────► chip control ─► a free core of the lease
    host ◄─────── ring of records ◄── chip control ◄─ done, or a fault

A queue belongs to a lease: cores, and a window of memory that holds the regions of all its jobs.
Positions in rings count up modulo 2**16; a queue is at rest when RECORDS_TAIL is JOBS_TAIL. A job's
record has the job's position in its ring.
"""

import enum
import struct
from dataclasses import dataclass

from isa.chip import MOST_QUEUES
from isa.instructions import FETCH_BYTES, MOST_RANKS, REGION_ALIGN, Region
from isa.registers import IDENT as CORE_IDENT
from isa.registers import REGISTER_SPACE_BITS, Register

BLOCK = 64
"""Bytes of a job, and of a record."""

WORDS = BLOCK // 4

POSITIONS = 1 << 16

TOGETHER, TEAM, START_BITS = 1, 1, 5
"""The bit of a job's word START for ``together``, the lowest one of ``team``, less one, and how
many such bits there are: programs begin at multiples of more."""

assert MOST_RANKS <= 1 << START_BITS - TEAM and 1 << START_BITS <= FETCH_BYTES

RING_LIMIT = 12
"""Largest logarithm of a ring's entries."""

IDENT = 0x4D4B4348
"""ASCII ``MKCH``."""

assert IDENT != CORE_IDENT


class Outcome(enum.IntEnum):
    """How a job ended."""

    DONE = 1
    FAULT = 2
    REFUSED = 3


class Refusal(enum.IntEnum):
    """Why a job was not begun."""

    CORES = 1
    WINDOW = 2
    MEMORY = 3


REFUSAL_TEXT = {
    Refusal.CORES: "it names no core of its lease and gang",
    Refusal.WINDOW: "a region lies outside the window of its lease",
    Refusal.MEMORY: "the memory answered the read of the job with an error",
}


@dataclass(frozen=True)
class Job:
    """One execution of a program on one core.

    Parameters
    ----------
    tag : int
        64 bits that come back in the record.
    cores : int
        Mask of the cores that may run it, of those of the lease.
    watchdog, start : int
        As registers WATCHDOG and PROGRAM of a core.
    regions : tuple of (offset, size)
        Of each :class:`isa.instructions.Region`, in bytes, multiples of 32; the offset is one in
        the lease's window.
    gang : int
        Mask of the cores of the lease that LOADs with ``group`` read together; 0: this job is of no
        gang. The jobs of a gang follow one another in the ring, one for each of its cores, which is
        the only one that ``cores`` names. The first begins when all of them are free.
    team : int
        1 to :data:`isa.instructions.MOST_RANKS`: cores of the gang that work on one input, and
        whose number in the team is their rank. The gang's cores are in teams one after another;
        those of one rank read together.
    together : bool
        Cores of one rank have one program and fetch it together.
    """

    tag: int
    cores: int
    watchdog: int
    start: int
    regions: tuple[tuple[int, int], ...]
    gang: int = 0
    team: int = 1
    together: bool = False

    def encode(self) -> bytes:
        """The job's bytes in memory."""
        flat = [value // REGION_ALIGN for region in self.regions for value in region]
        return struct.pack("<QQII8IQ", self.tag, self.cores, self.watchdog,
                           self.start | self.together * TOGETHER | self.team - 1 << TEAM, *flat,
                           self.gang)


class JobWord(enum.IntEnum):
    """Positions of a job's words of 32 bits."""

    TAG, CORES, WATCHDOG, START, REGIONS, GANG = 0, 2, 4, 5, 6, 14


REGION_WORDS = 2 * len(Region)

COLLECTED = ("STATUS", "ERROR_CODE", "ERROR_INDEX", "ERROR_ENGINE", "CYCLES", "CYCLES_HI",
             "INSTRUCTIONS", "INSTRUCTIONS_HI", "DRAM_READ_BYTES", "DRAM_READ_BYTES_HI",
             "DRAM_WRITE_BYTES", "DRAM_WRITE_BYTES_HI")
"""Registers of the core whose values a record holds, from word :data:`FIRST_COLLECTED` on."""

FIRST_COLLECTED = WORDS - len(COLLECTED)


@dataclass(frozen=True)
class Record:
    """What became of a job.

    Parameters
    ----------
    tag, position : int
        The job's own, and where it lay in its ring.
    outcome : Outcome
    refusal : Refusal, optional
        Why it was not begun.
    core : int
        Which core ran it; 0 if it was refused.
    values : dict of int
        The core's registers at the end, CYCLES and those behind it of 64 bits.
    """

    tag: int
    position: int
    outcome: Outcome
    refusal: Refusal | None
    core: int
    values: dict[str, int]

    @classmethod
    def decode(cls, data: bytes) -> "Record":
        """From the bytes in memory."""
        tag, outcome, refusal, core, position, *words = struct.unpack("<QBBHI12I", data)
        values = dict(zip(COLLECTED, words, strict=True))
        for name in [n for n in values if n.endswith("_HI")]:
            values[name.removesuffix("_HI")] |= values.pop(name) << 32
        return cls(tag, position, Outcome(outcome), Refusal(refusal) if refusal else None, core,
                   values)


QUEUE_BASE, QUEUE_BYTES = 0x400, 0x40


def _pair(name: str, offset: int, doc: str, access: str = "RW") -> list[Register]:
    return [Register(name, offset, access, doc),
            Register(f"{name}_HI", offset + 4, access, "high half")]


def _queue(k: int) -> list[Register]:
    base, name = QUEUE_BASE + QUEUE_BYTES * k, f"QUEUE{k}"
    return [
        *_pair(f"{name}_CORES", base, "mask of the lease's cores; 0: no job is taken"),
        Register(f"{name}_TENANT", base + 0x08, "RW", "16 bits: whose lease it is; a core is "
                 "cleared before it runs the first job of another tenant"),
        Register(f"{name}_RING", base + 0x0C, "RW", "logarithm of the entries of both rings, up "
                 f"to {RING_LIMIT}"),
        *_pair(f"{name}_WINDOW_BASE", base + 0x10, "window: first byte, a multiple of 4096"),
        *_pair(f"{name}_WINDOW_SIZE", base + 0x18, "window: bytes, a multiple of 4096"),
        *_pair(f"{name}_JOBS_BASE", base + 0x20, "ring of jobs: first byte, a multiple of 4096"),
        Register(f"{name}_JOBS_TAIL", base + 0x28, "RW", "position behind the last job"),
        Register(f"{name}_JOBS_HEAD", base + 0x2C, "RO", "position of the next job to be taken"),
        *_pair(f"{name}_RECORDS_BASE", base + 0x30, "ring of records: first byte, a multiple of "
               "4096"),
        Register(f"{name}_RECORDS_HEAD", base + 0x38, "RW", "position of the first record that "
                 "the host still wants"),
        Register(f"{name}_RECORDS_TAIL", base + 0x3C, "RO", "position behind the last record"),
    ]


def _map() -> tuple[Register, ...]:
    return (
        Register("IDENT", 0x000, "RO", "reads 0x4D4B4348, ASCII MKCH"),
        Register("VERSION", 0x004, "RO", "instruction set version of the cores",
                 ((0, 16, "MINOR", "minor"), (16, 16, "MAJOR", "major"))),
        *_pair("CONFIG_HASH", 0x008, "hash of the chip's configuration", "RO"),
        Register("SHAPE", 0x010, "RO", "what there is",
                 ((0, 8, "CORES", "cores"), (8, 8, "CHANNELS", "memory channels"),
                  (16, 8, "QUEUES", "job queues"))),
        Register("CONTROL", 0x014, "RW", "control",
                 ((0, 1, "IRQ_ENABLE", "let IRQ_STATUS drive the interrupt"),)),
        Register("IRQ_STATUS", 0x018, "RO", "a bit for each queue with records that the host still "
                                            "wants"),
        *_pair("RUNNING", 0x020, "mask of the cores that run a job", "RO"),
        *_pair("RESETTING", 0x028, "mask of the cores that are being reset or cleared; one that "
                                   "stays waits for an answer of the memory", "RO"),
        *(r for k in range(MOST_QUEUES) for r in _queue(k)),
    )


REGISTERS = _map()
"""The registers of the chip control, by ascending offset; those of core ``k`` follow at
``(1 + k) << REGISTER_SPACE_BITS``, where they can be read."""

OFFSET = {r.name: r.offset for r in REGISTERS}


def core_offset(core: int, offset: int) -> int:
    """Where a register of a core is on the chip's bus."""
    return (1 + core << REGISTER_SPACE_BITS) + offset
