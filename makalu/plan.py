# SPDX-License-Identifier: Apache-2.0
"""What chips of several sizes would make of a model, one input a core, by the compiler's model of
time: no chip is simulated."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from compiler.machine.shared import together
from isa.config import Config
from isa.program import Program

PRICES = (0.0, 0.25, 1.0)
"""Of a DRAM byte, with which a model is compiled when none is said: the more cores share a memory,
the more it is worth to move little."""


@dataclass(frozen=True)
class Planned:
    """A number of cores in front of one memory.

    Parameters
    ----------
    cores : int
    bytes_a_cycle : float
        Of the memory.
    price : float
        The one with which the program is the quickest there, of those that were compiled.
    alone : int
        Cycles of an inference on one core with this memory for itself, with the program that is
        the quickest then.
    gang, unicast : int
        Cycles of each core when all are at work, each with an input of its own: as a gang, which
        reads constants and instructions once, and without.
    """

    cores: int
    bytes_a_cycle: float
    price: float
    alone: int
    gang: int
    unicast: int

    def a_second(self, mhz: float, batch: int) -> float:
        """Elements that all cores together infer in a second, of a program for so many a time."""
        return self.cores * batch * mhz * 1e6 / self.gang


def channels(cores: int) -> int:
    """Memory channels of a chip of so many cores, as the presets have them: a power of two, the
    square root of the cores or more."""
    return 1 << math.ceil(math.log2(cores) / 2)


def sizes(cores: int) -> list[int]:
    """One core, and what is four times as much each time, up to and with ``cores``."""
    return sorted({*(4 ** k for k in range(8) if 4 ** k <= cores), cores})


def bandwidth(config: Config, cores: int) -> float:
    """Bytes a cycle of the memory of a chip of so many cores."""
    return channels(cores) * config.bus_bytes


def plan(programs: dict[float, Program], counts: Sequence[int], bytes_a_cycle: float | None = None
         ) -> Iterator[Planned]:
    """What each number of cores makes of a model.

    Parameters
    ----------
    programs : dict of float to Program
        The model, compiled with each price of a DRAM byte.
    counts : sequence of int
    bytes_a_cycle : float, optional
        Of the memory, whatever the cores; by default what a chip of so many has.

    Yields
    ------
    Planned
        One for each of ``counts``.
    """
    config = next(iter(programs.values())).config
    for cores in counts:
        width = bytes_a_cycle or bandwidth(config, cores)
        took = {price: max(together([program] * cores, width, gang=True))
                for price, program in programs.items()}
        best = min(took, key=lambda price: took[price])
        yield Planned(cores, width, best,
                      min(together([program], width)[0] for program in programs.values()),
                      took[best],
                      min(max(together([p] * cores, width)) for p in programs.values()))
