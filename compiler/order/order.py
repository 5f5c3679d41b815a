# SPDX-License-Identifier: Apache-2.0
"""The order of the instructions: list scheduling on the model of time.

The emitters give the instructions in one legal sequential order, layer by layer. What must not
change is only which instruction sees what another one wrote, and which words are overwritten when:
:func:`dependencies` reads that off the extents. :func:`arrange` then lets the engines of the model
(:class:`compiler.machine.timing.Machine`) pick their next instruction, always the engine that can
start first, and among what is ready there the instruction of highest priority. Weights come early,
the layers of a block interleave over their strips of rows, stores go out when the bus is free.

Priorities are tried in turn, since none is best for every network: the longest path to the end
(which runs a layer ahead of the next one), or the deepest layer first (which finishes strips).
"""

import heapq
from collections import defaultdict

import numpy as np

from compiler.machine.steps import Extent, Step
from compiler.machine.timing import Machine
from isa.config import Config
from isa.instructions import QUEUES, Opcode, Region

DRAM_GRAIN = 64
"""Bytes of DRAM that are tracked as one."""

HORIZON = 1500
"""Cycles that a LOAD is ahead of its first reader."""

BUCKET = 512
"""Grains whose readers are looked through together."""


def merged(extents: list[Extent]) -> list[Extent]:
    """The same words in as few extents as possible."""
    out: list[Extent] = []
    for where, start, end in sorted(extents):
        if out and out[-1][0] == where and start <= out[-1][2]:
            out[-1] = (where, out[-1][1], max(end, out[-1][2]))
        else:
            out.append((where, start, end))
    return out


