# SPDX-License-Identifier: Apache-2.0
"""The simulated RTL as a device: the host's side of the register map, on Verilated hardware."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from isa.config import ISA_VERSION, Config
from isa.instructions import Fault, Region
from isa.program import Program
from isa.registers import COUNTERS, EXCEPTIONS, IDENT, OFFSET, PROFILE
from runtime.device import DeviceFault, Result, region_bytes, region_input
from sim.build import WAVES, Library, build, rtl
from sim.harness import DramModel, Harness, SimulationError

PAGE = 4096
IRQ_ENABLE, RESET = 1, 2
"""Bits of CONTROL."""
BUSY, DONE, ERROR = 1, 2, 4
"""Bits of STATUS."""


class RtlDevice:
    """A :class:`runtime.device.Device` on the machine's RTL, simulated with its memory.

    Parameters
    ----------
    config : Config
        The machine.
    dram : DramModel, optional
        The memory behind it.
    waves : Path, optional
        File for waves of everything from the load on: ``.vcd``, or ``.fst`` with the lz4 headers.
    watchdog : int
        Cycles without a completed instruction after which the machine gives up.
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
        If the design breaks a bus rule or an assertion, or is not the machine of ``config``.
    """

    name = "rtl"

    def __init__(self, config: Config, *, dram: DramModel | None = None,
                 waves: Path | str | None = None, watchdog: int = 1_000_000,
                 max_cycles: int = 10**11, progress: Callable[[int], None] | None = None,
                 verilog: str | None = None):
        self.config = config
        self._dram = dram or DramModel()
        self._waves = Path(waves) if waves else None
        if self._waves and self._waves.suffix[1:] not in WAVES:
            raise ValueError(f"wave file {str(waves)!r} has to end in "
                             f"{' or '.join('.' + w for w in WAVES)}")
        self._watchdog, self._max_cycles, self.progress = watchdog, max_cycles, progress
        text = rtl(config, trace=True) if verilog is None else verilog
        self.library: Library = build(text, self._waves.suffix[1:] if self._waves else None)
        self.simulated_cycles, self.simulated_seconds = 0, 0.0
        self._counted = [name for name, _ in COUNTERS
                         if (config.profile or name not in PROFILE)
                         and (config.floats or name not in EXCEPTIONS)]
        self._harness: Harness | None = None

    def load(self, program: Program) -> None:
        """See :meth:`runtime.device.Device.load`. Resets the machine and its memory."""
        program.check(self.config)
        self.close()
        self._program = program
        self._harness = h = Harness(self.library.path, self._dram, waves=self._waves,
                                    max_burst=self.config.max_burst)
        self._identify(h)
        self._base: dict[Region, int] = {}
        at = 1 << (self.config.addr_bits - 2)
        for region in Region:
            size = region_bytes(program, region)
            self._base[region] = at
            h.allocate(at, size)
            at += -(-size // PAGE) * PAGE + PAGE
        self._memory(Region.PROGRAM)[:len(program.image)] = np.frombuffer(program.image, np.uint8)
        self._set_up(h)

    def execute(self, inputs: np.ndarray) -> Result:
        """See :meth:`runtime.device.Device.execute`."""
        h = self._harness
        if h is None:
            raise RuntimeError("no program is loaded: call load first")
        self._memory(Region.INPUT)[:] = region_input(self._program, inputs)
        h.write(OFFSET["DOORBELL"], 1)
        self._wait(h)
        status = h.read(OFFSET["STATUS"])
        h.write(OFFSET["IRQ_STATUS"], 3)
        if status & ERROR:
            code, index = h.read(OFFSET["ERROR_CODE"]), h.read(OFFSET["ERROR_INDEX"])
            self._recover(h)
            raise DeviceFault(self._program, Fault(code), index)
        if not status & DONE:
            raise SimulationError(f"the interrupt came with STATUS {status:#x}, which is neither "
                                  "done nor an error")
        counters = {name: self._counter(h, name) for name in self._counted}
        size = self._program.region_sizes.get(Region.OUTPUT, 0)
        return Result(self._memory(Region.OUTPUT)[:size].copy(), counters)

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
        return self._memory(region)

    @property
    def trace(self) -> np.ndarray:
        """When each instruction of the last execution was dispatched, started and done, and the
        signature of what it wrote, in program order (:data:`sim.harness.TRACE`)."""
        return self.harness.trace()

    def _memory(self, region: Region) -> np.ndarray:
        return self.harness.memory(self._base[region], region_bytes(self._program, region))

    def _identify(self, h: Harness) -> None:
        version = ISA_VERSION[0] << 16 | ISA_VERSION[1]
        for name, want, got in (
                ("identification", IDENT, h.read(OFFSET["IDENT"])),
                ("instruction set version", version, h.read(OFFSET["VERSION"])),
                ("configuration hash", self.config.hash, self._counter(h, "CONFIG_HASH"))):
            if got != want:
                raise SimulationError(f"the simulated design is not a {self.config.name!r}: its "
                                      f"{name} is {got:#x} instead of {want:#x}")

    def _set_up(self, h: Harness) -> None:
        h.write(OFFSET["CONTROL"], IRQ_ENABLE)
        h.write(OFFSET["WATCHDOG"], self._watchdog)
        h.write(OFFSET["PROGRAM"], 0)
        for region in Region:
            for suffix, value in (("BASE", self._base[region]),
                                  ("SIZE", region_bytes(self._program, region))):
                h.write(OFFSET[f"REGION{int(region)}_{suffix}"], value & 0xFFFF_FFFF)
                h.write(OFFSET[f"REGION{int(region)}_{suffix}_HI"], value >> 32)

    def _wait(self, h: Harness) -> None:
        first, start = h.cycle, time.thread_time()
        report = self.progress
        finished = h.run(self._max_cycles, report and (lambda cycle: report(cycle - first)))
        self.simulated_cycles += h.cycle - first
        self.simulated_seconds += time.thread_time() - start
        if not finished:
            status, done = h.read(OFFSET["STATUS"]), self._counter(h, "INSTRUCTIONS")
            self._recover(h)
            raise SimulationError(f"program {self._program.name!r} raised no interrupt in "
                                  f"{self._max_cycles} cycles: STATUS {status:#x}, {done} "
                                  "instructions completed")

    def _recover(self, h: Harness) -> None:
        h.write(OFFSET["CONTROL"], IRQ_ENABLE | RESET)
        for _ in range(100_000):
            if not h.read(OFFSET["CONTROL"]) & RESET:
                self._set_up(h)
                return
        raise SimulationError("the machine does not come out of its reset")

    @staticmethod
    def _counter(h: Harness, name: str) -> int:
        return h.read(OFFSET[name]) | h.read(OFFSET[f"{name}_HI"]) << 32
