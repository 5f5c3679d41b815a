# SPDX-License-Identifier: Apache-2.0
"""The host's side of the register map: what a driver does, over any way to registers and memory.

::

    load       clear ─► write the program ─► set up the registers
    enter      write what is another one in this execution ─► where the program begins
    execute    write the inputs ─► doorbell ─► interrupt ─► counters, outputs
               fault or no interrupt ─► what it was ─► reset, and the registers anew
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from isa.config import ISA_VERSION, Config
from isa.instructions import KEPT, QUEUES, Fault, Region
from isa.program import Program, ProgramError
from isa.registers import IDENT, MASK, OFFSET, counted
from runtime.device import (STUCK, DeviceFault, MachineError, Result, check_entry, region_bytes,
                            region_input)

PAGE = 4096
IRQ_ENABLE, RESET, CLEAR = (MASK[f"CONTROL.{f}"] for f in ("IRQ_ENABLE", "RESET", "CLEAR"))
DONE, ERROR = MASK["STATUS.DONE"], MASK["STATUS.ERROR"]
CAUSES = MASK["IRQ_STATUS.DONE"] | MASK["IRQ_STATUS.ERROR"]

START = OFFSET["DOORBELL"], 1
"""The register and its value with which an execution begins."""

MIN_WATCHDOG, WATCHDOG_MARGIN = 1_000_000, 4
"""Cycles of the watchdog of a program without predictions, and how many times the prediction it
gets beside them."""

RESET_READS = 10_000
"""Looks at CONTROL after which a reset is given up."""


class Link(Protocol):
    """A way to a machine: its registers by byte offset, its memory by address.

    Memory addresses and sizes are multiples of 32. ``patience`` says in words how long :meth:`wait`
    waits. Each method may raise :class:`runtime.device.MachineError`.
    """

    patience: str

    def read(self, offset: int) -> int:
        """A register."""

    def write(self, offset: int, value: int) -> object:
        """Change a register."""

    def read_memory(self, address: int, size: int) -> np.ndarray:
        """Bytes of memory."""

    def write_memory(self, address: int, data: np.ndarray) -> None:
        """Change memory."""

    def wait(self) -> bool:
        """Until the interrupt; false if it does not come."""


def layout(program: Program, base: int) -> dict[Region, int]:
    """Where each region of a program starts, pages from ``base`` on with one free between."""
    starts = {}
    for region in Region:
        starts[region] = base
        base += -(-region_bytes(program, region) // PAGE) * PAGE + PAGE
    return starts


def watchdog_cycles(program: Program) -> int:
    """Cycles within which an instruction of the program completes or moves data, with room to
    spare: a few times what the compiler predicts for all of them."""
    return min(MIN_WATCHDOG + WATCHDOG_MARGIN * sum(program.predicted_cycles), 2**32 - 1)


class Host:
    """Runs programs on a machine behind a link.

    Parameters
    ----------
    link : Link
    config : Config
        The machine that is expected.
    watchdog : int, optional
        Cycles without a completed instruction and without memory traffic after which the machine
        gives up; by default :func:`watchdog_cycles` of the program.

    Raises
    ------
    MachineError
        If the machine is another one, does not answer, or does not do what it has to.
    """

    def __init__(self, link: Link, config: Config, watchdog: int | None = None):
        self._link, self._config, self._watchdog = link, config, watchdog
        self._stuck = False
        self._counted = counted(config)
        version = ISA_VERSION[0] << 16 | ISA_VERSION[1]
        for what, want, got in (
                ("identification", IDENT, link.read(OFFSET["IDENT"])),
                ("instruction set version", version, link.read(OFFSET["VERSION"])),
                ("configuration hash", config.hash, self.counter("CONFIG_HASH"))):
            if got != want:
                raise MachineError(f"the machine is not a {config.name!r}: its {what} is "
                                   f"{got:#x} instead of {want:#x}")

    def load(self, program: Program, starts: dict[Region, int]) -> None:
        """Clear the machine of what another program left, write a program whose regions start at
        ``starts``, and set up the registers for it.

        Raises
        ------
        isa.program.ProgramError
            If it takes several cores.
        """
        if program.ranks > 1:
            raise ProgramError(f"program {program.name!r} takes {program.ranks} cores together, "
                               "and this is a machine alone: run it on a chip, or on golden")
        self._program, self._entry, self._starts = program, program, starts
        self._reset(CLEAR)
        size = region_bytes(program, Region.PROGRAM)
        self._link.write_memory(starts[Region.PROGRAM], np.frombuffer(
            program.image.ljust(size, b"\0"), np.uint8))
        for region in KEPT:
            self._link.write_memory(starts[region], np.zeros(region_bytes(program, region),
                                                             np.uint8))
        self._set_up()

    def enter(self, entry: Program, arguments: Mapping[str, int]) -> None:
        """As :meth:`runtime.device.Device.enter`."""
        check_entry(self._program, entry)
        for at, code in entry.patched(arguments).items():
            self._link.write_memory(self._starts[Region.PROGRAM] + at,
                                    np.frombuffer(code, np.uint8))
        if entry is not self._entry:
            self._entry = entry
            self._link.write(OFFSET["PROGRAM"], entry.start)

    def execute(self, inputs: np.ndarray) -> Result:
        """Run the loaded program once, as in :meth:`runtime.device.Device.execute`."""
        self.prepare(inputs)
        self._link.write(*START)
        return self.collect(self._link.wait())

    def prepare(self, inputs: np.ndarray) -> None:
        """Write the inputs of an execution, which :data:`START` begins."""
        if self._stuck and not self._recovers():
            raise MachineError(STUCK)
        self._link.write_memory(self._starts[Region.INPUT], region_input(self._entry, inputs))

    def collect(self, finished: bool) -> Result:
        """What an execution has given, behind its interrupt; ``finished``: that has come."""
        link, program = self._link, self._entry
        status = link.read(OFFSET["STATUS"])
        if not finished:
            done = self.counter("INSTRUCTIONS")
            raise MachineError(f"program {program.name!r} raised no interrupt in {link.patience}: "
                               f"STATUS {status:#x}, {done} instructions completed"
                               + ("" if self._recovers() else f"; {STUCK}"))
        link.write(OFFSET["IRQ_STATUS"], CAUSES)
        if status & ERROR:
            code, index, engine = (link.read(OFFSET[f"ERROR_{what}"])
                                   for what in ("CODE", "INDEX", "ENGINE"))
            # the watchdog finds what hangs in an engine
            name = None if code == Fault.WATCHDOG else ("", *QUEUES)[engine]
            raise DeviceFault(program, Fault(code), index, name, stuck=not self._recovers())
        if not status & DONE:
            raise MachineError(f"the interrupt came with STATUS {status:#x}, which is neither "
                               "done nor an error")
        counters = {name: self.counter(name) for name in self._counted}
        outputs = link.read_memory(self._starts[Region.OUTPUT],
                                   region_bytes(program, Region.OUTPUT))
        return Result(outputs[:program.region_sizes.get(Region.OUTPUT, 0)].copy(), counters)

    def counter(self, name: str) -> int:
        """A register of 64 bits."""
        return self._link.read(OFFSET[name]) | self._link.read(OFFSET[f"{name}_HI"]) << 32

    def _set_up(self) -> None:
        write, programs = self._link.write, (self._program, *self._program.entries)
        write(OFFSET["CONTROL"], IRQ_ENABLE)
        write(OFFSET["WATCHDOG"], max(map(watchdog_cycles, programs)) if self._watchdog is None
              else self._watchdog)
        write(OFFSET["PROGRAM"], self._entry.start)
        for region in Region:
            for suffix, value in (("BASE", self._starts[region]),
                                  ("SIZE", region_bytes(self._program, region))):
                write(OFFSET[f"REGION{int(region)}_{suffix}"], value & 0xFFFF_FFFF)
                write(OFFSET[f"REGION{int(region)}_{suffix}_HI"], value >> 32)

    def _reset(self, what: int = 0) -> None:
        """Reset the core, whatever it was doing, and forget its interrupts."""
        self._link.write(OFFSET["CONTROL"], IRQ_ENABLE | RESET | what)
        for _ in range(RESET_READS):
            if not self._link.read(OFFSET["CONTROL"]) & RESET:
                self._link.write(OFFSET["IRQ_STATUS"], CAUSES)
                return
        raise MachineError(STUCK)

    def _recovers(self) -> bool:
        """Reset, and whether the machine can be used again."""
        try:
            self._reset()
        except MachineError:
            self._stuck = True
        else:
            self._stuck = False
            self._set_up()
        return not self._stuck
