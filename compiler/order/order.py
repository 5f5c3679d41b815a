# SPDX-License-Identifier: Apache-2.0
"""The order of the instructions: list scheduling on the model of time.

The emitters give the instructions in one legal sequential order, layer by layer. What must not
change is only which instruction sees what another one wrote, and which words are overwritten when
(:func:`compiler.order.dependencies.dependencies`). :meth:`Orders.arrange` lets the engines of the
model (:class:`compiler.machine.timing.Machine`) pick their next instruction, always the engine that
can start first, and among what is ready there the instruction of highest priority. Weights come
early, the layers of a block interleave over their strips of rows, stores go out when the bus is
free.

In a gang each rank has engines of its own, and all share the bus between the cores. What another
rank has to have done takes a signal to say so.

Priorities are tried in turn, since none is best for every network: the longest path to the end
(which runs a layer ahead of the next one), or the deepest layer first (which finishes strips). In a
gang also the order of the steps: others may wait for what comes first.
"""

import heapq

from compiler.machine.steps import Step
from compiler.machine.timing import EXCHANGE_LATENCY, LANDING, MOVERS, Machine
from compiler.order.dependencies import dependencies
from isa.config import Config
from isa.instructions import Opcode

HORIZON = 1500
"""Cycles that a LOAD is ahead of its first reader."""

GANG_HORIZON = 50_000
"""The same in a gang, whose memory others may keep busy."""


TOLD = 12
"""Cycles that an AWAIT takes, and the signal in front of it where an XFER brings none, beyond the
way between the cores."""


class _Buses:
    """What the ranks of a gang share: a memory that moves so many beats of a core's bus a cycle,
    and the bus between them, which has a beat for less than it takes to land."""

    def __init__(self, memory: float):
        self._memory = memory
        self._served = self._exchange = 0.0

    def moved(self, step: Step, first: int) -> int:
        """When the last beat of a step has moved, if the first one may in some cycle."""
        last = first + step.cycles
        if step.queue in MOVERS and self._memory:
            self._served = max(self._served, first) + step.cycles / self._memory
            return max(last, round(self._served))
        if step.queue == "send":
            self._exchange = max(self._exchange, first) + step.cycles / LANDING
            return max(last, round(self._exchange))
        return last


