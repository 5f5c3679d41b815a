# SPDX-License-Identifier: Apache-2.0
"""What LOADs read from behind the instructions: weights and parameters.

An attempt of the back end only needs to know how long they are; the bytes are made for the program
that is taken.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

DRAM_ALIGN = 64
"""Bytes: where tensors and weight streams start in their region."""


def aligned(size: int) -> int:
    """``size`` rounded up to :data:`DRAM_ALIGN`."""
    return -(-size // DRAM_ALIGN) * DRAM_ALIGN


@dataclass(frozen=True, eq=False)
class Stream:
    """Words of the scratchpad that one LOAD or several in a row fill, and what makes their
    bytes."""

    words: int
    make: Callable[[], bytes]


class Constants:
    """The streams of a program, each once.

    Parameters
    ----------
    lanes : int
        Bytes of a word.
    """

    def __init__(self, lanes: int):
        self.data = bytearray()
        self._lanes = lanes
        self._known: dict[Stream, int] = {}
        self._equal: dict[bytes, int] = {}

    def place(self, stream: Stream) -> int:
        """Where a stream starts, in bytes."""
        if stream not in self._known:
            data = stream.make()
            assert len(data) == stream.words * self._lanes, "a stream is as long as it was planned"
            at = self._equal.setdefault(hashlib.sha256(data).digest(), len(self.data))
            if at == len(self.data):
                self.data += data + bytes(aligned(len(data)) - len(data))
            self._known[stream] = at
        return self._known[stream]
