# SPDX-License-Identifier: Apache-2.0
"""A gang: machines of one memory, each with a stream of instructions of its own.

Any instruction that may start is next, as somebody chooses, one whole instruction at a time: of
each queue of each machine the first one, once its waits are satisfied. So queues of a machine
overtake one another as far as the waits let them, and machines as far as the signals do. A program
that is right has the same result whatever is chosen. Where nobody chooses every machine goes
through its stream in order, and they take turns.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from golden.fault import MachineFault
from golden.machine import Machine, zeros
from isa.config import Config
from isa.instructions import QUEUE_OF, Fault, Instruction, Opcode, Region, codes, reached

Regions = dict[Region, np.ndarray]


class Ready(NamedTuple):
    """An instruction that may start, ``at`` a position in its rank's stream."""

    rank: int
    queue: str
    at: int


Choice = Callable[[Sequence[Ready]], Ready]
"""Which of those that may start does; ``random.Random(seed).choice`` is one."""


class _Core:
    """A machine and its stream: what is in its queues, in order, and what has completed."""

    def __init__(self, machine: Machine, stream: Iterator[bytes], depth: int):
        self.machine, self._stream, self._depth = machine, enumerate(stream), depth
        self.queues: dict[str, deque[tuple[int, Instruction]]] = {
            q: deque() for q in machine.queues}
        self.completed, self._issued = (dict.fromkeys(machine.queues, 0) for _ in range(2))
        self._next: tuple[int, Instruction] | None = None
        self.ended = False
        self._fault: MachineFault | None = None
        self.feed()

    def feed(self) -> None:
        """Read on in the stream as far as there is room in the queues. What is wrong with an
        instruction counts when all before it are through."""
        while not self.ended and self._fault is None:
            try:
                index, i = self._next or self._read()
                if i.opcode is not Opcode.END:
                    self.machine.check_waits(i, index, self._issued)
            except MachineFault as e:
                self._fault = e
                return
            if i.opcode is Opcode.END:
                self.ended = True
                return
            queue = self.queues[QUEUE_OF[i.opcode]]
            self._next = index, i
            if len(queue) >= self._depth:
                return
            queue.append(self._next)
            self._issued[QUEUE_OF[i.opcode]] += 1
            self._next = None

    def _read(self) -> tuple[int, Instruction]:
        for index, code in self._stream:
            return index, self.machine.decode(code, index)
        raise MachineFault(Fault.DRAM_RANGE, sum(self._issued.values()))

    def ready(self) -> list[str]:
        """The queues whose first instruction may start."""
        if self._fault is not None and not any(self.queues.values()):
            raise self._fault
        return [name for name, queue in self.queues.items() if queue and self._may(queue[0][1])]

    def _may(self, i: Instruction) -> bool:
        if i.opcode is Opcode.AWAIT and not reached(self.machine.signals[i.counter], i.threshold):
            return False
        return all(reached(self.completed[q], getattr(i, f"wait_{q}"))
                   for bit, q in enumerate(self.machine.queues) if i.wait_mask >> bit & 1)

    def run(self, name: str, regions: Regions) -> tuple[int, Instruction]:
        """Run the first instruction of a queue."""
        index, i = self.queues[name].popleft()
        self.machine.execute(i, index, regions)
        self.completed[name] += 1
        self.feed()
        return index, i

    def waits(self) -> int:
        """The position of the first instruction that has not begun."""
        return min(queue[0][0] for queue in self.queues.values() if queue)


class Gang:
    """Machines that begin together.

    Parameters
    ----------
    config : Config
        Of each, with ``exchange``.
    ranks : int
        How many there are.
    """

    def __init__(self, config: Config, ranks: int):
        self.config = config
        self.machines = [Machine(config) for _ in range(ranks)]
        for machine in self.machines:
            machine.gang = self.machines

    def run(self, image: bytes, starts: Sequence[int], inputs: np.ndarray,
            sizes: dict[Region, int], kept: Regions | None = None, choose: Choice | None = None,
            watch: Callable[[int, int, Instruction], None] | None = None) -> np.ndarray:
        """Run a stream on each machine; returns region OUTPUT (uint8).

        Parameters
        ----------
        image, inputs, sizes, kept
            As of :meth:`golden.machine.Machine.run`.
        starts : sequence of int
            For each rank the byte of the image with its first instruction.
        choose : callable, optional
            What is next of what may start; unless given, machines take turns.
        watch : callable, optional
            Called with rank, position and instruction after each one.

        Raises
        ------
        MachineFault
            As of a machine, with the rank; WATCHDOG of the lowest rank that waits if nobody can go
            on.
        """
        regions: Regions = {Region.PROGRAM: np.frombuffer(image, np.uint8),
                            Region.INPUT: np.array(inputs, np.uint8),
                            **(zeros(sizes) if kept is None else kept)}
        for machine in self.machines:
            machine.begin()
        depth = self.config.queue_depth if choose else 1
        cores = [_Core(machine, codes(image, start), depth)
                 for machine, start in zip(self.machines, starts, strict=True)]
        for rank, name in _chosen(cores, choose) if choose else _turns(cores):
            try:
                index, i = cores[rank].run(name, regions)
            except MachineFault as e:
                raise MachineFault(e.code, e.index, rank) from e
            if watch:
                watch(rank, index, i)
        return regions[Region.OUTPUT]


def _chosen(cores: list[_Core], choose: Choice) -> Iterator[tuple[int, str]]:
    """One after another of what may start, until all have ended."""
    while found := [Ready(rank, name, core.queues[name][0][0]) for rank, core in enumerate(cores)
                    for name in _ready(rank, core)]:
        rank, name, _ = choose(found)
        yield rank, name
    _check_ended(cores)


def _turns(cores: list[_Core]) -> Iterator[tuple[int, str]]:
    """The first instruction of each stream that may start, rank by rank, until all have ended."""
    going = True
    while going:
        going = False
        for rank, core in enumerate(cores):
            first = next((name for name, queue in core.queues.items()
                          if queue and queue[0][0] == core.waits()), None)
            if first in _ready(rank, core):
                assert first is not None
                going = True
                yield rank, first
    _check_ended(cores)


def _ready(rank: int, core: _Core) -> list[str]:
    try:
        return core.ready()
    except MachineFault as e:
        raise MachineFault(e.code, e.index, rank) from e


def _check_ended(cores: list[_Core]) -> None:
    for rank, core in enumerate(cores):
        if any(core.queues.values()):
            raise MachineFault(Fault.WATCHDOG, core.waits(), rank)
