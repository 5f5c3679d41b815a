# SPDX-License-Identifier: Apache-2.0
"""The model of time of several cores in front of one memory.

Each core runs its program on a model of its own (:func:`compiler.machine.timing.running`), which
asks for its transfers one after the other. Those that are under way share the bandwidth evenly, and
none gets more than a beat of its core's bus a cycle: what a memory comes to that serves the cores
in turn, burst by burst. What a gang reads together moves once, when all of its cores want it.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

from compiler.machine.steps import Step
from compiler.machine.timing import Running, beside, running, timed
from isa.instructions import PLACES, Opcode
from isa.program import Program


def steps_of(program: Program) -> list[Step]:
    """The instructions of a compiled program, END excepted, as the model of time takes them."""
    found = []
    for instruction, node in zip(program.instructions(), program.node_of, strict=True):
        if instruction.opcode is not Opcode.END:
            fields = {f.name: getattr(instruction, f.name) for f, _ in PLACES[instruction.opcode]}
            cycles, tail, blocks = timed(program.config, instruction.opcode, fields)
            found.append(Step(instruction.opcode, fields, node, cycles, tail, blocks=blocks))
    return found


@dataclass
class _Core:
    """A program under way: how many beats it wants next, from which cycle on, and whether a gang
    reads them together; at the end the cycle of its last completion."""

    run: Running
    delay: int
    first: int = 0
    beats: int = 0
    shared: bool = False
    cycles: int | None = None

    def ask(self, last: int | None) -> None:
        """Go on to the next beats that it wants; ``last``: when those before had moved."""
        try:
            first, self.beats, self.shared = (next(self.run) if last is None
                                              else self.run.send(last - self.delay))
            self.first = self.delay + first
        except StopIteration as e:
            self.cycles = max((end for _, _, end in e.value), default=0)


def together(programs: Sequence[Program], bytes_a_cycle: float,
             delays: Sequence[int] | None = None, gang: bool = False) -> list[int]:
    """Predicted cycles of programs, each on a core of its own, in front of one memory.

    Parameters
    ----------
    programs : sequence of Program
        For one machine; the same one may be there several times.
    bytes_a_cycle : float
        What the memory moves, reads and writes of all cores together.
    delays : sequence of int, optional
        For each core by how many cycles later it starts.
    gang : bool
        Whether they are a gang, and instructions and LOADs with ``group`` are read once for all.

    Returns
    -------
    list[int]
        For each core cycles from its start to its end; of one alone, with the bandwidth of its bus
        or more, the sum of :attr:`Program.predicted_cycles`.

    Raises
    ------
    ValueError
        If there is no program or no bandwidth, the programs are for different machines, or, of a
        gang, not the same; or the delays are not one for each.
    """
    late = [0] * len(programs) if delays is None else list(delays)
    machines = {p.config.hash: p.config for p in programs}
    if len(machines) != 1:
        raise ValueError("give one program or several, all for the same machine; got "
                         f"{', '.join(c.name for c in machines.values()) or 'none'}")
    if bytes_a_cycle <= 0:
        raise ValueError(f"the memory moves {bytes_a_cycle} bytes a cycle, which has to be above 0")
    if len(late) != len(programs):
        raise ValueError(f"{len(late)} delays for {len(programs)} programs")
    if gang and len({p.image for p in programs}) != 1:
        raise ValueError("the cores of a gang have one program")
    config, = machines.values()
    alone = {id(p): beside(steps_of(p), config) for p in programs}
    cores = [_Core(running(alone[id(p)], config), delay) for p, delay in zip(programs, late)]
    _share(cores, bytes_a_cycle / config.bus_bytes, gang)
    return [core.cycles or 0 for core in cores]


def _share(cores: list[_Core], bandwidth: float, gang: bool) -> None:
    """Run all to their end; ``bandwidth`` in beats a cycle.

    Whoever is under way is given beats at the same rate, so ``given``, the beats of one that has
    been there from the start, says for each with which of them its last one has moved.
    """
    now = given = 0.0
    coming: list[tuple[float, list[int]]] = []
    active: list[tuple[float, list[int]]] = []
    standing: list[int] = []

    def ask(who: list[int], last: int | None) -> None:
        """They go on; what one wants alone is coming, what all do when all of them stand there."""
        for i in who:
            cores[i].ask(last)
            if cores[i].cycles is None and gang and cores[i].shared:
                standing.append(i)
            elif cores[i].cycles is None:
                heapq.heappush(coming, (float(cores[i].first), [i]))
        if len(standing) == len(cores):
            heapq.heappush(coming, (float(max(cores[i].first for i in standing)), [*standing]))
            standing.clear()

    ask([*range(len(cores))], None)
    while coming or active:
        rate = min(1.0, bandwidth / max(1, len(active)))
        end = now + (active[0][0] - given) / rate if active else math.inf
        if coming and coming[0][0] < end:
            first, who = heapq.heappop(coming)
            given += max(0.0, first - now) * rate
            now = max(now, first)
            heapq.heappush(active, (given + cores[who[0]].beats, who))
        else:
            given, who = heapq.heappop(active)
            now = end
            ask(who, round(now))
