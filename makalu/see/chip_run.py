# SPDX-License-Identifier: Apache-2.0
"""A run of a program on the cores of a simulated chip at the same time, as one :class:`Run` of each
core: an input on each, or of a program for several cores one on all of them.

A core's trace counts cycles from its own beginning. When that was in the chip's cycles is seen from
outside: the chip is clocked cycle by cycle until all cores have dispatched their first instruction.
"""

from isa.chip import ChipConfig
from isa.config import ConfigError
from isa.jobs import core_offset
from isa.program import Program
from isa.registers import OFFSET, counted
from makalu.measure.samples import random_inputs
from makalu.see.profile import ChipRun, Run
from runtime.session import Session
from sim.chip_device import LeasedCores
from sim.shared_chip import SharedChip

TENANT = 1


class WatchedChip(SharedChip):
    """A chip that sees when cores begin their first execution.

    Attributes
    ----------
    begun : dict of int to int
        The cycle of each core that has.
    """

    def __init__(self, chip: ChipConfig, cores: int):
        super().__init__(chip)
        self.begun: dict[int, int] = {}
        self._waits = set(range(cores))

    def clock(self) -> None:
        """See :meth:`sim.shared_chip.SharedChip.clock`; one cycle, while cores have not begun."""
        if not self._waits:
            super().clock()
            return
        if self.link.wait(1):
            self.control.collect()
        for core in list(self._waits):
            trace = self.harness.trace(core)
            if len(trace):
                self.begun[core] = self.harness.cycle - 1 - int(trace["dispatch"][0])
                self._waits.discard(core)

    def counters(self, core: int) -> dict[str, int]:
        """What a core has counted in its last execution."""
        def read(name: str) -> int:
            return self.link.read(core_offset(core, OFFSET[name]))

        return {name: read(name) | read(f"{name}_HI") << 32 for name in counted(self.config.core)}

    @property
    def lasted(self) -> int:
        """Cycles from the first core's beginning to the last one's end."""
        ends = (first + self.counters(core)["CYCLES"] for core, first in self.begun.items())
        return max(ends) - min(self.begun.values())


def watched(chip: ChipConfig, cores: int, work: int) -> tuple[WatchedChip, LeasedCores]:
    """A chip whose first ``cores`` are a device, for one execution on the first so many that
    ``work``."""
    seen = WatchedChip(chip, work)
    device = LeasedCores(seen, 0)
    device.assign(range(cores), TENANT)
    return seen, device


def measure(program: Program, chip: ChipConfig, cores: int | None = None, seed: int = 0
            ) -> ChipRun:
    """Run a program once on each of so many cores of a chip, by default all, with random inputs;
    one that takes several cores together once, on as many of them.

    Raises
    ------
    ConfigError
        If the chip does not have so many cores, or the program is too short for them.
    isa.program.ProgramError
        If the program is for other cores, or takes more of them.
    """
    count = chip.cores if cores is None else cores
    if not 1 <= count <= chip.cores:
        raise ConfigError(f"chip {chip.name!r} has {chip.cores} cores: use 1 to {chip.cores}, not "
                          f"{count}")
    program.check(chip.core)
    ranks = program.ranks
    seen, device = watched(chip, count, ranks if ranks > 1 else count)
    session = Session(program, device)
    before = sum(seen.harness.channel_beats)
    results = device.execute_all([session.packed(random_inputs(session.inputs, seed + k))
                                  for k in range(1 if ranks > 1 else count)])
    ran = {result.core + rank: rank for result in results for rank in range(ranks)}
    if len(ran) < len(results):
        raise ConfigError(f"program {program.name!r} is over before all of {count} cores have "
                          "begun: use fewer")
    moved = (sum(seen.harness.channel_beats) - before) * chip.core.bus_bytes
    first = min(seen.begun.values())
    runs = [Run(program, seen.harness.trace(core), seen.counters(core), core,
                seen.begun[core] - first, ran[core]) for core in sorted(ran)]
    seen.close()
    return ChipRun(chip, runs, moved)
