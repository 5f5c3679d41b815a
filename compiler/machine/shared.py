# SPDX-License-Identifier: Apache-2.0
"""The model of time of several cores in front of one memory.

Each core runs its program on a model of its own (:func:`compiler.machine.timing.running`), which
asks for its transfers one after the other. Those that are under way share the bandwidth evenly, and
none gets more than a beat of its core's bus a cycle: what a memory comes to that serves the cores
in turn, burst by burst.
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
    """A program under way: how many beats it wants next, and from which cycle on; at the end the
    cycle of its last completion."""

    run: Running
    delay: int
    first: int = 0
    beats: int = 0
    cycles: int | None = None

    def ask(self, last: int | None) -> None:
        """Go on to the next beats that it wants; ``last``: when those before had moved."""
        try:
            first, beats = next(self.run) if last is None else self.run.send(last - self.delay)
            self.first, self.beats = self.delay + first, beats
        except StopIteration as e:
            self.cycles = max((end for _, _, end in e.value), default=0)


def together(programs: Sequence[Program], bytes_a_cycle: float,
             delays: Sequence[int] | None = None) -> list[int]:
    """Predicted cycles of programs, each on a core of its own, in front of one memory.

    Parameters
    ----------
    programs : sequence of Program
        For one machine; the same one may be there several times.
    bytes_a_cycle : float
        What the memory moves, reads and writes of all cores together.
    delays : sequence of int, optional
        For each core by how many cycles later it starts.

    Returns
    -------
    list[int]
        For each core cycles from its start to its end; of one alone, with the bandwidth of its bus
        or more, the sum of :attr:`Program.predicted_cycles`.

    Raises
    ------
    ValueError
        If there is no program or no bandwidth, the programs are for different machines, or the
        delays are not one for each.
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
    config, = machines.values()
    alone = {id(p): beside(steps_of(p), config) for p in programs}
    cores = [_Core(running(alone[id(p)], config), delay) for p, delay in zip(programs, late)]
    for core in cores:
        core.ask(None)
    _share(cores, bytes_a_cycle / config.bus_bytes)
    return [core.cycles or 0 for core in cores]


def _share(cores: list[_Core], bandwidth: float) -> None:
    """Run all to their end; ``bandwidth`` in beats a cycle.

    Whoever is under way is given beats at the same rate, so ``given``, the beats of one that has
    been there from the start, says for each with which of them its last one has moved.
    """
    now = given = 0.0
    coming = [(float(core.first), i) for i, core in enumerate(cores) if core.cycles is None]
    active: list[tuple[float, int]] = []
    heapq.heapify(coming)
    while coming or active:
        rate = min(1.0, bandwidth / max(1, len(active)))
        end = now + (active[0][0] - given) / rate if active else math.inf
        if coming and coming[0][0] < end:
            first, i = heapq.heappop(coming)
            given += max(0.0, first - now) * rate
            now = max(now, first)
            heapq.heappush(active, (given + cores[i].beats, i))
        else:
            given, i = heapq.heappop(active)
            now = end
            cores[i].ask(round(now))
            if cores[i].cycles is None:
                heapq.heappush(coming, (float(cores[i].first), i))
