# SPDX-License-Identifier: Apache-2.0
"""Instructions before their waits are known, with what they read and write.

An extent is ``(space, start, end)``: scratchpad words, or bytes of a DRAM region.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from compiler.machine.constants import Stream
from isa.instructions import QUEUE_OF, Opcode

SPM = -1
"""The scratchpad's space; DRAM spaces are :class:`isa.instructions.Region`."""

Extent = tuple[int, int, int]


class Varying(NamedTuple):
    """That a DRAM address grows by ``stride`` bytes for each ``1 << shift`` of an argument of the
    execution, of which ``mask`` says the bits that count."""

    argument: str
    stride: int
    shift: int = 0
    mask: int = 0xFFFF_FFFF


@dataclass(eq=False)
class Step:
    """One instruction; ``cycles`` is how long it occupies its engine, ``tail`` how much later it
    completes, ``blocks`` a TENSOR's accumulator blocks (:data:`compiler.machine.timing.Blocks`).
    With a ``stream`` its DRAM address counts from the start of that; ``varying``: it is another
    one in each execution."""

    opcode: Opcode
    fields: dict[str, int]
    node: int
    cycles: int
    tail: int
    reads: list[Extent] = field(default_factory=list)
    writes: list[Extent] = field(default_factory=list)
    blocks: list[tuple[int, int, int]] = field(default_factory=list)
    stream: Stream | None = None
    varying: Varying | None = None

    @property
    def queue(self) -> str:
        return QUEUE_OF[self.opcode]

