# SPDX-License-Identifier: Apache-2.0
"""What chips of several sizes would make of a model, an input for each core or each group of cores,
by the compiler's model of time: no chip is simulated."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from compiler.machine.shared import gang, gang_cycles, steps_of, together
from compiler.machine.steps import Step
from isa.config import Config
from isa.program import Program

PRICES = (0.0, 0.25, 1.0)
"""Of a DRAM byte, with which a model is compiled when none is said: the more cores share a memory,
the more it is worth to move little."""


@dataclass(frozen=True)
class Planned:
    """A number of cores in front of one memory, in groups of ``ranks`` that work on an input each.

    Parameters
    ----------
    cores, ranks : int
    bytes_a_cycle : float
        Of the memory.
    price : float
        The one with which the program is the quickest there, of those that were compiled.
    alone : int
        Cycles of an inference on one core with this memory for itself, with the program that is
        the quickest then.
    groups : int
        That are at work at the same time.
    gang, unicast : int
        Cycles of an inference when all groups are at work, as a gang, whose cores of one rank read
        constants and instructions once, and without; from the start of the first core to the end of
        the last.
    """

    cores: int
    ranks: int
    bytes_a_cycle: float
    price: float
    alone: int
    groups: int
    gang: int
    unicast: int

    def a_second(self, mhz: float, batch: int) -> float:
        """Elements that all cores together infer in a second, of a program for so many a time."""
        return self.groups * batch * mhz * 1e6 / self.gang

    def share(self, cycles: int) -> float:
        """How quick each core of a group is that takes so many cycles, against one alone."""
        return self.alone / (self.ranks * cycles)


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


def plan(programs: Sequence[Mapping[float, Program]], counts: Sequence[int],
         bytes_a_cycle: float | None = None) -> Iterator[Planned]:
    """What each number of cores makes of a model.

    Parameters
    ----------
    programs : sequence of mappings of float to Program
        The model, compiled with each price of a DRAM byte: first for one core, then for each size
        of a group that is wanted.
    counts : sequence of int
    bytes_a_cycle : float, optional
        Of the memory, whatever the cores; by default what a chip of so many has.

    Yields
    ------
    Planned
        For each of ``counts``, one for each of ``programs`` that has no more cores.
    """
    config = next(iter(programs[0].values())).config
    for cores in counts:
        width = bytes_a_cycle or bandwidth(config, cores)
        alone = min(together([program], width)[0] for program in programs[0].values())
        for priced in programs:
            one = next(iter(priced.values()))
            if one.ranks > cores:
                continue
            took = {price: in_groups(program, cores, width) for price, program in priced.items()}
            best = min(took, key=lambda price: took[price])
            unicast = min(in_groups(program, cores, width, meet=False)
                          for program in priced.values())
            yield Planned(cores, one.ranks, width, best, alone, groups(one, cores), took[best],
                          unicast)


def groups(program: Program, cores: int) -> int:
    """How many groups of a chip's cores run a program at the same time, an input each."""
    return cores // program.ranks


def in_groups(program: Program, cores: int, bytes_a_cycle: float | None = None, meet: bool = True
              ) -> int:
    """Cycles of an inference while all groups of a chip's cores are at work.

    Parameters
    ----------
    program : Program
        For one core or for several.
    cores : int
        Of the chip: as many as the program's at least.
    bytes_a_cycle : float, optional
        Of the memory; by default what a chip of so many cores has.
    meet : bool
        Whether the groups are a gang, which reads constants and instructions once.
    """
    width = bytes_a_cycle or bandwidth(program.config, cores)
    if cores == 1:      # a machine alone, without a hub
        return together([program], width)[0]
    return gang_cycles(gang(streams_of(program), program.config, width,
                            teams=groups(program, cores), meet=meet))


def streams_of(program: Program) -> list[list[Step]]:
    """The steps of each rank, as the model of time takes them."""
    return [steps_of(program), *(
        steps_of(replace(program, start=of.start, node_of=of.node_of,
                         instruction_count=of.instruction_count, streams=[]))
        for of in program.streams)]