class Orders:
    """Orders in which the instructions of a program may run.

    Parameters
    ----------
    steps : list of Step
        In any one such order.
    config : Config
    memory : float
        Of a gang: beats a cycle that its memory moves. 0: a core alone, which has it for itself.
    """

    def __init__(self, steps: list[Step], config: Config, memory: float = 0):
        self._steps, self._config, self._memory = steps, config, memory
        self._before = dependencies(steps)
        self._after: list[list[int]] = [[] for _ in steps]
        for me, need in enumerate(self._before):
            for other in need:
                self._after[other].append(me)
        self._queues = [(step.rank, step.queue) for step in steps]
        self._ranks = 1 + max((step.rank for step in steps), default=0)

    def ranks(self) -> list[int]:
        """Cycles of the longest path from the start of each step to the end of the program."""
        steps = self._steps
        rank = [0] * len(steps)
        for me in range(len(steps) - 1, -1, -1):
            rank[me] = steps[me].cycles + steps[me].tail + max(
                (rank[o] for o in self._after[me]), default=0)
        return rank

    def arrange(self, priority: list[int]) -> tuple[list[int], dict[int, int], int]:
        """Positions of the steps in the order in which the model's engines start them (LOADs as
        :meth:`_postponed`), the cycle in which something first waits for each LOAD, and the cycle
        in which the last one is complete."""
        steps, after, queues = self._steps, self._after, self._queues
        machines = [Machine(self._config) for _ in range(self._ranks)]
        names = [(rank, q) for rank, machine in enumerate(machines) for q in machine.free]
        buses = _Buses(self._memory)
        missing = [len(b) for b in self._before]
        starts, ends = [0] * len(steps), [0] * len(steps)
        waits = [0] * len(steps)  # the last completion that each waits for
        # for each queue: steps that are not ready yet by the time when they are, and ready ones
        later: dict[tuple[int, str], list[tuple[int, int]]] = {q: [] for q in names}
        ready: dict[tuple[int, str], list[tuple[int, int]]] = {q: [] for q in names}
        chained: dict[tuple[int, str], int] = {}
        for me, count in enumerate(missing):
            if not count:
                heapq.heappush(later[queues[me]], (0, me))
        order: list[int] = []
        while len(order) < len(steps):
            best: tuple[int, tuple[int, str]] | None = None
            for q in names:
                if q in chained:
                    # nothing comes between an instruction that holds its sums and the next one
                    if missing[chained[q]]:
                        continue
                    at = max(machines[q[0]].free[q[1]], waits[chained[q]])
                elif ready[q]:
                    at = machines[q[0]].free[q[1]]
                elif later[q]:
                    at = max(machines[q[0]].free[q[1]], later[q][0][0])
                else:
                    continue
                if best is None or at < best[0]:
                    best = (at, q)
            assert best is not None
            at, q = best
            while later[q] and later[q][0][0] <= at:
                _, me = heapq.heappop(later[q])
                heapq.heappush(ready[q], (-priority[me], me))
            if q in chained:
                me = chained.pop(q)
                ready[q].remove((-priority[me], me))
                heapq.heapify(ready[q])
            else:
                _, me = heapq.heappop(ready[q])
            starts[me], end = machines[q[0]].place(steps[me], waits[me], buses.moved)
            ends[me] = end
            order.append(me)
            if q[1] == "tensor" and (part := self._next_part(me)) is not None:
                chained[q] = part
            for other in after[me]:
                waits[other] = max(waits[other], end + self._told(me, other))
                missing[other] -= 1
                if not missing[other]:
                    heapq.heappush(later[queues[other]], (waits[other], other))
        last = max(starts, default=0)
        needs = {me: min((starts[o] for o in after[me]), default=last)
                 for me, (_, queue) in enumerate(queues) if queue == "load"}
        times = self._postponed(starts, needs)
        return sorted(order, key=times.__getitem__), needs, max(ends, default=0)

    def _told(self, me: int, other: int) -> int:
        """Cycles from a step's completion until the rank of another step knows of it."""
        first, second = self._steps[me], self._steps[other]
        if first.rank == second.rank:
            return 0
        return TOLD if first.to >> second.rank & 1 else TOLD + EXCHANGE_LATENCY

    def _next_part(self, me: int) -> int | None:
        """The TENSOR that goes on with the sums that this one holds, if it does."""
        if not self._steps[me].fields["hold"]:
            return None
        return next(o for o in self._after[me] if self._steps[o].opcode is Opcode.TENSOR
                    and self._steps[o].fields["acc"])

    def _postponed(self, starts: list[int], needs: dict[int, int]) -> list[int]:
        """The starts, with LOADs as late as they may be for all to end so many cycles
        before something waits for them, one after another: a LOAD that is dispatched long before it
        is needed fills its queue, and whatever is behind it in the program waits if the memory is
        slower than the model. In a gang all load at the same time."""
        out = list(starts)
        latest = [float(max(starts, default=0))] * self._ranks
        slow = max(1.0, self._ranks / self._memory) if self._memory else 1
        horizon = GANG_HORIZON if self._memory else HORIZON
        for need, _, me in sorted(((n, starts[me], me) for me, n in needs.items()), reverse=True):
            rank = self._steps[me].rank
            latest[rank] = min(latest[rank], need - horizon) - self._steps[me].cycles * slow
            out[me] = max(starts[me], int(latest[rank]))
        return out


def best_order(steps: list[Step], config: Config, memory: float = 0) -> tuple[list[Step], int]:
    """The steps in the best order that was found, and its predicted cycles; ``memory`` as of
    :class:`Orders`."""
    orders = Orders(steps, config, memory)
    rank = orders.ranks()
    deepest = [r if s.queue == "load" else i for i, (s, r) in enumerate(zip(steps, rank))]
    earliest = [r if s.queue == "load" else -i for i, (s, r) in enumerate(zip(steps, rank))]
    found: tuple[list[int], int] | None = None
    for priority in (rank, deepest, *[earliest] * bool(memory)):
        for _ in range(2):
            order, needs, cycles = orders.arrange(priority)
            if found is None or cycles < found[1]:
                found = order, cycles
            # again, with LOADs in the order in which they turned out to be needed
            priority = [-needs[me] if me in needs else p for me, p in enumerate(priority)]
    assert found is not None
    return [steps[i] for i in found[0]], found[1]
