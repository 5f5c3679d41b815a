# SPDX-License-Identifier: Apache-2.0
"""A simulated chip as a device that runs several executions at the same time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from isa.chip import ChipConfig
from isa.config import ConfigError
from isa.program import Program
from runtime.chip_host import Chip, Lease, places_bytes
from runtime.device import Device, DeviceFault, Result, check_entry
from runtime.session import check_alone
from sim.chip import simulation
from sim.device import HarnessLink
from sim.harness import DramModel, Harness

TENANT = 1


class RtlChip(Device):
    """The RTL of a chip, simulated with its memory.

    Parameters
    ----------
    chip : ChipConfig
    cores : int, optional
        How many of its cores to use; by default all.
    dram : DramModel, optional
        What each channel of the memory is.
    watchdog, max_cycles, progress
        As :class:`sim.device.RtlDevice` has them.

    Raises
    ------
    sim.verilator.ToolError
        If the simulation cannot be built.
    isa.config.ConfigError
        If the chip does not have so many cores.
    """

    name = "rtl chip"

    def __init__(self, chip: ChipConfig, cores: int | None = None, *,
                 dram: DramModel | None = None, watchdog: int | None = None,
                 max_cycles: int = 10**11, progress: Callable[[int], None] | None = None):
        self.chip, self.config = chip, chip.core
        self.cores = chip.cores if cores is None else cores
        if not 1 <= self.cores <= chip.cores:
            raise ConfigError(f"chip {chip.name!r} has {chip.cores} cores: use 1 to {chip.cores}, "
                              f"not {cores}")
        self._dram = replace(dram or DramModel(), channels=chip.channels)
        self._watchdog, self._max_cycles = watchdog, max_cycles
        self.progress = progress
        self.library = simulation(chip)
        self._harness: Harness | None = None

    def load(self, program: Program) -> None:
        """See :meth:`runtime.device.Device.load`. Resets the chip and its memory.

        Raises
        ------
        isa.program.ProgramError
            Also for a decoder's program, which is another one in each execution.
        """
        program.check(self.config)
        check_alone(program)
        self.close()
        self._program = program
        self._harness = h = Harness(self.library.path, self._dram,
                                    max_burst=self.config.max_burst)
        self._link = HarnessLink(h, self._max_cycles)
        base = 1 << (self.config.addr_bits - 2)
        h.allocate(base, places_bytes(program, self.cores))
        self._lease = Lease(Chip(self._link, self.chip), 0, (1 << self.cores) - 1, TENANT, base,
                            self._watchdog)
        self._lease.load(program, self.cores)

    def enter(self, entry: Program, arguments: Mapping[str, int]) -> None:
        """See :meth:`runtime.device.Device.enter`; the program itself is the only entry."""
        check_entry(self._program, entry)

    def execute(self, inputs: np.ndarray) -> Result:
        """See :meth:`runtime.device.Device.execute`."""
        return self.execute_all([inputs])[0]

    def execute_all(self, inputs: Sequence[np.ndarray]) -> list[Result]:
        """See :meth:`runtime.device.Device.execute_all`."""
        found = self.outcomes(inputs)
        for result in found:
            if isinstance(result, DeviceFault):
                raise result
        return [result for result in found if isinstance(result, Result)]

    def outcomes(self, inputs: Sequence[np.ndarray]) -> list[Result | DeviceFault]:
        """As :meth:`execute_all`, with the errors in their places."""
        if self._harness is None:
            raise RuntimeError("no program is loaded: call load first")
        if len(inputs) > self.cores:
            raise ValueError(f"{len(inputs)} executions at a time on {self.cores} cores")
        self._link.progress = self.progress
        return self._lease.execute_all(inputs)

    def close(self) -> None:
        """Free the simulation; :meth:`load` starts anew."""
        if self._harness is not None:
            self._harness.close()
            self._harness = None

    @property
    def harness(self) -> Harness:
        """The loaded simulation, for its statistics and its memory."""
        if self._harness is None:
            raise RuntimeError("no program is loaded: call load first")
        return self._harness
