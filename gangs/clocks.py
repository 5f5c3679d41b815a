# SPDX-License-Identifier: Apache-2.0
"""What is known to have happened when an instruction starts.

Known is, of each queue of each rank, how many instructions have completed, of each pair of ranks,
how many of the one's sends have arrived at the other, and of each rank how many of its sends have
arrived somewhere, so that their words have been read: a vector of counts, its clock. An
instruction knows what the one in front of it in its queue knew at its start, and all that those
knew at their completion for which it waits. An AWAIT that completes also knows what the senders of
the signals knew that must have come: of each sender as many as are left of the threshold when all
others have sent whatever they may have by then.

Which those are depends on what is ordered behind the AWAIT, and that on the AWAITs: the guarantees
start from what came in one execution, and are lowered until they agree with one another. Then they
hold in every execution. Take the first AWAIT, in time, that breaks its own: a signal has come that
is behind it; but the chain that says so goes through AWAITs before it, which keep theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from isa.instructions import (EXCHANGE, GANG_QUEUES, QUEUE_OF, SIGNALS, SIGNAL_BITS, WAIT_BITS,
                              WAIT_REACH, Instruction, Opcode)

SEND, AWAIT = GANG_QUEUES.index("send"), GANG_QUEUES.index("await")
LOAD = GANG_QUEUES.index("load")


@dataclass(eq=False)
class Event:
    """An instruction of a stream: the ``number``-th of its queue, and of each queue how many
    instructions it waits for. ``start``: what is known then; ``ahead``: when it begins to read
    weights; ``end``: when it is complete. Of an AWAIT ``threshold`` counts on beyond 2**16, and
    ``sure`` has of each rank how many of its signals have come."""

    rank: int
    index: int
    i: Instruction
    queue: int
    number: int
    waits: dict[int, int]
    threshold: int = 0
    sure: list[int] = field(default_factory=list)
    start: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    ahead: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    end: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))

    def __str__(self) -> str:
        return f"instruction {self.index} ({self.i.opcode.name}) of rank {self.rank}"


class Stuck(Exception):
    """Streams of which none can go on; ``events`` are what they have come to."""

    def __init__(self, events: list[Event]):
        super().__init__("; ".join(f"{e} waits for ever" for e in events))
        self.events = events


class Gang:
    """The streams of a gang, and their clocks.

    Parameters
    ----------
    streams : sequence of sequence of Instruction
        Of each rank, END excepted.

    Attributes
    ----------
    events : list[Event]
        Of all ranks, in an order in which they may happen.
    queues : list[list[list[Event]]]
        Of each rank, of each queue, in order.
    signals : dict of (sender, rank, counter) to list[Event]
        What raises a counter, in order.
    awaits : list[Event]

    Raises
    ------
    Stuck
        If an instruction waits for what does not come before it, or nobody can go on while every
        stream goes through its instructions one by one.
    """

    def __init__(self, streams: Sequence[Sequence[Instruction]]):
        self.ranks = len(streams)
        self.queues: list[list[list[Event]]] = [[[] for _ in GANG_QUEUES] for _ in streams]
        self.signals: dict[tuple[int, int, int], list[Event]] = {}
        self.events = self._in_turns([self._read(rank, s) for rank, s in enumerate(streams)])
        self.awaits = [e for e in self.events if e.i.opcode is Opcode.AWAIT]
        self._settle()

    # -- one execution --------------------------------------------------------------------------

    def _read(self, rank: int, stream: Sequence[Instruction]) -> list[Event]:
        found = []
        for index, i in enumerate(stream):
            queue = GANG_QUEUES.index(QUEUE_OF[i.opcode])
            waits = {}
            for k, name in enumerate(GANG_QUEUES):
                if i.wait_mask >> k & 1:
                    before = len(self.queues[rank][k])
                    back = (before - getattr(i, f"wait_{name}")) % (1 << WAIT_BITS)
                    waits[k] = before - back if back <= WAIT_REACH else before + 1
            e = Event(rank, index, i, queue, len(self.queues[rank][queue]) + 1, waits)
            if any(count > len(self.queues[rank][k]) for k, count in waits.items()):
                raise Stuck([e])
            self.queues[rank][queue].append(e)
            found.append(e)
        return found

    def _in_turns(self, streams: list[list[Event]]) -> list[Event]:
        """An execution in which each stream in turn goes as far as it can."""
        came = np.zeros((self.ranks, SIGNALS, self.ranks), np.int64)
        at, order, going = [0] * self.ranks, [], True
        while going:
            going = False
            for rank, stream in enumerate(streams):
                while at[rank] < len(stream) and self._step(stream[at[rank]], came):
                    order.append(stream[at[rank]])
                    at[rank] += 1
                    going = True
        stuck = [stream[k] for stream, k in zip(streams, at) if k < len(stream)]
        if stuck:
            raise Stuck(stuck)
        return order

    def _step(self, e: Event, came: np.ndarray) -> bool:
        """Go through an instruction, if it may: ``came`` counts signals by rank, counter and
        sender."""
        if e.i.opcode is Opcode.AWAIT:
            value = int(came[e.rank, e.i.counter].sum())
            over = (value - e.i.threshold) % (1 << SIGNAL_BITS)
            if over >= 1 << SIGNAL_BITS - 1:
                return False
            e.threshold, e.sure = value - over, came[e.rank, e.i.counter].tolist()
        elif e.i.opcode in EXCHANGE and (e.i.opcode is Opcode.SIGNAL or e.i.signal):
            for rank in receivers(e.i, self.ranks):
                came[rank, e.i.counter, e.rank] += 1
                self.signals.setdefault((e.rank, rank, e.i.counter), []).append(e)
        return True

    # -- clocks ---------------------------------------------------------------------------------

    def completed(self, rank: int, queue: int) -> int:
        """Where a clock has the completed instructions of a queue."""
        return rank * len(GANG_QUEUES) + queue

    def arrived(self, sender: int, rank: int) -> int:
        """Where a clock has the sends that have arrived."""
        return self.ranks * len(GANG_QUEUES) + sender * self.ranks + rank

    def left(self, sender: int) -> int:
        """Where a clock has the sends whose words have been read."""
        return self.ranks * (len(GANG_QUEUES) + self.ranks) + sender

    def may_have_come(self, await_: Event, sender: int) -> int:
        """Of a sender how many signals may be there when an AWAIT completes: those that are not
        known to be behind it."""
        found = self.signals.get((sender, await_.rank, await_.i.counter), [])
        place = self.completed(await_.rank, AWAIT)
        low, high = 0, len(found)
        while low < high:
            middle = (low + high) // 2
            if found[middle].start[place] >= await_.number:
                high = middle
            else:
                low = middle + 1
        return low

    def _settle(self) -> None:
        changed = True
        while changed:
            self._clocks()
            changed = False
            for e in self.awaits:
                may = [self.may_have_come(e, sender) for sender in range(self.ranks)]
                sure = [min(old, max(0, e.threshold - sum(may) + own))
                        for old, own in zip(e.sure, may)]
                changed |= sure != e.sure
                e.sure = sure

    def _clocks(self) -> None:
        size = self.ranks * (len(GANG_QUEUES) + self.ranks + 1)
        nothing = np.zeros(size, np.int32)
        for e in self.events:
            mine = self.queues[e.rank]
            front = mine[e.queue][e.number - 2] if e.number > 1 else None
            ahead = [front.ahead if front else nothing]
            start = [front.start if front else nothing]
            for queue, count in e.waits.items():
                if count > 0:
                    start.append(mine[queue][count - 1].end)
                    if queue == LOAD:
                        ahead.append(start[-1])
            e.start = np.maximum.reduce(start)
            e.ahead = np.maximum.reduce(ahead) if e.i.opcode in (
                Opcode.TENSOR, Opcode.WINDOW) and e.i.w_ahead else e.start
            end = [e.start, front.end if front else nothing, *self._told(e)]
            e.end = np.maximum.reduce(end)
            e.end[self.completed(e.rank, e.queue)] = e.number
            if e.queue == SEND:
                e.end[self.arrived(e.rank, 0):self.arrived(e.rank, 0) + self.ranks] = e.number
                e.end[self.left(e.rank)] = e.number

    def _told(self, e: Event) -> list[np.ndarray]:
        """What an AWAIT learns by the signals that have come."""
        found = []
        for sender, count in enumerate(e.sure):
            if count:
                last = self.signals[sender, e.rank, e.i.counter][count - 1]
                clock = last.start.copy()
                clock[self.arrived(sender, e.rank)] = last.number
                clock[self.left(sender)] = max(clock[self.left(sender)], last.number)
                found.append(clock)
        return found


def receivers(i: Instruction, ranks: int) -> list[int]:
    """The ranks that an XFER or a SIGNAL names, of those that there are."""
    return [rank for rank in range(ranks) if i.to >> rank & 1]
