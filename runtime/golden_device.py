# SPDX-License-Identifier: Apache-2.0
"""The golden model as a device: the right bits without cycles."""

from collections.abc import Callable, Mapping

import numpy as np

from golden.machine import Machine, MachineFault, zeros
from isa.config import Config
from isa.instructions import Instruction, Region
from isa.program import Program
from isa.registers import EXCEPTIONS
from runtime.device import (Device, DeviceFault, Result, check_entry, patched, region_bytes,
                            region_input)


class GoldenDevice(Device):
    """Computes with :class:`golden.machine.Machine`.

    Parameters
    ----------
    config : Config
        The machine.
    watch : callable, optional
        Called with position and instruction after each one.
    cores : int
        Executions that may be asked for at the same time, as of a chip; they run one by one.
    """

    name = "golden"

    def __init__(self, config: Config, watch: Callable[[int, Instruction], None] | None = None,
                 cores: int = 1):
        self.config, self.cores = config, cores
        self._watch = watch
        self._program: Program | None = None

    def load(self, program: Program) -> None:
        """See :meth:`runtime.device.Device.load`."""
        program.check(self.config)
        self._program = program
        self._sizes = {region: region_bytes(program, region) for region in Region}
        self._image = program.image.ljust(self._sizes[Region.PROGRAM], b"\0")
        self._entry = program
        self._machine, self._kept = Machine(self.config), zeros(self._sizes)

    def enter(self, entry: Program, arguments: Mapping[str, int]) -> None:
        """See :meth:`runtime.device.Device.enter`."""
        check_entry(self._program, entry)
        self._entry, self._image = entry, patched(self._image, entry, arguments)

    def execute(self, inputs: np.ndarray) -> Result:
        """See :meth:`runtime.device.Device.execute`."""
        if self._program is None:
            raise RuntimeError("no program is loaded: call load first")
        program = self._entry
        try:
            out = self._machine.run(self._image, region_input(program, inputs), self._sizes,
                                    program.start, self._watch, self._kept)
        except MachineFault as e:
            raise DeviceFault(program, e.code, e.index) from None
        seen = self._machine.exceptions
        counters = dict(zip(EXCEPTIONS, (seen.nan, seen.infinite, seen.overflow), strict=True))
        return Result(out[:program.region_sizes.get(Region.OUTPUT, 0)].copy(),
                      counters if self.config.floats else {})

    def close(self) -> None:
        """Forget the program; :meth:`load` starts anew."""
        self._program = None
