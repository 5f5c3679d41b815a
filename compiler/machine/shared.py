# SPDX-License-Identifier: Apache-2.0
"""The model of time of several cores in front of one memory.

Each core runs its program on a model of its own (:class:`compiler.machine.running.Running`), which
asks for its transfers one after the other. Those that are under way share the bandwidth evenly, and
none gets more than a beat of its core's bus a cycle: what a memory comes to that serves the cores
in turn, burst by burst. What cores with the same program read together moves once, when all of
them want it: in a gang of several teams those of the same rank. The cores of a team take turns on
the bus of their cluster, too, and wait for one another's signals.
"""

import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from compiler.machine.buses import Bus, Memory, Signals, Who
from compiler.machine.hub import Hub
from compiler.machine.rank import Rank
from compiler.machine.running import Ask, Running, Times, added_by, beside
from compiler.machine.steps import Step, code_size
from compiler.machine.timing import timed
from isa.chip import CLUSTER, MOST_QUEUES
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


GANG_START = 47
"""Cycles from the start of a core to that of the next one, of up to four: the chip control sets up
one core after the other."""


def begins(number: int, cores: int) -> int:
    """The cycle in which one of so many cores begins. Between two of them the chip control looks at
    each job queue, of which larger chips have more, a cycle each."""
    return number * (GANG_START + max(0, min(cores, MOST_QUEUES) - CLUSTER))


@dataclass
class _Core:
    """A program under way, and the cycle in which it began."""

    run: Running
    delay: int

    @property
    def cycles(self) -> int:
        """That of its last completion."""
        return max((end for _, _, end in self.run.times), default=0)


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
    cores = [_Core(Running(alone[id(p)], config), delay) for p, delay in zip(programs, late)]
    _share(cores, Memory(bytes_a_cycle / config.bus_bytes), meet=gang)
    return [core.cycles for core in cores]


def gang(streams: Sequence[list[Step]], config: Config, bytes_a_cycle: float,
         apart: int | None = None, teams: int = 1, meet: bool = True, cluster: int = CLUSTER
         ) -> list[list[int]]:
    """Predicted cycles that each step of each core adds to what was complete before on it.

    Parameters
    ----------
    streams : sequence of lists of Step
        For each rank of a team.
    config : Config
    bytes_a_cycle : float
        What the memory moves.
    apart : int, optional
        By how many cycles one core begins after the other; by default as :func:`begins` says. Each
        counts from its own start.
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
    starts = list(itertools.accumulate(map(code_size, streams), initial=0))

    def run(steps: Sequence[list[Step]]) -> list[Times]:
        many = len(steps) * teams
        cores = [_Core(Rank(mine, config, starts[number % len(steps)]),
                       begins(number, many) if apart is None else number * apart)
                 for number, mine in enumerate([*steps] * teams)]
        _share(cores, Hub(config, len(cores), bytes_a_cycle / config.bus_bytes), len(streams),
               meet and teams > 1, cluster)
        return [core.run.times for core in cores]

    first = run(streams)
    return [added_by(times) for times in run([
        beside(steps, config, times) for steps, times in zip(streams, first)])]


def gang_cycles(added: list[list[int]]) -> int:
    """Cycles from the start of the first core to the end of the last, of what :func:`gang` says."""
    return max(sum(mine) + begins(number, len(added)) for number, mine in enumerate(added))


class _Sharing:
    """All cores until they end; as :func:`_share` has it."""

    def __init__(self, cores: list[_Core], memory: Memory | Hub, ranks: int, meet: bool,
                 cluster: int):
        self._cores, self._ranks, self._meet = cores, ranks, meet
        self._memory, self._signals = memory, Signals(ranks)
        self._on_bus = _on_a_bus(len(cores), ranks, cluster)
        self._buses = [Bus(len(cores)) for _ in range(0, len(cores), self._on_bus)]
        self._standing: defaultdict[tuple[int, str], Who] = defaultdict(list)
        self._coming: list[tuple[float, int, int, Who]] = []
        self._count = 0

    def run(self) -> None:
        """Answer what they ask for, in the order of time."""
        for i, core in enumerate(self._cores):
            self._want(i, core.run.begin())
        now = 0.0
        while True:
            bus, memory = min(self._buses, key=lambda bus: bus.end), self._memory
            first = self._coming[0][0] if self._coming else math.inf
            if memory.end <= (until := min(first, bus.end)) and memory.end < math.inf:
                now = memory.end
                self._answer(*memory.leave(until))
            elif bus.end <= first and bus.end < math.inf:
                now = bus.end
                self._answer(*bus.leave())
            elif first < math.inf:
                now = max(now, first)
                self._begin(now, heapq.heappop(self._coming)[-1])
            else:
                return

    def _want(self, i: int, asks: list[Ask]) -> None:
        """What one wants alone is coming, what all of a rank do when all of them stand there."""
        for ask in asks:
            if self._meet and ask.together:
                stand = self._standing[i % self._ranks, ask.line]
                stand.append((i, ask))
                if len(stand) == len(self._cores) // self._ranks:
                    self._come(self._standing.pop((i % self._ranks, ask.line)))
            else:
                self._come([(i, ask)])

    def _come(self, who: Who) -> None:
        first = max(self._cores[i].delay + ask.first for i, ask in who)
        self._count += 1
        heapq.heappush(self._coming, (float(first), who[0][0], self._count, who))

    def _begin(self, now: float, who: Who) -> None:
        (i, ask), *_ = who
        if ask.step is None:
            self._memory.begin(now, who)
        elif ask.step.opcode is Opcode.AWAIT:
            self._hear(i, ask)
        else:
            self._buses[i // self._on_bus].begin(now, i, ask)

    def _answer(self, who: Who, last: int, asked: int | None = None) -> None:
        for i, ask in who:
            core = self._cores[i]
            self._want(i, core.run.answer(
                ask, last - core.delay, None if asked is None else asked - core.delay))
            if ask.step is not None and ask.step.opcode is not Opcode.AWAIT:
                for each, stands in self._signals.tell(i, ask.step, last):
                    self._hear(each, stands)

    def _hear(self, i: int, ask: Ask) -> None:
        last = self._signals.heard(i, self._cores[i].delay + ask.first, ask)
        if last is not None:
            self._answer([(i, ask)], last)


def _on_a_bus(cores: int, ranks: int, cluster: int) -> int:
    """Cores that take turns on a bus: those of a cluster, or of a team of several clusters; all, if
    teams lie across."""
    return (cluster if cluster % ranks == 0 else ranks if ranks % cluster == 0 else cores)


def _share(cores: list[_Core], memory: Memory | Hub, ranks: int = 1, meet: bool = False,
           cluster: int = CLUSTER) -> None:
    """Run all to their end, teams of so many ranks; ``meet``: what cores of a rank may read
    together they do."""
    _Sharing(cores, memory, ranks, meet, cluster).run()
    assert all(core.run.ended for core in cores), (
        "the streams of a gang have an order in which all can run")
