# SPDX-License-Identifier: Apache-2.0
"""Which execution is next: weighted fair queueing of leases by predicted cycles, with batching.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): an execution of a lease starts, in virtual
time, when the lease's last one is finished or now, whichever is later, and is finished ``cycles /
share`` later; the execution with the earliest start goes first, and its start is the virtual time.
Leases that always wait get cycles in proportion to their shares, up to one execution of the longest
program; a lease that comes back after a pause gets no more than that.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from makalu.facts import Cost
from makalu.serve.lane import Held
from makalu.serve.leases import Lease


@dataclass(frozen=True, eq=False)
class Compiled:
    """A model's version for one machine.

    Parameters
    ----------
    name, version : str
    programs : dict of int to Held
        By batch, ascending.
    costs : dict of int to Cost
        By batch.
    delay : float
        Seconds that a request may wait for others to fill a batch.
    alike : bool
        Whether requests can be put together, and cut: the first axes of all inputs count the same.
    """

    name: str
    version: str
    programs: dict[int, Held]
    costs: dict[int, Cost]
    delay: float
    alike: bool = True

    @property
    def bytes(self) -> int:
        """DRAM of the programs together."""
        return sum(cost.held_bytes for cost in self.costs.values())

    @property
    def cores(self) -> int:
        """That an execution takes together, side by side."""
        return max(cost.cores for cost in self.costs.values())

    @property
    def most(self) -> int:
        """The largest batch."""
        return max(self.programs)

    def batch(self, elements: int) -> int:
        """The smallest compiled batch that takes so many elements."""
        return min(b for b in self.programs if b >= elements)


@dataclass(frozen=True)
class Piece:
    """What came of a part: its outputs, its share of the cycles, the seconds of the execution, and
    the program that gave them."""

    outputs: dict[str, np.ndarray]
    cycles: int
    seconds: float
    program: str


@dataclass(eq=False)
class Part:
    """As much of a request as fits into one execution."""

    model: Compiled
    inputs: dict[str, np.ndarray]
    elements: int
    arrived: float
    answer: "asyncio.Future[Piece]"
    dispatched: float = 0.0
    deaths: int = 0


@dataclass
class Batch:
    """Parts of one lease that run together: on one core, or on several of a chip that each take
    their share of the elements, or each team of which does.

    Parameters
    ----------
    lease, model, parts
    cores : int
        Cores, or teams of as many as the model takes.
    """

    lease: Lease
    model: Compiled
    parts: list[Part]
    cores: int = 1

    @property
    def elements(self) -> int:
        """Of all parts."""
        return sum(p.elements for p in self.parts)

    @property
    def most(self) -> int:
        """Elements that there is room for."""
        return self.model.most * self.cores

    @property
    def size(self) -> int:
        """The compiled batch: what a core takes if each gets as much."""
        return self.model.batch(-(-self.elements // self.cores))

    @property
    def executions(self) -> int:
        """Of the program."""
        return -(-self.elements // self.size)

    @property
    def cost(self) -> Cost:
        """Of an execution."""
        return self.model.costs[self.size]

    @property
    def cycles(self) -> int:
        """Predicted, of all executions together, on each core that they take."""
        return self.cost.cycles * self.cost.cores * self.executions

    def inputs(self) -> dict[str, np.ndarray]:
        """Those of all parts, one behind the other."""
        if len(self.parts) == 1:
            return self.parts[0].inputs
        return {name: np.concatenate([p.inputs[name] for p in self.parts])
                for name in self.parts[0].inputs}


@dataclass
class _Queue:
    lease: Lease
    parts: deque[Part] = field(default_factory=deque)
    finish: float = 0.0


class Queues:
    """What waits for an accelerator.

    Parameters
    ----------
    clock : function
        Seconds, as the event loop counts them.
    """

    def __init__(self, clock: Callable[[], float]):
        self._clock, self._queues, self._now = clock, dict[str, _Queue](), 0.0

    def __len__(self) -> int:
        return sum(len(q.parts) for q in self._queues.values())

    def waiting(self) -> Counter[tuple[str, str]]:
        """Parts that wait, by tenant and model."""
        return Counter((q.lease.tenant.name, p.model.name)
                       for q in self._queues.values() for p in q.parts)

    def put(self, lease: Lease, parts: Iterable[Part], first: bool = False) -> None:
        """Queue parts of a lease, at its end or, what has been there already, in front."""
        queue = self._queues.setdefault(lease.id, _Queue(lease, finish=self._now))
        parts = list(parts)
        if first:
            queue.parts.extendleft(reversed(parts))
        else:
            queue.parts.extend(parts)
        lease.waiting = len(queue.parts)

    def take(self, lease: Lease) -> list[Part]:
        """All that waits for a lease, taken out: it moves, or ends."""
        queue = self._queues.pop(lease.id, None)
        lease.waiting = 0
        return list(queue.parts) if queue else []

    def forget(self, lease: Lease, part: Part) -> None:
        """Take out a part that nobody wants any more."""
        queue = self._queues.get(lease.id)
        if queue and part in queue.parts:
            queue.parts.remove(part)
            lease.waiting = len(queue.parts)

    def next(self, cores: Callable[[Lease], int]) -> tuple[Batch | None, float | None]:
        """The batch that runs next where a lease finds so many cores, or none; or no batch, and the
        time at which the first one will not wait for more requests any longer, if there is one."""
        now = self._clock()
        if not len(self):       # the end of a busy period: everybody begins anew
            self._now = max((q.finish for q in self._queues.values()), default=self._now)
        self._queues = {k: q for k, q in self._queues.items() if q.parts or q.finish > self._now}
        waiting = [(q, n) for q in self._queues.values() if q.parts and (n := cores(q.lease))]
        ready, later = [], []
        for queue, count in waiting:
            batch = _gather(queue, count)
            due = batch.parts[0].arrived + batch.model.delay
            if batch.elements >= batch.most or due <= now or batch.parts[0].deaths:
                ready.append((queue, batch))
            else:
                later.append(due)
        if not ready:
            return None, min(later, default=None)
        queue, batch = min(ready, key=lambda r: (
            -r[0].lease.terms.priority, max(self._now, r[0].finish), r[1].parts[0].arrived))
        self._now = max(self._now, queue.finish)
        queue.finish = self._now + batch.cycles / queue.lease.terms.share
        for part in batch.parts:
            queue.parts.remove(part)
            part.dispatched = now
        queue.lease.waiting = len(queue.parts)
        return batch, None


def _gather(queue: _Queue, cores: int) -> Batch:
    """The oldest part, and those behind it that are for the same model as far as they fit on so
    many cores. What was in a process that died runs alone, so that what killed it takes nothing
    along twice."""
    model = queue.parts[0].model
    batch = Batch(queue.lease, model, [], max(1, cores // model.cores) if model.alike else 1)
    if queue.parts[0].deaths:
        batch.parts.append(queue.parts[0])
        return batch
    room = batch.most
    for part in queue.parts:
        if part.model is batch.model and part.elements <= room and not part.deaths:
            batch.parts.append(part)
            room -= part.elements
            if not room:
                break
    return batch
