# SPDX-License-Identifier: Apache-2.0
"""The bursts of transfers, by the channels of a chip's memory that they are in."""

from collections.abc import Iterator

from compiler.machine.steps import Step
from isa.chip import INTERLEAVE
from isa.config import Config
from isa.instructions import FETCH_BYTES

Bursts = tuple[tuple[int, int], ...]
"""Of each burst the block of :data:`isa.chip.INTERLEAVE` bytes of its region that it is in, and its
beats. Regions begin at multiples of what all channels have of them."""


def _runs(step: Step) -> Iterator[int]:
    """Where each run of bytes that follow one another begins."""
    f = step.fields
    for k3 in range(f["n3"]):
        for k2 in range(f["n2"]):
            at = step.base + f["dram"] + k3 * f["dram_stride3"] + k2 * f["dram_stride2"]
            for _ in range(f["n1"]):
                yield at
                at += f["dram_stride1"]


def bursts_of(step: Step, config: Config) -> Bursts:
    """Of a LOAD or a STORE, whose runs are cut at multiples of the longest burst."""
    bus, longest = config.bus_bytes, config.max_burst * config.bus_bytes
    size = step.fields["n0"] * config.word_bytes
    found = []
    for at in _runs(step):
        end = at + size
        while at < end:
            until = min(end, at - at % longest + longest)
            found.append((at // INTERLEAVE, -(-until // bus) - at // bus))
            at = until
    return tuple(found)


def bursts_of_block(code: int, block: int, config: Config) -> Bursts:
    """Of a block of the instructions that begin at ``code``."""
    return ((code + block * FETCH_BYTES) // INTERLEAVE, FETCH_BYTES // config.bus_bytes),
