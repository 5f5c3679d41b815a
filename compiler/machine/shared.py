# SPDX-License-Identifier: Apache-2.0
"""The model of time of several cores in front of one memory.

Each core runs its program on a model of its own (:func:`compiler.machine.timing.running`), which
asks for its transfers one after the other. Those that are under way share the bandwidth evenly, and
none gets more than a beat of its core's bus a cycle: what a memory comes to that serves the cores
in turn, burst by burst. What cores with the same program read together moves once, when all of
them want it: in a gang of several teams those of the same rank. The cores of a team take turns on
the bus of their cluster, too, and wait for one another's signals.
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from compiler.machine.steps import Step
from compiler.machine.timing import (EXCHANGE_LATENCY, Ask, Running, Times, added_by, beside,
                                     running, timed)
from isa.chip import CLUSTER
from isa.config import Config
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


GANG_START = 90
"""Cycles from the start of a rank to that of the next one: the chip control sets up one core after
the other."""


@dataclass
class _Core:
    """A program under way: what it wants next, and from which cycle on; at the end when its steps
    ran."""

    run: Running
    delay: int
    first: int = 0
    wants: Ask = Ask(0, 0)
    times: Times | None = None

    @property
    def cycles(self) -> int:
        """That of its last completion."""
        return max((end for _, _, end in self.times or []), default=0)

    def ask(self, last: int | None) -> None:
        """Go on to the next that it wants; ``last``: when it had what it wanted before."""
        try:
            self.wants = next(self.run) if last is None else self.run.send(last - self.delay)
            self.first = self.delay + self.wants.first
        except StopIteration as e:
            self.times = e.value


class _Exchange:
    """The buses between cores that begin together, one for each ``cluster`` of them, and the
    signals that come over them in teams of ``ranks``."""

    def __init__(self, ranks: int, cluster: int) -> None:
        self._ranks, self._cluster = ranks, cluster
        self._free: defaultdict[int, int] = defaultdict(int)
        self._came: defaultdict[tuple[int, int], list[int]] = defaultdict(list)

    def answer(self, number: int, core: _Core, step: Step) -> int | None:
        """When a core has what it wants; None if a signal that it awaits is not on its way."""
        f = step.fields
        if step.opcode is Opcode.AWAIT:
            came = self._came[number, f["counter"]]
            if len(came) < f["threshold"]:
                return None
            return max([core.first, *came[:f["threshold"]][-1:]]) + core.wants.beats
        base = number // self._ranks * self._ranks
        receivers = [base + to for to in range(f["to"].bit_length()) if f["to"] >> to & 1]
        buses = {each // self._cluster for each in (number, *receivers)}
        end = max(core.first, *(self._free[bus] for bus in buses)) + core.wants.beats
        self._free.update(dict.fromkeys(buses, end))
        if step.opcode is Opcode.SIGNAL or f["signal"]:
            for to in receivers:
                self._came[to, f["counter"]].append(end + EXCHANGE_LATENCY)
        return end


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
    _share(cores, bytes_a_cycle / config.bus_bytes, meet=gang)
    return [core.cycles for core in cores]


def gang(streams: Sequence[list[Step]], config: Config, bytes_a_cycle: float,
         apart: int = GANG_START, teams: int = 1, meet: bool = True, cluster: int = CLUSTER
         ) -> list[list[int]]:
    """Predicted cycles that each step of each core adds to what was complete before on it.

    Parameters
    ----------
    streams : sequence of lists of Step
        For each rank of a team.
    config : Config
    bytes_a_cycle : float
        What the memory moves.
    apart : int
        By how many cycles one core begins after the other; each counts from its own start.
    teams : int
        That begin together.
    meet : bool
        Whether cores of one rank read together what they may.
    cluster : int
        Cores on one bus.

    Returns
    -------
    list of list of int
        The ranks of a team, team after team.
    """
    def run(steps: Sequence[list[Step]]) -> list[Times]:
        cores = [_Core(running(mine, config), number * apart)
                 for number, mine in enumerate([*steps] * teams)]
        _share(cores, bytes_a_cycle / config.bus_bytes, len(streams), meet and teams > 1,
               cluster)
        return [core.times or [] for core in cores]

    first = run(streams)
    return [added_by(times) for times in run([
        beside(steps, config, times) for steps, times in zip(streams, first)])]


def gang_cycles(added: list[list[int]]) -> int:
    """Cycles from the start of the first core to the end of the last, of what :func:`gang` says."""
    return max(sum(mine) + number * GANG_START for number, mine in enumerate(added))


def _share(cores: list[_Core], bandwidth: float, ranks: int = 1, meet: bool = False,
           cluster: int = CLUSTER) -> None:
    """Run all to their end, teams of so many ranks; ``bandwidth`` in beats a cycle; ``meet``: what
    cores of a rank may read together they do.

    Whoever is under way is given beats at the same rate, so ``given``, the beats of one that has
    been there from the start, says for each with which of them its last one has moved.
    """
    now = given = 0.0
    exchange, waiting = _Exchange(ranks, cluster), set[int]()
    standing = [list[int]() for _ in range(ranks)]
    coming: list[tuple[float, list[int]]] = []
    active: list[tuple[float, list[int]]] = []

    def ask(who: Sequence[int], last: int | None) -> None:
        """They go on; what one wants alone is coming, what all of a rank do when all of them stand
        there."""
        for i in who:
            cores[i].ask(last)
            if cores[i].times is None and meet and cores[i].wants.together:
                standing[i % ranks].append(i)
            elif cores[i].times is None:
                heapq.heappush(coming, (float(cores[i].first), [i]))
        for there in standing:
            if len(there) == len(cores) // ranks:
                heapq.heappush(coming, (float(max(cores[i].first for i in there)), [*there]))
                there.clear()

    ask(range(len(cores)), None)
    while coming or active:
        rate = min(1.0, bandwidth / max(1, len(active)))
        end = now + (active[0][0] - given) / rate if active else math.inf
        if not coming or coming[0][0] >= end:
            given, who = heapq.heappop(active)
            now = end
            ask(who, round(now))
            continue
        first, who = heapq.heappop(coming)
        given += max(0.0, first - now) * rate
        now = max(now, first)
        if cores[who[0]].wants.step is None:
            heapq.heappush(active, (given + cores[who[0]].wants.beats, who))
            continue
        team = who[0] // ranks
        # who sends first, then who may have waited for it
        for i in [*who, *sorted(i for i in waiting if i // ranks == team)]:
            step = cores[i].wants.step
            assert step is not None
            last = exchange.answer(i, cores[i], step)
            waiting.add(i)
            if last is not None:
                waiting.remove(i)
                ask([i], last)
    assert not waiting, "the streams of a gang have an order in which all can run"
