# SPDX-License-Identifier: Apache-2.0
"""The way between the server and the process of a device: messages by a socket, the bytes of their
arrays by shared memory, one piece of it for each direction.

Each end sends one message and then waits for the other's, so that a piece is never written while
somebody reads it.
"""

import itertools
import mmap
import os
import pickle
import socket
import struct
from typing import Any, Self

LENGTH = struct.Struct("<Q")
"""What goes in front of a message: its bytes."""

ALIGN = 64


class Memory:
    """Bytes of a file in memory, as many as were needed so far."""

    def __init__(self, file: int):
        self.file = file
        self._map: mmap.mmap | None = None

    def grow(self, size: int) -> None:
        """Have so many bytes at least."""
        if os.fstat(self.file).st_size < size:
            os.ftruncate(self.file, 2 * size)

    def view(self, size: int) -> memoryview:
        """The first bytes of it."""
        if size and (self._map is None or len(self._map) < size):
            self._map = mmap.mmap(self.file, 0)     # the one before lives as long as its views
        return memoryview(self._map or bytearray())[:size]


class Channel:
    """One end. Methods block, and raise EOFError or OSError when the other end is closed.

    Parameters
    ----------
    end : socket.socket
    out, into : int
        Descriptors of the memory that this end writes, and of what it reads.
    copies : bool
        Arrays that come stay as they are when the next message comes; otherwise they are views of
        the shared memory.
    """

    def __init__(self, end: socket.socket, out: int, into: int, copies: bool):
        self._socket, self._copies = end, copies
        self._out, self._into = Memory(out), Memory(into)

    @classmethod
    def pair(cls) -> tuple[Self, tuple[int, int, int]]:
        """The server's end, and the descriptors of the other one; of these the first is to be
        closed, the others are this end's, too."""
        mine, theirs = socket.socketpair()
        there, back = (os.memfd_create(name) for name in ("inputs", "outputs"))
        return cls(mine, there, back, copies=True), (theirs.detach(), back, there)

    def close(self) -> None:
        """Give back what this end holds."""
        self._socket.close()
        for memory in (self._out, self._into):
            os.close(memory.file)

    def send(self, message: Any) -> None:
        """Send a message."""
        buffers: list[pickle.PickleBuffer] = []
        body = pickle.dumps(message, 5, buffer_callback=buffers.append)
        raws = [b.raw() for b in buffers]
        starts = list(itertools.accumulate((-(-len(raw) // ALIGN) * ALIGN for raw in raws),
                                           initial=0))
        self._out.grow(starts[-1])
        space = self._out.view(starts[-1])
        places = [(at, at + len(raw)) for at, raw in zip(starts, raws)]
        for (begin, end), raw in zip(places, raws):
            space[begin:end] = raw
        text = pickle.dumps((places, body), 5)
        self._socket.sendall(LENGTH.pack(len(text)) + text)

    def receive(self) -> Any:
        """Wait for a message."""
        (size,) = LENGTH.unpack(self._exactly(LENGTH.size))
        places, body = pickle.loads(self._exactly(size))
        space = self._into.view(max((end for _, end in places), default=0))
        views = (space[begin:end] for begin, end in places)
        return pickle.loads(body, buffers=map(bytearray, views) if self._copies else views)

    def _exactly(self, size: int) -> bytes:
        data = self._socket.recv(size, socket.MSG_WAITALL)
        if len(data) < size:
            raise EOFError("the other end is closed")
        return data
