# SPDX-License-Identifier: Apache-2.0
"""The simulated RTL as a device: :class:`runtime.host.Host` on Verilated hardware."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from isa.config import Config
from isa.instructions import Region
from isa.program import Program
from runtime.device import Device, Result, region_bytes
from runtime.host import Host, layout
from sim.build import WAVES, Library, build, rtl
from sim.harness import DramModel, Harness


def simulation(config: Config, verilog: str | None = None, waves: str | None = None) -> Library:
    """The library that simulates a machine, from the cache if it is there; ``verilog``: instead of
    the configuration's, ``waves``: one of :data:`sim.build.WAVES`."""
    return build(rtl(config, trace=True, gated=True) if verilog is None else verilog, waves)


class HarnessLink:
    """A :class:`runtime.host.Link` to a harness, which counts what waiting costs.

    Parameters
    ----------
    harness : Harness
    max_cycles : int
        Cycles that :meth:`wait` waits.
    core : int
        Which of the harness's.
    """

    def __init__(self, harness: Harness, max_cycles: int, core: int = 0):
        self._harness, self._max_cycles, self._core = harness, max_cycles, core
        self.patience = f"{max_cycles} cycles"
        self.read = partial(harness.read, core=core)
        self.write = partial(harness.write, core=core)
        self.progress: Callable[[int], None] | None = None
        self.cycles, self.seconds = 0, 0.0

    def read_memory(self, address: int, size: int) -> np.ndarray:
        """Bytes of memory, shared."""
        return self._harness.memory(address, size)

    def write_memory(self, address: int, data: np.ndarray) -> None:
        """Change memory."""
        self._harness.memory(address, data.size)[:] = data

    def wait(self, cycles: int | None = None) -> bool:
        """Clock until the interrupt, for no more than so many cycles."""
        h, report = self._harness, self.progress
        first, start = h.cycle, time.thread_time()
        finished = h.run(self._max_cycles if cycles is None else cycles,
                         report and (lambda cycle: report(cycle - first)), cores=(self._core,))
        self.cycles += h.cycle - first
        self.seconds += time.thread_time() - start
        return finished


class RtlDevice(Device):
    """The machine's RTL, simulated with its memory.

    Parameters
    ----------
    config : Config
        The machine.
    dram : DramModel, optional
        The memory behind it.
    waves : Path, optional
        File for waves of everything from the load on: ``.vcd``, or ``.fst`` with the lz4 headers.
    watchdog : int, optional
        Cycles without a completed instruction and without memory traffic after which the machine
        gives up; by default derived from what the compiler predicts for the program.
    max_cycles : int
        Cycles after which an execution that raised no interrupt is given up.
    progress : callable, optional
        Called with the cycles of the execution so far, a few times a second.
    verilog : str, optional
        Verilog to simulate instead of the configuration's.

    Attributes
    ----------
    library : Library
        The simulation, with build time and size.
    simulated_cycles, simulated_seconds : int, float
        Cycles run, and the processor time that they took, in all executions together.

    Raises
    ------
    sim.verilator.ToolError
        If the simulation cannot be built.
    sim.harness.SimulationError
        If the design breaks a bus rule or an assertion.
    runtime.device.MachineError
        If it is not the machine of ``config``, or raises no interrupt.
    """

    name = "rtl"

    def __init__(self, config: Config, *, dram: DramModel | None = None,
                 waves: Path | str | None = None, watchdog: int | None = None,
                 max_cycles: int = 10**11, progress: Callable[[int], None] | None = None,
                 verilog: str | None = None):
        self.config = config
        self._dram = dram or DramModel()
        self._waves = Path(waves) if waves else None
        if self._waves and self._waves.suffix[1:] not in WAVES:
            raise ValueError(f"wave file {str(waves)!r} has to end in "
                             f"{' or '.join('.' + w for w in WAVES)}")
        self._watchdog, self._max_cycles, self.progress = watchdog, max_cycles, progress
        self.library = simulation(config, verilog, self._waves.suffix[1:] if self._waves else None)
        self.simulated_cycles, self.simulated_seconds = 0, 0.0
        self._harness: Harness | None = None

    def load(self, program: Program) -> None:
        """See :meth:`runtime.device.Device.load`. Resets the machine and its memory."""
        program.check(self.config)
        self.close()
        self._program = program
        self._harness = h = Harness(self.library.path, self._dram, waves=self._waves,
                                    max_burst=self.config.max_burst)
        self._link = HarnessLink(h, self._max_cycles)
        self._host = Host(self._link, self.config, self._watchdog)
        self._base = layout(program, 1 << (self.config.addr_bits - 2))
        for region, start in self._base.items():
            h.allocate(start, region_bytes(program, region))
        self._host.load(program, self._base)

    def enter(self, entry: Program, arguments: Mapping[str, int]) -> None:
        """See :meth:`runtime.device.Device.enter`."""
        self._host.enter(entry, arguments)

    def execute(self, inputs: np.ndarray) -> Result:
        """See :meth:`runtime.device.Device.execute`."""
        if self._harness is None:
            raise RuntimeError("no program is loaded: call load first")
        link = self._link
        link.progress = self.progress
        cycles, seconds = link.cycles, link.seconds
        try:
            return self._host.execute(inputs)
        finally:
            self.simulated_cycles += link.cycles - cycles
            self.simulated_seconds += link.seconds - seconds

    def close(self) -> None:
        """Free the simulation and finish the wave file; :meth:`load` starts anew."""
        if self._harness is not None:
            self._harness.close()
            self._harness = None

    @property
    def harness(self) -> Harness:
        """The loaded simulation, for its statistics and its memory."""
        if self._harness is None:
            raise RuntimeError("no program is loaded: call load first")
        return self._harness

    def address(self, region: Region) -> int:
        """Where a region starts in the simulated memory."""
        return self._base[region]

    def memory(self, region: Region) -> np.ndarray:
        """A region's bytes in the simulated memory, shared; valid until the next load."""
        return self.harness.memory(self._base[region], region_bytes(self._program, region))

    @property
    def trace(self) -> np.ndarray:
        """When each instruction of the last execution was dispatched, started and done, and the
        signature of what it wrote, in program order (:data:`sim.harness.TRACE`)."""
        return self.harness.trace()
