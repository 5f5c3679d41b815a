# SPDX-License-Identifier: Apache-2.0
"""What a session needs of a machine, and how a machine fails.

A device takes a program and then, as often as wanted, the bytes of region INPUT for those of region
OUTPUT. The golden model, the simulated RTL and a board are devices; none of them knows ONNX.
WORKSPACE and OUTPUT are zero after a load, and keep what each execution leaves
(:class:`isa.instructions.Region`), so that the bytes that a program does not write are the same on
every device.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np

from isa.config import Config
from isa.errors import UserError
from isa.instructions import (EXCHANGE, FAULT_TEXT, QUEUE_OF, REGION_ALIGN, Fault, Opcode,
                              Region, codes, opcode_of)
from isa.program import Program, ProgramError

STUCK = ("the machine does not come out of its reset, which waits for the memory: reset both, and "
         "load the program again")


class MachineError(UserError, RuntimeError):
    """A machine that is another one than it should be, does not answer, or breaks its rules."""


class DeviceFault(UserError, RuntimeError):
    """The machine stopped with an error.

    Parameters
    ----------
    program : Program
        What it ran.
    code : Fault
        Why it stopped.
    index : int
        Position of the offending instruction in the program; ``node`` is its source node, or "".
    engine : str, optional
        Which engine found it, by its queue; "" for instruction fetch and decoder. By default that
        of the instruction.
    stuck : bool
        The machine has not come out of the reset that followed.
    rank : int
        Of a gang, whose instruction it is.
    """

    def __init__(self, program: Program, code: Fault, index: int, engine: str | None = None,
                 stuck: bool = False, rank: int = 0):
        self.code, self.index, self.node = code, index, program.node_name(index, rank)
        self.engine = queue_at(program, index, rank) if engine is None else engine
        self.stuck, self.rank = stuck, rank
        unit = f"{self.engine.upper()} engine" if self.engine else "fetch and decoder"
        where = f" (node {self.node!r})" if self.node else ""
        of = f" of rank {rank}" if program.streams else ""
        super().__init__(f"program {program.name!r} stopped at instruction {index}{of}{where}, "
                         f"{unit}: {FAULT_TEXT[code]}" + (f"; {STUCK}" if stuck else ""))


@dataclass
class Result:
    """What one execution gives: the bytes of region OUTPUT (uint8), the machine's counters, named
    as in :data:`isa.registers.COUNTERS` (a device that has none gives none), and which of the
    device's cores ran it."""

    outputs: np.ndarray
    counters: dict[str, int] = field(default_factory=dict)
    core: int = 0


class Device(Protocol):
    """A machine of one configuration, which ``with`` closes.

    Attributes
    ----------
    name : str
        What the command line calls it.
    config : Config
    cores : int
        Executions that go on at the same time, of a program for one core.
    progress : callable or None
        Called with the cycles of the execution so far, a few times a second, by a device that can
        tell.
    """

    name: str
    config: Config
    cores: int = 1
    progress: Callable[[int], None] | None = None

    def load(self, program: Program) -> None:
        """Get ready to run ``program``; its image stays until the next load.

        Raises
        ------
        isa.program.ProgramError
            If it was compiled for another configuration.
        """

    def enter(self, entry: Program, arguments: Mapping[str, int]) -> None:
        """Say which entry of the loaded program the next executions run, and with which arguments;
        after a load it is the program itself, without any.

        Raises
        ------
        ProgramError
            If it is not of the loaded program, or the arguments are not what it takes.
        """

    def execute(self, inputs: np.ndarray) -> Result:
        """Run the loaded program once.

        Parameters
        ----------
        inputs : uint8 array
            The bytes of region INPUT, of the program's size.

        Raises
        ------
        DeviceFault
            If the machine stops with an error; it can be used again afterwards.
        """

    def at_a_time(self, program: Program) -> int:
        """How many executions of a program go on at the same time."""
        return self.cores if program.ranks == 1 else 1

    def execute_all(self, inputs: Sequence[np.ndarray]) -> list[Result]:
        """Run the loaded program once for each of up to :meth:`at_a_time` inputs.

        Raises
        ------
        DeviceFault
            If an execution stops with an error, when all have ended; the first one's.
        """
        return [self.execute(region) for region in inputs]

    def close(self) -> None:
        """Give back what the device holds: the simulation, the wave file, the port."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def queue_at(program: Program, index: int, rank: int = 0) -> str:
    """The queue of an instruction, or "" where there is none, or it is not one."""
    code = next(itertools.islice(codes(program.image, program.starts[rank]), index, None), b"")
    try:
        opcode = opcode_of(code) if code else Opcode.END
    except ValueError:
        return ""
    known = program.config.exchange or opcode not in EXCHANGE
    return QUEUE_OF.get(opcode, "") if known else ""


def check_entry(loaded: Program | None, entry: Program) -> None:
    """Refuse an entry that is not of the loaded program.

    Raises
    ------
    ProgramError
    """
    if loaded is None or not any(entry is e for e in (loaded, *loaded.entries)):
        raise ProgramError(f"program {entry.name!r} is not what the machine has loaded: load it "
                           "again, which clears what it has kept")


def patched(image: bytes, entry: Program, arguments: Mapping[str, int]) -> bytes:
    """The bytes of region PROGRAM in an execution of ``entry`` with these arguments."""
    changed = bytearray(image)
    for at, code in entry.patched(arguments).items():
        changed[at:at + len(code)] = code
    return bytes(changed)


def region_bytes(program: Program, region: Region) -> int:
    """Bytes of a region of a program, rounded up to what the registers can say; never zero."""
    size = len(program.image) if region is Region.PROGRAM else program.region_sizes.get(region, 0)
    return max(1, -(-size // REGION_ALIGN)) * REGION_ALIGN


def region_input(program: Program, inputs: np.ndarray) -> np.ndarray:
    """``inputs`` padded to the region's size.

    Raises
    ------
    ValueError
        If it is not a flat uint8 array of the program's size.
    """
    size = program.region_sizes.get(Region.INPUT, 0)
    if inputs.dtype != np.uint8 or inputs.shape != (size,):
        raise ValueError(f"program {program.name!r} takes {size} input bytes (uint8), "
                         f"got {inputs.dtype} {list(inputs.shape)}")
    return np.pad(inputs, (0, region_bytes(program, Region.INPUT) - size))
