# SPDX-License-Identifier: Apache-2.0
"""Instructions before their waits are known, with what they read and write.

An extent is ``(space, start, end)``: scratchpad words, or bytes of a DRAM region.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from compiler.ir.graph import Varying
from compiler.machine.constants import Stream
from isa.instructions import QUEUE_OF, UNIT_BYTES, Opcode, encoded_bytes, whole_blocks

SPM = -1
"""The scratchpad's space; DRAM spaces are :class:`isa.instructions.Region`."""

Extent = tuple[int, int, int]


@dataclass(eq=False)
class Step:
    """One instruction; ``cycles`` is how long it occupies its engine, ``tail`` how much later it
    completes, ``blocks`` a TENSOR's accumulator blocks (:data:`compiler.machine.timing.Blocks`).
    With a ``stream`` its DRAM address counts from the start of that, in its region at ``base`` as
    far as is known; ``varying``: it is another one in each execution. In a gang it is of a
    ``rank``; what an XFER reads ``lands`` in words of the ranks ``to``, a mask; ``after``: steps of
    its rank that have to be complete before it starts, whatever it reads and writes. The ``box``
    that a LOAD is of has words between its rows that it does not write and that nobody needs."""

    opcode: Opcode
    fields: dict[str, int]
    node: int
    cycles: int
    tail: int
    reads: list[Extent] = field(default_factory=list)
    writes: list[Extent] = field(default_factory=list)
    blocks: list[tuple[int, int, int]] = field(default_factory=list)
    stream: Stream | None = None
    base: int = 0
    varying: tuple[Varying, ...] = ()
    rank: int = 0
    to: int = 0
    lands: list[Extent] = field(default_factory=list)
    after: list["Step"] = field(default_factory=list)
    box: Sequence[Extent] = ()

    @property
    def queue(self) -> str:
        return QUEUE_OF[self.opcode]

    @property
    def receivers(self) -> list[int]:
        """The ranks that it sends to."""
        return [rank for rank in range(self.to.bit_length()) if self.to >> rank & 1]

    @property
    def moved_words(self) -> int:
        """Words between DRAM and scratchpad."""
        if self.opcode not in (Opcode.LOAD, Opcode.STORE):
            return 0
        return math.prod(self.fields[n] for n in ("n0", "n1", "n2", "n3"))

    @property
    def code_bytes(self) -> int:
        """Of the instruction, whatever it waits for."""
        return encoded_bytes(self.opcode, self.fields)


def code_size(steps: Iterable[Step]) -> int:
    """Bytes of a program's instructions, END included, up to the end of their last block."""
    return whole_blocks(sum(step.code_bytes for step in steps) + UNIT_BYTES)
