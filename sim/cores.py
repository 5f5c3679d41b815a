# SPDX-License-Identifier: Apache-2.0
"""Several cores of one class, simulated with one memory: a program each, or the same one.

::

    core 0   core 1   …      a :class:`runtime.host.Host` each: registers, doorbell, interrupt
       └────────┴───────► channels of one memory (dram.h)
                              PROGRAM once, WORKSPACE, INPUT and OUTPUT for each core
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from isa.config import Config
from isa.instructions import Region
from isa.program import Program
from runtime.device import DeviceFault, MachineError, Result, region_bytes
from runtime.host import PAGE, START, Host, layout
from runtime.session import check_alone
from sim.device import HarnessLink, simulation
from sim.harness import DramModel, Harness


@dataclass(frozen=True)
class Outcome:
    """What one core did in an execution.

    Parameters
    ----------
    found : Result or DeviceFault
        What it gave, or why it stopped.
    cycles : int
        From the first doorbell, of whichever core, to this one's interrupt.
    read_bytes, write_bytes : int
        What the memory moved for it, whole beats of the bus.
    """

    found: Result | DeviceFault
    cycles: int
    read_bytes: int
    write_bytes: int

    @property
    def result(self) -> Result:
        """What it gave.

        Raises
        ------
        DeviceFault
            If it stopped with an error.
        """
        if isinstance(self.found, DeviceFault):
            raise self.found
        return self.found


class RtlCores:
    """Cores of one configuration in front of one memory, simulated.

    Parameters
    ----------
    config : Config
        The machine that each core is.
    cores : int
        How many, from 1 to 64. More need no other simulation to be built.
    dram : DramModel, optional
        The memory behind them.
    watchdog : int, optional
        As :class:`sim.device.RtlDevice` has it.
    max_cycles : int
        Cycles after which an execution in which a core raised no interrupt is given up.
    progress : callable, optional
        Called with the cycles of the execution so far, a few times a second.
    verilog : str, optional
        Verilog to simulate instead of the configuration's.

    Raises
    ------
    sim.verilator.ToolError
        If the simulation cannot be built.
    sim.harness.SimulationError
        If a core breaks a bus rule or an assertion.
    runtime.device.MachineError
        If a core is not the machine of ``config``, or raises no interrupt.
    """

    def __init__(self, config: Config, cores: int, *, dram: DramModel | None = None,
                 watchdog: int | None = None, max_cycles: int = 10**11,
                 progress: Callable[[int], None] | None = None, verilog: str | None = None):
        self.config, self.cores = config, cores
        self._watchdog, self._max_cycles, self.progress = watchdog, max_cycles, progress
        self.harness = Harness(simulation(config, verilog).path, dram or DramModel(), cores=cores,
                               max_burst=config.max_burst)
        self._base = 1 << (config.addr_bits - 2)
        self._hosts: list[Host] = []

    def load(self, *programs: Program) -> None:
        """Load a program into all cores, or one into each; its image is in memory once, however
        many run it. What was loaded before stays in memory, but no core runs it again.

        Raises
        ------
        isa.program.ProgramError
            If one was compiled for another configuration, or is a decoder's, whose instructions
            change from execution to execution.
        ValueError
            If it is neither one program nor one for each core.
        """
        each = programs * self.cores if len(programs) == 1 else programs
        if len(each) != self.cores:
            raise ValueError(f"{len(programs)} programs for {self.cores} cores: give one for all, "
                             "or one for each")
        for program in programs:
            program.check(self.config)
            check_alone(program)
        self._hosts, images = [], dict[int, int]()
        for core, program in enumerate(each):
            starts = layout(program, self._base)
            last = max(starts, key=starts.__getitem__)
            self._base = starts[last] + -(-region_bytes(program, last) // PAGE) * PAGE + PAGE
            shared = images.get(id(program))
            for region, start in starts.items():
                if region is not Region.PROGRAM or shared is None:
                    self.harness.allocate(start, region_bytes(program, region))
            starts[Region.PROGRAM] = images.setdefault(id(program), starts[Region.PROGRAM])
            host = Host(HarnessLink(self.harness, self._max_cycles, core), self.config,
                        self._watchdog)
            host.load(program, starts)
            self._hosts.append(host)

    def execute(self, inputs: Sequence[np.ndarray], delays: Sequence[int] | None = None
                ) -> list[Outcome]:
        """Run every core's program once, all at the same time.

        Parameters
        ----------
        inputs : sequence of uint8 arrays
            For each core the bytes of region INPUT, of its program's size.
        delays : sequence of int, optional
            For each core by how many cycles its doorbell rings later.

        Returns
        -------
        list[Outcome]
            Of each core; a core that stops with an error does not stop the others.
        """
        late = [0] * self.cores if delays is None else list(delays)
        for what, given in (("inputs", inputs), ("delays", late)):
            if len(given) != self.cores:
                raise ValueError(f"{what} for {len(given)} cores, but there are {self.cores}")
        if not self._hosts:
            raise RuntimeError("no program is loaded: call load first")
        h = self.harness
        for host, region in zip(self._hosts, inputs):
            host.prepare(region)
        before = [h.statistics_of(core) for core in range(self.cores)]
        for core, delay in enumerate(late):
            h.post(*START, core, delay)
        first, report = h.cycle, self.progress
        h.run(self._max_cycles, report and (lambda cycle: report(cycle - first)))
        # before the registers are read, which takes cycles
        ended = [h.ended(core) for core in range(self.cores)]
        moved = [h.statistics_of(core) for core in range(self.cores)]
        return [Outcome(found, (end or h.cycle) - first - min(late),
                        (now.read_beats - then.read_beats) * h.bus_bytes,
                        (now.write_beats - then.write_beats) * h.bus_bytes)
                for found, end, now, then in zip(self._collected(ended), ended, moved, before)]

    def _collected(self, ended: Sequence[int | None]) -> list[Result | DeviceFault]:
        """What each core gives; all are looked at before one that did not end is an error."""
        found: list[Result | DeviceFault] = []
        failed: list[MachineError] = []
        for core, (host, end) in enumerate(zip(self._hosts, ended)):
            try:
                found.append(host.collect(end is not None))
            except DeviceFault as e:
                found.append(e)
            except MachineError as e:
                failed.append(MachineError(f"core {core}: {e}"))
        if failed:
            raise failed[0]
        return found

    def close(self) -> None:
        """Free the simulation; nothing else may be called afterwards."""
        self.harness.close()

    def __enter__(self) -> "RtlCores":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