class _Space:
    """Who wrote each grain last, and who has read it since."""

    def __init__(self, grains: int, grain: int):
        self.grain = grain
        self.writer = np.full(grains, -1, np.int32)
        self.readers: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)

    def _pieces(self, a: int, b: int) -> list[tuple[int, int, int]]:
        return [(k, max(a, k * BUCKET), min(b, (k + 1) * BUCKET))
                for k in range(a // BUCKET, (b - 1) // BUCKET + 1)]

    def _writers(self, a: int, b: int) -> set[int]:
        found = self.writer[a:b]
        first = int(found[0])
        if (found == first).all():
            return {first}
        return set(np.unique(found).tolist())

    def read(self, me: int, start: int, end: int) -> set[int]:
        """Whom a reader of these bytes or words waits for."""
        a, b = start // self.grain, -(-end // self.grain)
        for k, low, high in self._pieces(a, b):
            self.readers[k].append((low, high, me))
        return self._writers(a, b)

    def write(self, me: int, start: int, end: int) -> set[int]:
        """Whom a writer waits for."""
        a, b = start // self.grain, -(-end // self.grain)
        found = self._writers(a, b)
        for k, low, high in self._pieces(a, b):
            rest = []
            for reader in self.readers[k]:
                if reader[0] < high and low < reader[1]:
                    found.add(reader[2])
                    if low <= reader[0] and reader[1] <= high:
                        continue
                rest.append(reader)
            self.readers[k] = rest
        self.writer[a:b] = me
        return found


def dependencies(steps: list[Step], config: Config, sizes: dict[int, int]) -> list[set[int]]:
    """For each step the earlier ones that have to be complete before it starts."""
    spaces = {-1: _Space(config.spm_words, 1)}
    for region in (Region.WORKSPACE, Region.OUTPUT):
        spaces[region] = _Space(-(-sizes.get(region, 0) // DRAM_GRAIN) + 1, DRAM_GRAIN)
    result = []
    held, tensors = -1, set[int]()
    for me, step in enumerate(steps):
        need: set[int] = set()
        for where, start, end in merged(step.reads):
            if where in spaces:
                need |= spaces[where].read(me, start, end)
        for where, start, end in merged(step.writes):
            if where in spaces:
                need |= spaces[where].write(me, start, end)
        if step.opcode is Opcode.TENSOR:
            hold, acc = step.fields.get("hold", 0), step.fields.get("acc", 0)
            if hold and not acc:
                # nothing gets between the parts of a reduction, so nothing may wait for others
                need |= tensors
                tensors = set()
            if acc:
                need.add(held)
            held = me
            if not hold:
                tensors.add(me)
        need -= {-1, me}
        result.append(need)
    return result


def ranks(steps: list[Step], before: list[set[int]]) -> list[int]:
    """Cycles of the longest path from the start of each step to the end of the program."""
    rank = [s.cycles + s.tail for s in steps]
    for me in range(len(steps) - 1, -1, -1):
        for other in before[me]:
            rank[other] = max(rank[other], steps[other].cycles + steps[other].tail + rank[me])
    return rank


def arrange(steps: list[Step], before: list[set[int]], config: Config,
            priority: list[int]) -> tuple[list[int], list[int], int]:
    """Positions of the steps in the order in which the model's engines start them (LOADs as
    :func:`postponed`), the cycle in which something first waits for each, and the cycle in which
    the last one is complete."""
    machine = Machine(config)
    after: list[list[int]] = [[] for _ in steps]
    missing = [len(b) for b in before]
    for me, need in enumerate(before):
        for other in need:
            after[other].append(me)
    starts, ends = [0] * len(steps), [0] * len(steps)
    # for each queue: steps that are not ready yet by the time when they are, and ready ones
    later: dict[str, list[tuple[int, int]]] = {q: [] for q in QUEUES}
    ready: dict[str, list[tuple[int, int]]] = {q: [] for q in QUEUES}
    chained: int | None = None

    def release(me: int) -> None:
        at = max((ends[o] for o in before[me]), default=0)
        heapq.heappush(later[steps[me].queue], (at, me))

    for me, count in enumerate(missing):
        if not count:
            release(me)
    order: list[int] = []
    while len(order) < len(steps):
        best: tuple[int, str] | None = None
        for q in QUEUES:
            if q == "tensor" and chained is not None:
                # nothing comes between an instruction that holds its sums and the next one
                if missing[chained]:
                    continue
                at = max(machine.free(q), max(ends[o] for o in before[chained]))
            elif ready[q]:
                at = machine.free(q)
            elif later[q]:
                at = max(machine.free(q), later[q][0][0])
            else:
                continue
            if best is None or at < best[0]:
                best = (at, q)
        assert best is not None
        at, q = best
        while later[q] and later[q][0][0] <= at:
            _, me = heapq.heappop(later[q])
            heapq.heappush(ready[q], (-priority[me], me))
        if q == "tensor" and chained is not None:
            me = chained
            ready[q].remove((-priority[me], me))
            heapq.heapify(ready[q])
        else:
            _, me = heapq.heappop(ready[q])
        starts[me], ends[me] = machine.place(steps[me], [(steps[o].queue, ends[o])
                                                         for o in before[me]])
        order.append(me)
        if q == "tensor":
            chained = next((o for o in after[me] if steps[o].opcode is Opcode.TENSOR
                            and steps[o].fields["acc"]), None) if steps[me].fields["hold"] else None
        for other in after[me]:
            missing[other] -= 1
            if not missing[other]:
                release(other)
    needs = [min((starts[o] for o in later), default=max(starts, default=0)) for later in after]
    times = postponed(starts, needs, steps)
    return sorted(order, key=times.__getitem__), needs, max(ends, default=0)


def postponed(starts: list[int], needs: list[int], steps: list[Step]) -> list[int]:
    """The starts, with LOADs as late as they may be for all to end :data:`HORIZON` cycles before
    something waits for them, one after another: a LOAD that is dispatched long before it is needed
    fills its queue, and whatever is behind it in the program waits if the memory is slower than the
    model."""
    out = list(starts)
    loads = [(needs[me], starts[me], me) for me, step in enumerate(steps) if step.queue == "load"]
    latest = max(starts, default=0)
    for need, _, me in sorted(loads, reverse=True):
        latest = min(latest, need - HORIZON) - steps[me].cycles
        out[me] = max(starts[me], latest)
    return out


def best_order(steps: list[Step], config: Config, sizes: dict[int, int]) -> tuple[list[Step], int]:
    """The steps in the best order that was found, and its predicted cycles."""
    before = dependencies(steps, config, sizes)
    rank = ranks(steps, before)
    deepest = [r if s.queue == "load" else i for i, (s, r) in enumerate(zip(steps, rank))]
    found: tuple[list[int], int] | None = None
    for priority in (rank, deepest):
        for _ in range(2):
            order, needs, cycles = arrange(steps, before, config, priority)
            if found is None or cycles < found[1]:
                found = order, cycles
            # again, with LOADs in the order in which they turned out to be needed
            priority = [-n if s.queue == "load" else p
                        for n, s, p in zip(needs, steps, priority)]
    assert found is not None
    return [steps[i] for i in found[0]], found[1]
