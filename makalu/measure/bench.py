# SPDX-License-Identifier: Apache-2.0
"""Networks on the simulated hardware, each compared with the golden model bit for bit.

Memory as in :class:`sim.harness.DramModel` unless told otherwise. Inputs are random: no engine's
cycles depend on data. Each machine is simulated in a thread of its own, which costs nothing where
there is a processor core for it, since the simulation runs without Python.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isa.config import Config
from isa.instructions import Instruction
from isa.presets import load_config
from isa.program import Program
from makalu import api, facts
from makalu.measure.networks import Network
from makalu.measure.samples import random_inputs
from makalu.text import number
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from sim.device import RtlDevice

CONFIGS = {"int8": ("core256", "core1024"), "fp16": ("core256_fp", "core1024_fp")}
"""Machines that are measured in a precision."""

QUIET, OFTEN = 2.0, 10.0
"""Seconds until a piece of work first says how far it is, and between its further words."""

POLL = 0.05
"""Seconds between looks at whether the machines are done."""

GRACE = 1.0
"""Seconds that a machine has to clean up after an interrupt."""

Say = Callable[[str], None]


class Stopped(Exception):
    """The run was interrupted from the keyboard."""


@dataclass
class Result:
    """What was measured so far.

    Parameters
    ----------
    order : list of str
        Labels of the networks.
    configs : list of str
        Names of the machines.
    rows : list of dicts
        One a network and machine; :meth:`Bench.measure` says which fields.
    machines : dict of dicts
        Of each machine lines of Verilog, seconds of the build, simulated cycles a second.
    skipped : list of dicts
        Network, machine and reason of what failed.
    """

    order: list[str]
    configs: list[str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    machines: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[dict[str, str]] = field(default_factory=list)

    def sorted_rows(self) -> list[dict[str, Any]]:
        """The rows by machine, then in the order of the networks."""
        return sorted(self.rows, key=lambda r: (self.configs.index(r["config"]),
                                                self.order.index(r["network"])))


class Progress:
    """Says how far something is, if it takes long, and ends it after an interrupt.

    Parameters
    ----------
    say : callable
        Takes a line.
    what, unit : str
        The work, and what is counted.
    total : int
        How many there will be, about.
    stop : threading.Event
        Set by an interrupt.
    """

    def __init__(self, say: Say, what: str, unit: str, total: int, stop: threading.Event):
        self._say, self._what, self._unit, self._total = say, what, unit, total
        self._stop, self._start = stop, time.monotonic()
        self._next = self._start + QUIET

    def __call__(self, done: int) -> None:
        """Take note of what is done so far."""
        now = time.monotonic()
        if self._stop.is_set():
            raise Stopped
        if now >= self._next:
            self._next = now + OFTEN
            self._say(f"{self._what}: {number(done)} of about {number(self._total)} {self._unit}, "
                      f"{number(done / (now - self._start))} a second")


class Bench:
    """One run over networks and machines.

    Parameters
    ----------
    networks : sequence of Network
        What to measure.
    configs : sequence of str
        Machines: presets or files.
    say : callable
        Takes lines about the progress.
    found : callable
        Gets the result so far and the new row, after each row.
    precision : str
        ``int8``, of quantized networks; ``fp16``, of FP32 networks.
    """

    def __init__(self, networks: Sequence[Network], configs: Sequence[str], say: Say,
                 found: Callable[[Result, dict[str, Any]], None], precision: str = "int8"):
        self._networks, self._say, self._found = networks, say, found
        self._precision = precision
        self._machines = [load_config(c) for c in configs]
        self.result = Result([n.label for n in networks], [m.name for m in self._machines])
        self._stop, self._lock = threading.Event(), threading.Lock()

    def run(self) -> Result:
        """Measure everything; a network that fails does not stop the rest.

        Raises
        ------
        KeyboardInterrupt
            What was measured until then has been given to ``found``.
        """
        failed: list[Exception] = []

        def work(machine: Config) -> None:
            try:
                self._machine(machine)
            except Exception as e:
                failed.append(e)

        # daemons: an interrupt ends the process though one of them generates Verilog for minutes
        threads = [threading.Thread(target=work, args=(m,), daemon=True) for m in self._machines]
        for thread in threads:
            thread.start()
        try:
            while any(t.is_alive() for t in threads) and not failed:
                time.sleep(POLL)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(GRACE)
        if failed:
            raise failed[0]
        return self.result

    def _machine(self, config: Config) -> None:
        device = RtlDevice(config)
        for network in self._networks:
            where = f"{network.label} on {config.name}"
            try:
                row = self.measure(network, device)
            except Stopped:
                return
            except Exception as e:  # whatever is wrong with it, the others are to be measured
                self._say(f"{where} failed: {e}")
                with self._lock:
                    self.result.skipped.append({"network": network.label, "config": config.name,
                                                "reason": str(e) or type(e).__name__})
                continue
            finally:
                device.close()
            with self._lock:
                self.result.rows.append(row)
                self.result.machines[config.name] = {
                    "verilog_lines": device.library.verilog_lines,
                    "build_seconds": device.library.build_seconds,
                    "cycles_per_second":
                        round(device.simulated_cycles / device.simulated_seconds)}
                self._found(self.result, row)

    def measure(self, network: Network, device: RtlDevice) -> dict[str, Any]:
        """The row of a network on a machine."""
        where = f"{network.label} on {device.config.name}"
        self._say(f"{where}: compiling")
        program = api.compile(network.source(), device.config, host=("all",), name=network.label,
                              precision=self._precision)
        device.progress = Progress(self._say, where, "cycles", sum(program.predicted_cycles),
                                   self._stop)
        session = Session(program, device)
        inputs = random_inputs(session.inputs)
        before = device.simulated_seconds
        outputs = session.run(inputs)
        golden = self._golden(program, where, inputs)
        numbers = facts.measured(program, session.counters)
        return {
            "network": network.label, "config": device.config.name,
            "precision": program.precision, "macs": program.macs, "cycles": numbers["cycles"],
            "predicted_cycles": sum(program.predicted_cycles) or None,
            "roofline_cycles": program.roofline_cycles, "dram_bytes": numbers["dram_bytes"],
            "share": numbers["roofline_share"],
            "dram_share": facts.share(numbers["dram_bytes"],
                                      numbers["cycles"] * device.config.bus_bytes),
            "memory_bound": (program.compulsory_bytes * device.config.macs
                             > program.multiplications * device.config.bus_bytes),
            "array_active_share": numbers["array_active_share"],
            "seconds": round(device.simulated_seconds - before, 1), "host": facts.on_host(program),
            "golden": all(np.array_equal(outputs[k], golden[k]) for k in golden)}

    def _golden(self, program: Program, where: str, inputs: dict[str, np.ndarray]
                ) -> dict[str, np.ndarray]:
        progress = Progress(self._say, f"{where}: golden model", "instructions",
                            program.instruction_count, self._stop)

        def watch(index: int, _: Instruction) -> None:
            progress(index)

        return Session(program, GoldenDevice(program.config, watch=watch)).run(inputs)
