# SPDX-License-Identifier: Apache-2.0
"""The golden model as a device: the right bits without cycles."""

from collections.abc import Callable

import numpy as np

from golden.machine import Machine, MachineFault, zeros
from isa.config import Config
from isa.instructions import Instruction, Region
from isa.program import Program
from isa.registers import EXCEPTIONS
from runtime.device import Device, DeviceFault, Result, region_bytes, region_input


class GoldenDevice(Device):
    """Computes with :class:`golden.machine.Machine`.

    Parameters
    ----------
    config : Config
        The machine.
    watch : callable, optional
        Called with position and instruction after each one.
    """

    name = "golden"

    def __init__(self, config: Config, watch: Callable[[int, Instruction], None] | None = None):
        self.config = config
        self._watch = watch
        self._program: Program | None = None

    def load(self, program: Program) -> None:
        """See :meth:`runtime.device.Device.load`."""
        program.check(self.config)
        self._program = program
        self._sizes = {region: region_bytes(program, region) for region in Region}
        self._image = program.image.ljust(self._sizes[Region.PROGRAM], b"\0")
        self._machine, self._kept = Machine(self.config), zeros(self._sizes)

    def execute(self, inputs: np.ndarray) -> Result:
        """See :meth:`runtime.device.Device.execute`."""
        program = self._program
        if program is None:
            raise RuntimeError("no program is loaded: call load first")
        try:
            out = self._machine.run(self._image, region_input(program, inputs), self._sizes,
                                    watch=self._watch, kept=self._kept)
        except MachineFault as e:
            raise DeviceFault(program, e.code, e.index) from None
        seen = self._machine.exceptions
        counters = dict(zip(EXCEPTIONS, (seen.nan, seen.infinite, seen.overflow), strict=True))
        return Result(out[:program.region_sizes.get(Region.OUTPUT, 0)].copy(),
                      counters if self.config.floats else {})

    def close(self) -> None:
        """Forget the program; :meth:`load` starts anew."""
        self._program = None
