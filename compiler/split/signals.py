# SPDX-License-Identifier: Apache-2.0
"""What ranks tell one another.

The instructions of all ranks are in one order, in which they might run one by one. An instruction
that needs another rank to have done something gets an AWAIT in front of it: of the signal that an
XFER brings with its words, or of a SIGNAL behind what the other rank has to have done. Both are put
in at that place of the order, so that it stays one in which all can run: there is no deadlock.

A counter is raised by one rank alone, so that it says of each of its signals whether it has come.
Up to as many ranks as there are counters each has one at all others. More ranks stand in a square:
each tells those in its row and in its column, and the others by way of a corner between them.

What a rank knows already, by what it has waited for and by what those knew that told it, is not
told again. Known are numbers of instructions that have completed, of each queue of each rank, and
of sends that have arrived, of each pair of ranks.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from compiler.ir.errors import CompileError
from compiler.machine.steps import Step
from compiler.machine.timing import timed
from isa.config import Config
from isa.instructions import GANG_QUEUES, SIGNAL_BITS, SIGNALS, Opcode

SEND = GANG_QUEUES.index("send")

SIDE = SIGNALS // 2
"""Ranks in a row, and in a column, of the square."""


@dataclass
class _Known:
    """What is known when a step starts, and when it is complete; its number in its queue."""

    start: np.ndarray
    end: np.ndarray
    number: int


class _Talk:
    """The streams as they grow."""

    def __init__(self, config: Config, ranks: int):
        self.config, self.ranks, self._direct = config, ranks, ranks <= SIGNALS
        self.streams: list[list[Step]] = [[] for _ in range(ranks)]
        self._known: dict[int, _Known] = {}
        self._last: dict[tuple[int, int], Step] = {}    # of each queue of each rank
        self._sent: defaultdict[tuple[int, int], int] = defaultdict(int)
        self._signal: dict[tuple[int, int], int] = {}   # which of a pair's signals a send brings
        self._awaited: defaultdict[tuple[int, int], int] = defaultdict(int)
        self._nothing = np.zeros(ranks * (len(GANG_QUEUES) + ranks), np.int32)

    def _done(self, rank: int, queue: int) -> int:
        return rank * len(GANG_QUEUES) + queue

    def _came(self, sender: int, rank: int) -> int:
        return self.ranks * len(GANG_QUEUES) + sender * self.ranks + rank

    def append(self, step: Step, need: list[Step]) -> None:
        """Put a step at the end of its rank's stream; ``need``: those that have to be complete
        before it starts, of any rank."""
        local = [other for other in need if other.rank == step.rank]
        start = self._start(step, local)
        told = []
        for sender in range(self.ranks):
            far = [other for other in need if other.rank == sender != step.rank
                   and not self._knows(start, step, other)]
            if far:
                told.append(self._tell(far, sender, step))
        step.after = told
        self._put(step, self._start(step, [*local, *told]))

    @staticmethod
    def _where(step: Step, other: Step) -> list[int]:
        """The ranks at which words of another rank's XFER have to have come before a step starts:
        its own, and those that it sends to."""
        return [rank for rank in (step.rank, *step.receivers) if other.to >> rank & 1]

    def _knows(self, clock: np.ndarray, step: Step, other: Step) -> bool:
        number, queue = self._known[id(other)].number, GANG_QUEUES.index(other.queue)
        where = self._where(step, other)
        if where and all(clock[self._came(other.rank, rank)] >= number for rank in where):
            return True
        return bool(clock[self._done(other.rank, queue)] >= number)

    def _tell(self, far: list[Step], sender: int, step: Step) -> Step:
        """The AWAIT by which a step's rank knows that steps of another one are complete, as far as
        it matters to the step."""
        rank = step.rank
        corner = sender // SIDE * SIDE + rank % SIDE
        if corner >= self.ranks:    # the last row is not full, so the other corner is there
            corner = rank // SIDE * SIDE + sender % SIDE
        if not self._direct and corner not in (sender, rank):
            between = self._step(Opcode.SIGNAL, {"to": 1 << rank}, corner, far[0].node)
            between.to, between.after = 1 << rank, [self._tell(far, sender, between)]
            self._put(between, self._start(between, between.after))
            return self._await(between, rank)
        sends = [other for other in far
                 if (id(other), rank) in self._signal and self._where(step, other) == [rank]]
        if len(sends) < len(far):
            signal = self._step(Opcode.SIGNAL, {"to": 1 << rank}, sender, far[0].node)
            signal.to = 1 << rank
            signal.after = [other for other in far if other not in sends]
            self._put(signal, self._start(signal, signal.after))
            sends.append(signal)
        return self._await(max(sends, key=lambda other: self._known[id(other)].number), rank)

    def _counter(self, sender: int, rank: int) -> int:
        """The counter of a rank that another one raises."""
        if self._direct:
            return sender
        return sender % SIDE if sender // SIDE == rank // SIDE else SIDE + sender // SIDE

    def _await(self, send: Step, rank: int) -> Step:
        count = self._signal[id(send), rank]
        step = self._step(Opcode.AWAIT, {"counter": self._counter(send.rank, rank),
                                         "threshold": count % (1 << SIGNAL_BITS)}, rank, send.node)
        told = self._known[id(send)].start.copy()
        told[self._came(send.rank, rank)] = self._known[id(send)].number
        self._awaited[send.rank, rank] = max(self._awaited[send.rank, rank], count)
        self._put(step, self._start(step, []), told)
        return step

    def _step(self, opcode: Opcode, fields: dict[str, int], rank: int, node: int) -> Step:
        cycles, tail, _ = timed(self.config, opcode, fields)
        return Step(opcode, fields, node, cycles, tail, rank=rank)

    def _start(self, step: Step, local: list[Step]) -> np.ndarray:
        """What is known when a step starts behind others of its rank."""
        front = self._last.get((step.rank, GANG_QUEUES.index(step.queue)))
        clocks = [self._known[id(other)].end for other in local]
        if front is not None:
            clocks.append(self._known[id(front)].start)
        return np.maximum.reduce([self._nothing, *clocks])

    def _put(self, step: Step, start: np.ndarray, told: np.ndarray | None = None) -> None:
        queue = GANG_QUEUES.index(step.queue)
        front = self._last.get((step.rank, queue))
        before = self._known[id(front)] if front is not None else _Known(
            self._nothing, self._nothing, 0)
        end = np.maximum(start, before.end)
        if told is not None:
            end = np.maximum(end, told)
        number = before.number + 1
        end[self._done(step.rank, queue)] = number
        if queue == SEND:
            first = self._came(step.rank, 0)
            end[first:first + self.ranks] = number
            if step.opcode is Opcode.XFER:
                step.fields["signal"] = int(self._direct)
            for rank in step.receivers if step.opcode is Opcode.SIGNAL or self._direct else ():
                step.fields["counter"] = self._counter(step.rank, rank)
                self._sent[step.rank, rank] += 1
                self._signal[id(step), rank] = self._sent[step.rank, rank]
        self._known[id(step)] = _Known(start, end, number)
        self._last[step.rank, queue] = step
        self.streams[step.rank].append(step)

    def finish(self, where: str) -> None:
        """Await what nobody has waited for, so that all has come when a stream ends."""
        for (sender, rank), count in sorted(self._sent.items()):
            if count >= 1 << SIGNAL_BITS - 1:
                raise CompileError(where, f"core {sender} sends core {rank} {count} times",
                                   "use fewer cores")
            if count > self._awaited[sender, rank]:
                step = self._step(Opcode.AWAIT, {"counter": self._counter(sender, rank),
                                                 "threshold": count}, rank, -1)
                self._put(step, self._start(step, []))


def streams(order: list[Step], before: list[list[Step]], config: Config, ranks: int, where: str
            ) -> list[list[Step]]:
    """The stream of each rank.

    Parameters
    ----------
    order : list of Step
        Of all ranks, in an order in which they may run one by one.
    before : list of list of Step
        For each of them those that have to be complete before it starts.
    config : Config
    ranks : int
    where : str
        What errors name.

    Raises
    ------
    CompileError
        If there are too many signals.
    """
    talk = _Talk(config, ranks)
    for step, need in zip(order, before, strict=True):
        talk.append(step, need)
    talk.finish(where)
    return talk.streams
