# SPDX-License-Identifier: Apache-2.0
"""A whole simulated board as a device: the driver of real boards, over a simulated serial line."""

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any

from hw.board.axi_slave import check_bus
from hw.board.board import Settings
from hw.board.ulx3s import TOP, verilog
from isa.config import Config
from runtime.packet_link import until_quiet
from runtime.uart_device import UartDevice
from sim.build import ROOT, Kind, build, verilog_text
from sim.harness import SimulationError
from sim.sdram import Parameters, Statistics, parameters

KIND = Kind(TOP, tuple(ROOT / name for name in ("board.cpp", "ends.h", "sdram.h", "serial.h")))

FAST = Settings(baud=12.5e6, timeout=100e-6)
"""A bit of four cycles, and a short timeout, so that the line takes little of a simulation."""

SILENCE = 3_000_000
"""Cycles without an awaited byte after which the line's other end does not answer."""


class SimulatedBoard:
    """A board, a :class:`runtime.packet_link.ByteStream`: time goes on while a byte is awaited.

    Parameters
    ----------
    config : Config
    settings : Settings

    Attributes
    ----------
    library : sim.build.Library

    Raises
    ------
    ConfigError
        If the machine's bus is not as wide as the memory's beats.
    ToolError
        If the simulation cannot be built.
    SimulationError
        From any call: the design breaks a rule of the memory or an assertion.
    """

    name = "the simulated board"

    def __init__(self, config: Config, settings: Settings = FAST):
        check_bus(config)
        self.library = build(verilog_text(
            config.name, f"{config.hash:016x} {settings!r}", "hw.board.ulx3s",
            lambda: verilog(config, settings, simulated=True)), kind=KIND)
        self._quiet = 2 * round(settings.timeout * settings.frequency)
        self._lib = ctypes.CDLL(str(self.library.path))
        for name, result, arguments in (
                ("create", c_void_p, [POINTER(Parameters), c_uint32]),
                ("destroy", None, [c_void_p]), ("message", c_char_p, [c_void_p]),
                ("cycle", c_uint64, [c_void_p]),
                ("statistics", None, [c_void_p, POINTER(Statistics)]),
                ("press", None, [c_void_p, c_uint32]), ("leds", c_uint32, [c_void_p]),
                ("send", None, [c_void_p, c_char_p, c_uint64]),
                ("run", c_int, [c_void_p, c_uint64, c_uint64]),
                ("receive", c_uint64, [c_void_p, POINTER(c_uint8), c_uint64])):
            function = getattr(self._lib, f"board_{name}")
            function.restype, function.argtypes = result, arguments
        self._handle: int | None = self._lib.board_create(
            byref(parameters(settings.chip, settings.frequency)), settings.divisor)
        self.run(round((settings.chip.startup / 1e9 + 2e-6) * settings.frequency))

    def close(self) -> None:
        """Free the simulation."""
        if self._handle is not None:
            self._lib.board_destroy(self._handle)
            self._handle = None

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self.close()

    def write(self, data: bytes) -> None:
        """Send; the bytes leave while the board runs."""
        self._lib.board_send(self._handle, data, len(data))

    def read(self, size: int) -> bytes:
        """Receive; fewer bytes if nothing comes for :data:`SILENCE` cycles."""
        self.run(SILENCE, size)
        into = (c_uint8 * size)()
        return bytes(into[:self._lib.board_receive(self._handle, into, size)])

    def drain(self) -> None:
        """Drop what comes until the board has given up what it received."""
        def read() -> bytes:
            self.run(self._quiet)
            return self.read_now()

        until_quiet(self.name, read)

    def read_now(self) -> bytes:
        """What has come so far, up to 4096 bytes."""
        into = (c_uint8 * 4096)()
        return bytes(into[:self._lib.board_receive(self._handle, into, len(into))])

    def run(self, cycles: int, size: int = 2**63) -> None:
        """Let time go on, until ``size`` bytes have come at most."""
        if not self._lib.board_run(self._handle, cycles, size):
            raise SimulationError(self._lib.board_message(self._handle).decode())

    def press(self, *buttons: int) -> None:
        """Hold these buttons, and no others."""
        self._lib.board_press(self._handle, sum(1 << b for b in buttons))

    @property
    def leds(self) -> int:
        """The lights, a bit each."""
        return int(self._lib.board_leds(self._handle))

    @property
    def cycle(self) -> int:
        """Clock cycles since power-up."""
        return int(self._lib.board_cycle(self._handle))

    @property
    def statistics(self) -> Statistics:
        """Commands that the SDRAM got."""
        result = Statistics()
        self._lib.board_statistics(self._handle, byref(result))
        return result


class BoardDevice(UartDevice):
    """The device.

    Parameters
    ----------
    config : Config
        A machine with a bus of eight bytes.
    settings : Settings
    options
        Of :class:`runtime.uart_device.UartDevice`.

    Attributes
    ----------
    board : SimulatedBoard
    """

    def __init__(self, config: Config, settings: Settings = FAST, **options: Any):
        self.board = SimulatedBoard(config, settings)
        super().__init__(config, self.board, name="board", **options)
