# SPDX-License-Identifier: Apache-2.0
"""The golden model as a device: the right bits without cycles."""

import random
from collections.abc import Callable, Mapping

import numpy as np

from golden.gang import Gang
from golden.machine import MachineFault, zeros
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
        Called with position and instruction after each one, of a gang those of rank 0.
    cores : int
        Executions that may be asked for at the same time, as of a chip; they run one by one.
    seed : int, optional
        Of the order in which the cores of a gang go on (:mod:`golden.gang`).
    """

    name = "golden"

    def __init__(self, config: Config, watch: Callable[[int, Instruction], None] | None = None,
                 cores: int = 1, seed: int | None = None):
        self.config, self.cores, self.seed = config, cores, seed
        self._watch = watch
        self._program: Program | None = None

    def load(self, program: Program) -> None:
        """See :meth:`runtime.device.Device.load`."""
        program.check(self.config)
        self._program = program
        self._sizes = {region: region_bytes(program, region) for region in Region}
        self._image = program.image.ljust(self._sizes[Region.PROGRAM], b"\0")
        self._entry = program
        self._gang, self._kept = Gang(self.config, program.ranks), zeros(self._sizes)

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
            out = self._run(program, region_input(program, inputs))
        except MachineFault as e:
            raise DeviceFault(program, e.code, e.index, rank=e.rank) from None
        seen = [machine.exceptions for machine in self._gang.machines]
        counters = {name: sum(getattr(s, field) for s in seen)
                    for name, field in zip(EXCEPTIONS, ("nan", "infinite", "overflow"),
                                           strict=True)}
        return Result(out[:program.region_sizes.get(Region.OUTPUT, 0)].copy(),
                      counters if self.config.floats else {})

    def _run(self, program: Program, inputs: np.ndarray) -> np.ndarray:
        """Region OUTPUT behind an execution, of one machine or of a gang."""
        if program.streams:
            choose = None if self.seed is None else random.Random(self.seed).choice
            return self._gang.run(self._image, program.starts, inputs, self._sizes, self._kept,
                                  choose, self._watch_first)
        return self._gang.machines[0].run(self._image, inputs, self._sizes, program.start,
                                          self._watch, self._kept)

    def _watch_first(self, rank: int, index: int, i: Instruction) -> None:
        if self._watch and not rank:
            self._watch(index, i)

    def close(self) -> None:
        """Forget the program; :meth:`load` starts anew."""
        self._program = None
