# SPDX-License-Identifier: Apache-2.0
"""The first instruction that computes something else on the hardware than on the golden model.

Both sign what each instruction wrote (:mod:`isa.signature`). The golden model runs in program
order; so the first difference in program order is where things went wrong, unless an instruction
ran before one that it should have waited for, in which case it is the one that read too early.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from golden.machine import zeros
from golden.signature import SigningMachine
from isa.config import Config
from isa.instructions import Region
from isa.program import Program
from makalu.measure.samples import random_inputs
from makalu.see.profile import check_one_core
from runtime.device import Device, DeviceFault, Result, patched, region_bytes, region_input
from runtime.session import Session
from sim.device import RtlDevice

FAULT = re.compile(r"(\w+):(0[xX][0-9a-fA-F]+|\d+)(?:\.([0-7]))?(?:@(\d+))?")


class FaultError(ValueError):
    """A fault to inject that cannot be understood, or lies outside its region."""


@dataclass(frozen=True)
class Flip:
    """A bit of DRAM that changes.

    Parameters
    ----------
    region : Region
    offset, bit : int
        Byte in the region, and bit of it.
    cycle : int
        When, in cycles since the core became busy.
    """

    region: Region
    offset: int
    bit: int = 0
    cycle: int = 0

    @classmethod
    def parse(cls, text: str) -> "Flip":
        """``REGION:OFFSET``, with ``.BIT`` and ``@CYCLE`` where they are not 0.

        Raises
        ------
        FaultError
            If the text is something else.
        """
        match = FAULT.fullmatch(text)
        if match is None or match[1].upper() not in Region.__members__:
            names = ", ".join(r.name.lower() for r in Region)
            raise FaultError(f"no fault {text!r}: write REGION:OFFSET.BIT@CYCLE, such as "
                             f"program:0x4000.3@100; the regions are {names}")
        return cls(Region[match[1].upper()], int(match[2], 0), int(match[3] or 0),
                   int(match[4] or 0))


@dataclass(frozen=True)
class Difference:
    """Where hardware and golden model part.

    Parameters
    ----------
    index : int
        Position of the instruction in the program.
    node : str
        Its source node, or "".
    text : str
        Its disassembly.
    complete : bool
        Whether the hardware completed it at all.
    later : int
        Later instructions that differ as well, or that the hardware did not complete.
    fault : str
        The machine's error, where it stopped with one.
    """

    index: int
    node: str
    text: str
    complete: bool
    later: int
    fault: str = ""

    def json(self) -> dict[str, Any]:
        return asdict(self)


class Comparison(Device):
    """Runs everything on the simulated hardware and on the
    golden model, and gives the golden model's outputs.

    Parameters
    ----------
    config : Config
    flips : sequence of Flip
        Faults to inject into the memory of the hardware, in each execution.

    Attributes
    ----------
    difference : Difference or None
        The first one of the last execution.
    """

    name = "comparison"

    def __init__(self, config: Config, flips: tuple[Flip, ...] = ()):
        self.config, self._flips = config, flips
        self.rtl = RtlDevice(config)
        self.difference: Difference | None = None

    def load(self, program: Program) -> None:
        """See :meth:`runtime.device.Device.load`."""
        self._entry = program
        self._image = program.image
        self._sizes = {region: region_bytes(program, region) for region in Region}
        for flip in self._flips:
            if flip.offset >= self._sizes[flip.region]:
                name = flip.region.name.lower()
                raise FaultError(f"byte {flip.offset:#x} is outside region {name}, which has "
                                 f"{self._sizes[flip.region]:#x} bytes")
        self.rtl.load(program)
        self._golden = SigningMachine(self.config, {r: self.rtl.address(r) for r in Region})
        self._kept = zeros(self._sizes)

    def enter(self, entry: Program, arguments: Mapping[str, int]) -> None:
        """See :meth:`runtime.device.Device.enter`."""
        self.rtl.enter(entry, arguments)
        self._entry, self._image = entry, patched(self._image, entry, arguments)

    def execute(self, inputs: np.ndarray) -> Result:
        """See :meth:`runtime.device.Device.execute`; a fault of the hardware is a difference."""
        program = self._entry
        out = self._golden.run(self._image.ljust(self._sizes[Region.PROGRAM], b"\0"),
                               region_input(program, inputs), self._sizes, program.start,
                               kept=self._kept)
        for flip in self._flips:
            self.rtl.harness.flip(self.rtl.address(flip.region) + flip.offset, 1 << flip.bit,
                                  flip.cycle)
        counters, fault = {}, None
        try:
            counters = self.rtl.execute(inputs).counters
        except DeviceFault as e:
            fault = e
        self.difference = self._compare(np.array(self._golden.signatures, np.uint32), fault)
        return Result(np.array(out[:program.region_sizes.get(Region.OUTPUT, 0)]), counters)

    def close(self) -> None:
        """Free the simulation."""
        self.rtl.close()

    def _compare(self, golden: np.ndarray, fault: DeviceFault | None) -> Difference | None:
        """The first completed instruction that differs; if there is none, the one that the machine
        stopped at."""
        trace = self.rtl.trace[:len(golden)]
        complete, same = np.zeros(len(golden), bool), np.zeros(len(golden), bool)
        complete[:len(trace)] = trace["done"] >= 0
        same[:len(trace)] = trace["signature"] == golden[:len(trace)]
        wrong = np.flatnonzero(complete & ~same)
        if not len(wrong) and fault is None:
            return None
        index = int(wrong[0]) if len(wrong) else fault.index if fault else 0
        behind = ~(complete & same)[index + 1:]
        return Difference(index, self._entry.node_name(index),
                          str(self._entry.instructions()[index]), bool(len(wrong)),
                          int(behind.sum()), str(fault or ""))


def bisect(program: Program, flips: tuple[Flip, ...] = (), seed: int = 0) -> Difference | None:
    """Run a program on both with random inputs; the first instruction that differs, or None.

    Raises
    ------
    isa.program.ProgramError
        If it takes several cores.
    """
    check_one_core(program)
    with Comparison(program.config, flips) as device:
        session = Session(program, device)
        session.run(random_inputs(session.inputs, seed))
        return device.difference
