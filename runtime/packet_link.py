# SPDX-License-Identifier: Apache-2.0
"""A board's registers and memory over a stream of bytes, in the packets of :mod:`isa.packets`."""

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from isa.packets import (BEAT_BYTES, CRC_BYTES, HELLO_BYTES, MAX_PAYLOAD, PROTOCOL_VERSION,
                         REGISTER_BYTES, REPLY_BYTES, RESPONSE, RETRY, STATUS_TEXT, Command, Status,
                         crc, request)
from runtime.device import MachineError

TRIES = 4
"""Times that a request is sent before the line is given up."""

WAIT_CYCLES = 1_000_000
"""Cycles that the board waits for the interrupt before it answers."""


JUNK = 4096
"""Bytes in front of a response after which there is none."""

DRAINS = 64
"""Looks at a line that is to be quiet, after which it never is."""


class ByteStream(Protocol):
    """A line to a board, named in messages by ``name``."""

    name: str

    def write(self, data: bytes) -> object:
        """Send."""

    def read(self, size: int) -> bytes:
        """Receive; fewer bytes if no more come within the line's timeout, which is longer than a
        request, a wait of :data:`WAIT_CYCLES`, and the board's own timeout together."""

    def drain(self) -> None:
        """Drop what has been received, and what comes until the line is quiet
        (:func:`until_quiet`)."""

    def close(self) -> None:
        """Give the line back."""


def until_quiet(name: str, read: Callable[[], bytes]) -> None:
    """Read what comes on a line until nothing does.

    Raises
    ------
    MachineError
        If that does not happen.
    """
    for _ in range(DRAINS):
        if not read():
            return
    raise MachineError(f"{name} does not fall silent: check the baud rate, and that only the board "
                       "sends on it")


class PacketLink:
    """A :class:`runtime.host.Link`.

    A request whose answer is missing, damaged or says that the line failed is sent again, a few
    times. Memory is read and written in packets of up to the board's largest payload.

    Parameters
    ----------
    stream : ByteStream
    patience : float
        Seconds that :meth:`wait` waits for the interrupt.

    Attributes
    ----------
    memory_bytes : int
        Size of the board's memory, which starts at address 0.
    retries : int
        Requests that were sent again.

    Raises
    ------
    MachineError
        From any call: the board does not answer, or refuses.
    """

    def __init__(self, stream: ByteStream, patience: float = 60.0):
        self._stream, self._seconds = stream, patience
        self.patience = f"{patience:g} s"
        self._sequence, self.retries = 0, 0
        stream.drain()
        hello = self._ask(Command.HELLO, HELLO_BYTES)
        if hello[0] != PROTOCOL_VERSION:
            raise MachineError(f"the board on {stream.name} speaks version {hello[0]} of the "
                               f"protocol, not {PROTOCOL_VERSION}: write a bitstream of this "
                               "checkout to it with make bitstream")
        self.memory_bytes = 1 << hello[1]
        self._piece = min(int.from_bytes(hello[2:4], "little"), MAX_PAYLOAD)

    def read(self, offset: int) -> int:
        """A register."""
        return int.from_bytes(self._ask(Command.READ_REGISTER, REGISTER_BYTES, REGISTER_BYTES,
                                        offset), "little")

    def write(self, offset: int, value: int) -> None:
        """Change a register."""
        self._ask(Command.WRITE_REGISTER, 0, REGISTER_BYTES, offset,
                  value.to_bytes(REGISTER_BYTES, "little"))

    def read_memory(self, address: int, size: int) -> np.ndarray:
        """Bytes of memory; address and size are multiples of 8."""
        self._check(address, size)
        data = b"".join(self._ask(Command.READ_MEMORY, n, n, address + at)
                        for at, n in self._pieces(size))
        return np.frombuffer(data, np.uint8)

    def write_memory(self, address: int, data: np.ndarray) -> None:
        """Change memory; address and size are multiples of 8."""
        self._check(address, data.size)
        for at, n in self._pieces(data.size):
            self._ask(Command.WRITE_MEMORY, 0, n, address + at, data[at:at + n].tobytes())

    def wait(self) -> bool:
        """Until the interrupt; false after ``patience``."""
        end = time.monotonic() + self._seconds
        while not self._ask(Command.WAIT, 1, 0, WAIT_CYCLES)[0]:
            if time.monotonic() > end:
                return False
        return True

    def _pieces(self, size: int) -> list[tuple[int, int]]:
        return [(at, min(self._piece, size - at)) for at in range(0, size, self._piece)]

    def _check(self, address: int, size: int) -> None:
        if address % BEAT_BYTES or size % BEAT_BYTES:
            raise ValueError(f"{size} bytes at {address:#x} are not whole beats of {BEAT_BYTES}")
        if address + size > self.memory_bytes:
            raise MachineError(f"the board on {self._stream.name} has {self.memory_bytes:,} bytes "
                               f"of memory, {address + size:,} are needed: use a smaller network")

    def _ask(self, command: Command, answers: int, count: int = 0, address: int = 0,
             payload: bytes = b"") -> bytes:
        """The payload of the response, of ``answers`` bytes."""
        self._sequence = (self._sequence + 1) % 256
        packet = request(command, self._sequence, count, address, payload)
        why = "does not answer"
        for attempt in range(TRIES):
            if attempt:
                self.retries += 1
                self._stream.drain()
            self._stream.write(packet)
            got = self._response()
            if got is None:
                continue
            status, sequence, data = got
            if status in RETRY:
                why = f"refuses {command.name}: {STATUS_TEXT[Status(status)]}"
            elif sequence == self._sequence and status != Status.OK:
                text = STATUS_TEXT.get(status, f"status {status}")  # type: ignore[call-overload]
                raise MachineError(f"the board on {self._stream.name} refuses {command.name} at "
                                   f"{address:#x}: {text}")
            elif sequence == self._sequence and len(data) == answers:
                return data
        raise MachineError(f"the board on {self._stream.name} {why}, {TRIES} times: check the "
                           "cable, that the bitstream is loaded, and the baud rate")

    def _response(self) -> tuple[int, int, bytes] | None:
        """Status, sequence and payload of the next response that is whole, if there is one."""
        for _ in range(JUNK):
            first = self._stream.read(1)
            if first == bytes([RESPONSE]):
                break
            if not first:
                return None
        else:
            return None
        head = self._stream.read(REPLY_BYTES)
        if len(head) < REPLY_BYTES:
            return None
        count = int.from_bytes(head[2:], "little")
        if count > MAX_PAYLOAD:
            return None
        rest = self._stream.read(count + CRC_BYTES)
        if len(rest) < count + CRC_BYTES or crc(head + rest):
            return None
        return head[0], head[1], rest[:count]
