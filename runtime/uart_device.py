# SPDX-License-Identifier: Apache-2.0
"""A board on a serial line as a device."""

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np

from isa.config import Config
from isa.program import Program
from runtime.device import Device, MachineError, Result
from runtime.host import Host, layout
from runtime.packet_link import ByteStream, PacketLink, until_quiet

BAUD = 1_000_000
"""Rate of the boards' default settings."""

TIMEOUT = 2.0
"""Seconds without a byte from the board after which it does not answer."""

QUIET = 0.1
"""Seconds of silence after which a board has given up what it received; longer than its timeout."""

DROP_BYTES = 4096
"""Bytes that are dropped at once."""


class SerialPort:
    """A port of this computer, a :class:`runtime.packet_link.ByteStream`.

    Parameters
    ----------
    port : str
        As the system names it, ``/dev/ttyUSB0`` or ``COM3``, with ``@baud`` behind it if the rate
        is not :data:`BAUD`.

    Raises
    ------
    MachineError
        If pyserial is not installed, the port does not open, or it fails later on.
    """

    def __init__(self, port: str):
        try:
            import serial
        except ImportError:
            raise MachineError("a device on a serial line needs the package pyserial, which this "
                               "Python environment does not have: run pip install pyserial"
                               ) from None
        self.name, _, baud = port.partition("@")
        if baud and not baud.isdecimal():
            raise MachineError(f"{port!r} is not a port: {baud!r} behind @ has to be a baud rate")
        try:
            self._port = serial.Serial(self.name, int(baud or BAUD), timeout=TIMEOUT)
        except (OSError, ValueError) as e:
            raise MachineError(f"the port {self.name!r} does not open ({e}): check that the board "
                               "is plugged in, the port's name, and that you may use it (on Linux "
                               "the group dialout)") from None

    def write(self, data: bytes) -> None:
        """Send."""
        with self._plugged():
            self._port.write(data)

    def read(self, size: int) -> bytes:
        """Receive, up to ``size`` bytes."""
        with self._plugged():
            return bytes(self._port.read(size))

    def drain(self) -> None:
        """Drop what comes until the line is quiet."""
        with self._plugged():
            self._port.timeout = QUIET
            until_quiet(f"the port {self.name!r}", lambda: self._port.read(DROP_BYTES))
            self._port.timeout = TIMEOUT

    @contextlib.contextmanager
    def _plugged(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            raise MachineError(f"the port {self.name!r} fails ({e}): check that the board is still "
                               "plugged in") from None

    def close(self) -> None:
        """Give the port back."""
        self._port.close()


class UartDevice(Device):
    """A machine behind a stream of bytes.

    Parameters
    ----------
    config : Config
        The machine on the board.
    stream : ByteStream
        The line to it.
    name : str
        What the command line calls the device.
    watchdog : int, optional
        Cycles without a completed instruction and without memory traffic after which the machine
        gives up; by default derived from what the compiler predicts for the program.
    patience : float
        Seconds that an execution may take.

    Attributes
    ----------
    link : PacketLink

    Raises
    ------
    MachineError
        If the board does not answer, or holds another machine.
    """

    def __init__(self, config: Config, stream: ByteStream, *, name: str = "uart",
                 watchdog: int | None = None, patience: float = 60.0):
        self.config, self.name, self._stream = config, name, stream
        self.link = PacketLink(stream, patience)
        self._host = Host(self.link, config, watchdog)
        self._loaded = False

    def load(self, program: Program) -> None:
        """See :meth:`runtime.device.Device.load`."""
        program.check(self.config)
        self._host.load(program, layout(program, 0))
        self._loaded = True

    def enter(self, entry: Program, arguments: Mapping[str, int]) -> None:
        """See :meth:`runtime.device.Device.enter`."""
        self._host.enter(entry, arguments)

    def execute(self, inputs: np.ndarray) -> Result:
        """See :meth:`runtime.device.Device.execute`."""
        if not self._loaded:
            raise RuntimeError("no program is loaded: call load first")
        return self._host.execute(inputs)

    def close(self) -> None:
        """Give the line back; nothing else may be called afterwards."""
        self._stream.close()
