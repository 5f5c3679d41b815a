# SPDX-License-Identifier: Apache-2.0
"""Instructions before their waits are known, with what they read and write.

An extent is ``(space, start, end)``: scratchpad words, or bytes of a DRAM region.
"""

from dataclasses import dataclass, field

from isa.instructions import QUEUE_OF, Opcode, Region

SPM = -1
"""The scratchpad's space; DRAM spaces are :class:`isa.instructions.Region`."""

Extent = tuple[int, int, int]


@dataclass(eq=False)
class Step:
    """One instruction; ``cycles`` is how long it occupies its engine, ``tail`` how much later it
    completes."""

    opcode: Opcode
    fields: dict[str, int]
    node: int
    cycles: int
    tail: int
    reads: list[Extent] = field(default_factory=list)
    writes: list[Extent] = field(default_factory=list)

    @property
    def queue(self) -> str:
        return QUEUE_OF[self.opcode]

    @property
    def loads_weights(self) -> bool:
        return self.opcode == Opcode.LOAD and self.fields["region"] == Region.PROGRAM


def overlap(a: list[Extent], b: list[Extent]) -> bool:
    """Whether two lists of extents have a word in common."""
    return any(x[0] == y[0] and x[1] < y[2] and y[1] < x[2] for x in a for y in b)


def conflict(a: Step, b: Step) -> bool:
    """Whether the two may not change places."""
    return (overlap(a.writes, b.reads) or overlap(a.reads, b.writes)
            or overlap(a.writes, b.writes))
