# SPDX-License-Identifier: Apache-2.0
"""The packets between a host and a board as data: RTL, driver and ``docs/board.md`` follow it.

::

    request    A5 | command | sequence | count: 2 | address: 4 | payload | CRC: 2
    response   5A | status  | sequence | count: 2              | payload | CRC: 2

Numbers are sent low byte first, the CRC high byte first. A request has a payload of ``count``
bytes if its command writes (:data:`WITH_PAYLOAD`), otherwise ``count`` is the size of what is asked
for. A response has a payload of its ``count`` bytes. The CRC is over everything between the first
byte and itself: polynomial 0x1021, start 0xFFFF, highest bit first. The host sends one request and
waits for its response.
"""

import enum
from binascii import crc_hqx

REQUEST, RESPONSE = 0xA5, 0x5A
"""First byte of a packet."""

HEADER_BYTES, REPLY_BYTES = 8, 4
"""Bytes between the first byte and the payload, of a request and of a response."""

CRC_BYTES, CRC_POLYNOMIAL, CRC_START = 2, 0x1021, 0xFFFF

MAX_PAYLOAD = 2048
"""Bytes: one block RAM."""

BEAT_BYTES = 8
"""What address and count of a memory command are multiples of."""

WAIT_BITS = 24
"""Of the cycles of a WAIT: the line answers within a second, and the host asks again."""

REGISTER_BYTES, HELLO_BYTES = 4, 8
PROTOCOL_VERSION = 1


class Command(enum.IntEnum):
    """What a host may ask for.

    HELLO answers with eight bytes: the protocol's version, logarithm of the memory's bytes, largest
    payload (2 bytes), zeros; the board forgets the last sequence number. WAIT answers when the
    interrupt is high or ``address`` clock cycles have gone by, with a byte that is 1 or 0
    accordingly; there are fewer than 2**24. WRITE_REGISTER is done once: with the sequence number
    of the one just before it, it is only answered. ``count`` is 4 for registers, a multiple of 8 up
    to :data:`MAX_PAYLOAD` for memory, otherwise 0.
    """

    HELLO = 1
    WRITE_MEMORY = 2
    READ_MEMORY = 3
    WRITE_REGISTER = 4
    READ_REGISTER = 5
    WAIT = 6


WITH_PAYLOAD = (Command.WRITE_MEMORY, Command.WRITE_REGISTER)


class Status(enum.IntEnum):
    """How a request ended; all but OK had no effect."""

    OK = 0
    BAD_CRC = 1
    BAD_BYTE = 2
    TIMEOUT = 3
    BAD_COMMAND = 4
    BAD_COUNT = 5
    BAD_ADDRESS = 6
    BUS_ERROR = 7


STATUS_TEXT = {
    Status.OK: "done",
    Status.BAD_CRC: "the CRC is wrong",
    Status.BAD_BYTE: "a byte has no stop bit",
    Status.TIMEOUT: "the packet is not complete",
    Status.BAD_COMMAND: "there is no such command",
    Status.BAD_COUNT: "the count is not one that the command takes",
    Status.BAD_ADDRESS: "the address is not a multiple of the access, outside the memory, or too "
                        "long a wait",
    Status.BUS_ERROR: "the register file answers with an error",
}

RETRY = (Status.BAD_CRC, Status.BAD_BYTE, Status.TIMEOUT)
"""What the line did, not the host: the same request may go well when it is sent again. The board
answers so when the line has been quiet for its timeout."""


def crc(data: bytes) -> int:
    """The CRC of a packet's bytes without the first."""
    return crc_hqx(data, CRC_START)


def request(command: int, sequence: int, count: int, address: int, payload: bytes = b"") -> bytes:
    """A request as it goes over the line."""
    body = bytes([command, sequence]) + count.to_bytes(2, "little") + address.to_bytes(4, "little")
    body += payload
    return bytes([REQUEST]) + body + crc(body).to_bytes(CRC_BYTES, "big")


def response(status: int, sequence: int, payload: bytes = b"") -> bytes:
    """A response as it goes over the line."""
    body = bytes([status, sequence]) + len(payload).to_bytes(2, "little") + payload
    return bytes([RESPONSE]) + body + crc(body).to_bytes(CRC_BYTES, "big")
