# SPDX-License-Identifier: Apache-2.0
"""Cores of a simulated chip as a device that runs several executions at the same time."""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from isa.chip import ChipConfig
from isa.config import ConfigError
from isa.program import Program
from runtime.chip_host import TENANTS, Lease, places_bytes, teams
from runtime.device import Device, DeviceFault, Result, check_entry
from runtime.session import check_alone
from sim.build import Library
from sim.harness import DramModel, Harness
from sim.shared_chip import SharedChip

class LeasedCores(Device):
    """A job queue of a chip and the cores that it is leased for. Those of several queues may be
    used at the same time, from a thread each.

    Parameters
    ----------
    chip : SharedChip
    queue : int
        Which job queue of the chip, from 0.
    watchdog, progress
        As :class:`sim.device.RtlDevice` has them.

    Raises
    ------
    isa.config.ConfigError
        If the chip does not have such a queue.
    """

    name = "rtl chip"

    def __init__(self, chip: SharedChip, queue: int, *, watchdog: int | None = None,
                 progress: Callable[[int], None] | None = None):
        if not 0 <= queue < chip.config.queues:
            raise ConfigError(f"chip {chip.config.name!r} has {chip.config.queues} job queues: "
                              f"there is none with number {queue}")
        self.config, self._chip, self._queue = chip.config.core, chip, queue
        self._watchdog, self.progress = watchdog, progress
        self._base: int | None = None
        self._program: Program | None = None

    def assign(self, cores: Collection[int], tenant: int) -> None:
        """Say which cores it is, by their numbers, and whose (from 1 to
        :data:`runtime.chip_host.TENANTS`); another program has to be loaded then. Cores that
        another queue has at the same time are for the caller to avoid.

        Raises
        ------
        isa.config.ConfigError
            If the chip does not have them.
        """
        most = self._chip.config.cores
        if not cores or not all(0 <= core < most for core in cores):
            raise ConfigError(f"chip {self._chip.config.name!r} has {most} cores, from 0 on: there "
                              f"are no cores {', '.join(map(str, cores)) or '(none)'}")
        self._cores = sorted(set(cores))
        self.cores, self._tenant = len(self._cores), tenant
        self._mask = sum(1 << core for core in self._cores)
        self._program = None

    def load(self, program: Program) -> None:
        """See :meth:`runtime.device.Device.load`. A core is cleared before it works for another
        tenant.

        Raises
        ------
        isa.program.ProgramError
            Also for a decoder's program, which is another one in each execution, and for one that
            takes more cores together.
        """
        program.check(self.config)
        check_alone(program)
        chip = self._chip
        with chip.turns:
            self._leave()
            places = self.at_a_time(program)
            self._base = chip.memory.take(places_bytes(program, places))
            self._lease = Lease(chip.control, self._queue, self._mask, self._tenant, self._base,
                                self._watchdog)
            self._lease.load(program, places)
        self._program = program

    def enter(self, entry: Program, arguments: Mapping[str, int]) -> None:
        """See :meth:`runtime.device.Device.enter`; the program itself is the only entry."""
        check_entry(self._program, entry)

    def at_a_time(self, program: Program) -> int:
        """See :meth:`runtime.device.Device.at_a_time`."""
        return teams(self._cores, program.ranks)

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
        if self._program is None:
            raise RuntimeError("no program is loaded: call load first")
        chip, lease = self._chip, self._lease
        with chip.turns:
            first = chip.harness.cycle
            lease.begin(inputs)
        while True:
            with chip.turns:
                if lease.ended:
                    return lease.end()
                if chip.harness.cycle - first >= chip.max_cycles:
                    raise lease.late(f"{chip.max_cycles} cycles")
                chip.clock()
                if self.progress:
                    self.progress(chip.harness.cycle - first)

    def close(self) -> None:
        """Give its memory back; :meth:`load` starts anew."""
        self._program = None
        with self._chip.turns:
            self._leave()

    def _leave(self) -> None:
        if self._base is not None:
            self._chip.memory.give(self._base)
        self._base = None


class RtlChip(LeasedCores):
    """The RTL of a chip, simulated with its memory, for one tenant.

    Parameters
    ----------
    chip : ChipConfig
    cores : int, optional
        How many of its cores to use; by default all.
    dram : DramModel, optional
        What each channel of the memory is.
    watchdog, max_cycles, progress
        As :class:`sim.device.RtlDevice` has them.

    library : Library, optional
        The simulation; by default that of the chip.

    Raises
    ------
    sim.verilator.ToolError
        If the simulation cannot be built.
    isa.config.ConfigError
        If the chip does not have so many cores.
    """

    def __init__(self, chip: ChipConfig, cores: int | None = None, *,
                 dram: DramModel | None = None, watchdog: int | None = None,
                 max_cycles: int = 10**11, progress: Callable[[int], None] | None = None,
                 library: Library | None = None):
        count = chip.cores if cores is None else cores
        if not 1 <= count <= chip.cores:
            raise ConfigError(f"chip {chip.name!r} has {chip.cores} cores: use 1 to {chip.cores}, "
                              f"not {cores}")
        super().__init__(SharedChip(chip, dram=dram, max_cycles=max_cycles, library=library), 0,
                         watchdog=watchdog, progress=progress)
        self.assign(range(count), 0)

    def load(self, program: Program) -> None:
        """See :meth:`runtime.device.Device.load`. The cores are cleared, as for another tenant."""
        self.assign(range(self.cores), self._tenant % TENANTS + 1)
        super().load(program)

    def close(self) -> None:
        """Free the simulation; nothing else may be called afterwards."""
        self._chip.close()

    @property
    def harness(self) -> Harness:
        """The simulation, for its statistics, its traces and its memory."""
        return self._chip.harness
