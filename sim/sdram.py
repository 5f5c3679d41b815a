# SPDX-License-Identifier: Apache-2.0
"""The SDRAM that checks its controller (sim/sdram.h), one clock edge at a time."""

import ctypes
import subprocess
from ctypes import POINTER, Structure, byref, c_double, c_uint8, c_uint16, c_uint32, c_uint64
from pathlib import Path

from hw.board.sdram_chip import SdramChip
from sim.build import ROOT
from sim.cache import digest, kept
from sim.harness import SimulationError
from sim.verilator import ToolError

SOURCES = (ROOT / "sdram_model.cpp", ROOT / "sdram.h")
STARTUP_REFRESHES = 8
OPEN_NS = 100_000.0
"""Longest time that a row may be open."""


class Parameters(Structure):
    """Geometry, ns and cycles as in sim/sdram.h."""

    _fields_ = [*((n, c_double) for n in (
        "clock", "rcd", "rp", "ras", "rc", "rfc", "wr", "rrd", "startup", "refresh", "open",
        "cas2", "cas3")), *((n, c_uint32) for n in (
            "mrd", "refreshes", "row_bits", "column_bits", "bank_bits"))]


class Pins(Structure):
    """Levels at an edge; ``d`` and ``oe`` are the controller's side of the data."""

    _fields_ = [("a", c_uint16), ("d", c_uint16),
                *((n, c_uint8) for n in ("ba", "dqm", "oe", "cke", "csn", "rasn", "casn", "wen"))]


class Statistics(Structure):
    """Commands that came: ``activates``, ``reads``, ``writes``, ``refreshes``."""

    _fields_ = [(n, c_uint64) for n in ("activates", "reads", "writes", "refreshes")]


def parameters(chip: SdramChip, frequency: float) -> Parameters:
    """What the model checks for a chip at a clock frequency in Hz."""
    same = {n: getattr(chip, n) for n in ("rcd", "rp", "ras", "rc", "rfc", "wr", "rrd", "startup",
                                          "mrd", "row_bits", "column_bits", "bank_bits")}
    return Parameters(clock=1e9 / frequency, refresh=chip.refresh_ns / chip.refresh_rows,
                      refreshes=STARTUP_REFRESHES, open=OPEN_NS, cas2=1e9 / chip.cas2_hz,
                      cas3=1e9 / chip.cas3_hz, **same)


def library() -> Path:
    """The model, built if it is not in the cache.

    Raises
    ------
    ToolError
        If g++ is missing or fails.
    """
    def make(path: Path) -> None:
        try:
            subprocess.run(["g++", "-std=c++17", "-O2", "-Wall", "-fPIC", "-shared",
                            "-fvisibility=hidden", str(SOURCES[0]), "-o", str(path)],
                           check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise ToolError("the SDRAM model needs g++, which this machine does not have: "
                            "install it with apt-get install g++ (or the like)") from None
        except subprocess.CalledProcessError as e:
            raise ToolError(f"g++ failed on the SDRAM model:\n{e.stderr}") from None

    key = digest(*(p.read_bytes() for p in SOURCES))
    return kept("sim", f"sdram-{key}.so", make)[0]


class SdramModel:
    """One memory.

    Parameters
    ----------
    chip : SdramChip
        Its geometry and what it demands.
    frequency : float
        Of its clock, in Hz.
    """

    def __init__(self, chip: SdramChip, frequency: float):
        self._lib = ctypes.CDLL(str(library()))
        for name, result, arguments in (
                ("create", ctypes.c_void_p, [POINTER(Parameters)]),
                ("destroy", None, [ctypes.c_void_p]),
                ("edge", c_uint16, [ctypes.c_void_p, POINTER(Pins)]),
                ("violation", ctypes.c_char_p, [ctypes.c_void_p]),
                ("statistics", None, [ctypes.c_void_p, POINTER(Statistics)])):
            function = getattr(self._lib, f"sdram_{name}")
            function.restype, function.argtypes = result, arguments
        self._handle = self._lib.sdram_create(byref(parameters(chip, frequency)))

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._lib.sdram_destroy(self._handle)
            self._handle = None

    def edge(self, pins: Pins) -> int:
        """A clock edge; gives the word on the bus up to the next.

        Raises
        ------
        SimulationError
            If the controller has broken a rule of the memory.
        """
        word = self._lib.sdram_edge(self._handle, byref(pins))
        violation = self._lib.sdram_violation(self._handle)
        if violation:
            raise SimulationError(violation.decode())
        return int(word)

    @property
    def statistics(self) -> Statistics:
        """What came so far."""
        result = Statistics()
        self._lib.sdram_statistics(self._handle, byref(result))
        return result
