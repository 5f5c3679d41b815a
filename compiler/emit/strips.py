# SPDX-License-Identifier: Apache-2.0
"""Depth-first strips: a chain of operators that passes its tensors on a few rows at a time.

Where a tensor is too large to stay in the scratchpad, the operators around it are interleaved: each
takes the rows that the strip of the one behind it needs (its halo included), and the tensor between
them is a ring of rows, as large as what is alive of it and a strip in advance. Tensors from and to
DRAM go through rings of their own, loaded and stored strip by strip. All weights of the chain stay.

Strip ``q`` of the last operator ends at row ``(q + 1) * size``; that of a tensor before it where
the last of its readers needs it to end.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import itemgetter

from compiler.emit.inplace import overwritten
from compiler.emit.schedule import RESIDENT_SHARE, Schedule
from compiler.emit.workers import Views, Worker, worker
from compiler.ir.graph import Op, Tensor
from compiler.machine.place import Box, View

ADVANCE = 1
"""Strips that a producer may be ahead of its readers."""

RING_MIN = 5
"""Rows of the smallest ring: more than an instruction has pixel streams."""

STRIP_COST = 1.06
"""What a convolution may take in strips, of what it takes whole."""


class _Places:
    """Where a chain's tensors and weights go, one after another."""

    def __init__(self, chain: "Chain", ub: dict[Tensor, list[int]]):
        self.chain, self.s, self.ub = chain, chain.s, ub
        self.views: Views = {}
        self.weights: list[int] = []
        self.settled: list[Tensor] = []
        self._rings: dict[Tensor, int] = {}

    @property
    def release(self) -> list[int]:
        """Allocations that are to be given back behind the chain."""
        return [*self._rings.values(),
                *(at for at, w in zip(self.weights, self.chain.workers) if w.words)]

    def plain(self) -> bool:
        """Place all; whole what comes from DRAM or leaves, if it fits. Returns whether all had
        room."""
        tensors = (*self.chain.read, *self.chain.made)
        return all(self._whole(t) or self._ring(t) for t in tensors) and self._weights()

    def thrifty(self) -> bool:
        """The same where DRAM has a price: what leaves is whole first, in the place of an operand
        if it may. What comes from DRAM comes once either way, and gets what room is left."""
        chain, s = self.chain, self.s
        inherited = chain.inherited(self.ub)
        if not (all(self._inherits(t, inherited[t]) or self._whole(t) or self._ring(t)
                    for t in chain.made) and self._weights()
                and all(self._here(t) or self._ring(t) for t in chain.read)):
            return False
        for t in chain.read:
            if t in self._rings:
                s.spm.release(self._rings.pop(t))
                found = self._whole(t) or self._ring(t)
                assert found, "the ring fits where it was"
        return True

    def undo(self) -> None:
        """Give everything back."""
        for at in self.release:
            self.s.spm.release(at)
        for t in self.settled:
            self.s.drop(t)

    def _here(self, t: Tensor) -> bool:
        """Whether a tensor is in the scratchpad."""
        view = self.s.resident(t)
        if view is not None:
            self.views[t] = view
        return view is not None

    def _inherits(self, t: Tensor, operands: list[Tensor]) -> bool:
        """Place a result that leaves where one of some operands is."""
        found = t in self.chain.leaves and any(
            self.s.inherit(x, t, self.chain.readers[x]) for x in operands)
        if found:
            self.settled.append(t)
        return found and self._here(t)

    def _whole(self, t: Tensor) -> bool:
        """Place all of a tensor that comes from DRAM or leaves, unless it is there."""
        s, own = self.s, self.s.dram.part_of(t)[0] or t
        if not self._here(t) and own not in s.partial and (
                t in self.chain.read or t in self.chain.leaves) and s.settle(own) is not None:
            self.settled.append(own)
        return self._here(t)

    def _ring(self, t: Tensor) -> bool:
        """Place a ring of a tensor's rows."""
        s, y, rows = self.s, self.s.dram.layout(t), self.chain.ring(t, self.ub)
        guard = 1 if y.packed else 0
        pitch = s.pitches(t)[0]
        block = (rows or t.nchw[2]) * pitch
        at = s.spm.lowest(y.blocks * block + 2 * guard)
        if at is None:
            return False
        self.views[t] = View(at + guard, pitch, block, 0, y.whole(t), rows, s.ranks > 1)
        self._rings[t] = at
        return True

    def _weights(self) -> bool:
        for w in self.chain.workers:
            at = self.s.spm.lowest(w.words) if w.words else 0
            if at is None:
                return False
            self.weights.append(at)
        return True


class Chain:
    """Operators that are neighbors in the graph's order.

    Parameters
    ----------
    s : Schedule
    ops : sequence of Op
    workers : sequence of Worker
    """

    def __init__(self, s: Schedule, ops: Sequence[Op], workers: Sequence[Worker]):
        self.s, self.ops, self.workers = s, ops, workers
        self._bounds: dict[int, dict[Tensor, list[int]]] = {}
        self._moved: dict[tuple[Tensor, int], int] = {}
        self._new: list[Tensor] = []
        self.made = dict.fromkeys(op.y for op in ops)
        self.read = dict.fromkeys(x for op in ops for x in op.inputs if x not in self.made)
        self.readers = Counter(x for op in ops for x in op.inputs)
        self.leaves = {t for t in self.made if t in s.kept or s.uses[t] > self.readers[t]}
        self.shared = [t for t in self.read if s.uses[t] > self.readers[t]]

    # -- rows -----------------------------------------------------------------------------------

    def bounds(self, size: int) -> dict[Tensor, list[int]]:
        """For each tensor the row at which each of its strips ends, with strips of ``size`` rows of
        the last output."""
        if size not in self._bounds:
            self._bounds[size] = self._ends(size)
        return self._bounds[size]

    def _ends(self, size: int) -> dict[Tensor, list[int]]:
        height = self.ops[-1].y.nchw[2]
        count = -(-height // size)
        ub = {self.ops[-1].y: [min(height, (q + 1) * size) for q in range(count)]}
        for op, w in zip(reversed(self.ops), reversed(self.workers)):
            mine = ub.setdefault(op.y, [0] * count)
            if op.y in self.leaves:
                mine[-1] = op.y.nchw[2]
            for x in op.inputs:
                theirs = ub.setdefault(x, [0] * count)
                for q, end in enumerate(mine):
                    if end:
                        theirs[q] = max(theirs[q], w.needs(x, end - 1, end)[1])
        return ub

    def ring(self, t: Tensor, ub: dict[Tensor, list[int]]) -> int:
        """Rows that a tensor's ring needs; 0: all of them."""
        mine = ub[t]
        before = [0, *mine]
        alive = step = 0
        for q, end in enumerate(mine):
            low = before[q]  # what is stored is read from there
            for op, w in zip(self.ops, self.workers):
                if any(x is t for x in op.inputs):
                    y = [0, *ub[op.y]]
                    if y[q + 1] > y[q]:
                        low = min(low, w.needs(t, y[q], y[q + 1])[0])
            alive, step = max(alive, end - low), max(step, end - before[q])
        rows = max(alive + ADVANCE * step, RING_MIN)
        return 0 if rows >= t.nchw[2] else rows

    # -- places ---------------------------------------------------------------------------------

    def place(self, size: int) -> tuple[Views, list[int], list[int]] | None:
        """Views of all tensors, places of the weights, and what to release; None, and nothing
        allocated, if they do not fit."""
        places = _Places(self, self.bounds(size))
        if not (places.thrifty() if self.s.price else places.plain()):
            places.undo()
            return None
        self._new = places.settled
        return places.views, places.weights, places.release

    def inherited(self, ub: dict[Tensor, list[int]]) -> dict[Tensor, list[Tensor]]:
        """For each result the operands in whose place it may be made."""
        return {op.y: [x for x in overwritten(op) if self._safe(at, x, ub)]
                for at, op in enumerate(self.ops)}

    def _safe(self, at: int, x: Tensor, ub: dict[Tensor, list[int]]) -> bool:
        """Whether nothing reads rows of ``x`` after the operator at a position has made its own."""
        mine = ub[self.ops[at].y]
        for k, (op, w) in enumerate(zip(self.ops, self.workers)):
            if k == at or all(t is not x for t in op.inputs):
                continue
            y = [0, *ub[op.y]]
            for q in range(len(mine)):
                if y[q + 1] > y[q]:
                    done = mine[q] if k > at else mine[q - 1] if q else 0
                    if w.needs(x, y[q], y[q + 1])[0] < done:
                        return False
        return True

    def spilled(self) -> int | None:
        """Words that operators behind the chain will find in DRAM alone, if it is made in strips of
        one row; None if it has no room even so."""
        self._cycles(1)
        if sum(w.words for w in self.workers) > self.s.spm.available:
            return None
        places = _Places(self, self.bounds(1))
        found = places.thrifty()
        gone = sum(self.s.words(t) for t in self.leaves
                   if self.s.uses[t] > self.readers[t] and self.s.resident(t) is None)
        places.undo()
        return gone if found else None

    def stays(self) -> bool:
        """Whether all tensors have room at once, so that there is nothing to gain."""
        s = self.s
        words = sum(s.words(t) for t in (*self.read, *self.made)
                    if s.resident(t) is None)
        return words + sum(w.words for w in self.workers) <= RESIDENT_SHARE * s.spm.available

    def size(self) -> int:
        """Rows of a strip whose longest instruction takes about the schedule's grain, and which
        costs the array little."""
        size = height = self.ops[-1].y.nchw[2]
        whole = self._cycles(height)
        while size > 1 and max(self._cycles(size)) > self.s.grain * self.s.ranks:
            half = -(-size // 2)
            if sum(self._cycles(half)) * -(-height // half) > STRIP_COST * sum(whole):
                break
            size = half
        return size

    def _cycles(self, size: int) -> list[int]:
        """Cycles of each operator's longest strip."""
        ub = self.bounds(size)
        return [w.plan(max(b - a for a, b in zip([0, *ub[op.y]], ub[op.y])))
                for op, w in zip(self.ops, self.workers)]

    # -- instructions ---------------------------------------------------------------------------

    def emit(self, size: int) -> bool:
        """Append everything in strips of ``size`` rows of the last output; False, and nothing is
        appended, if it does not fit."""
        ub = self.bounds(size)
        self._cycles(size)
        placed = self.place(size)
        if placed is None:
            return False
        views, weights, release = placed
        s = self.s
        for op, w, at in zip(self.ops, self.workers, weights):
            s.node = op.node
            if op.y in s.dram.joined:
                s.partial.setdefault(s.dram.joined[op.y][0], 0)
            w.load(at)
        for n in range(self.ops[-1].y.nchw[0]):
            # the places of a tensor that does not stay hold one image after the other
            here = {t: v if s.resident(t) is not None else replace(v, box=replace(v.box, n0=n))
                    for t, v in views.items()}
            for q in range(len(ub[self.ops[-1].y])):
                self._strip(n, q, ub, here)
            for t in self.shared:  # rows that only operators behind the chain read
                if t in self._new:
                    self._rows_of(t, n, 0, t.nchw[2], here, s.load_box)
        for at in release:
            s.spm.release(at)
        return True

    def _strip(self, n: int, q: int, ub: dict[Tensor, list[int]], views: Views) -> None:
        s = self.s
        for op, w in zip(self.ops, self.workers):
            s.node = op.node
            for x in op.inputs:
                if x in self.read and (s.resident(x) is None or x in self._new):
                    self._rows_of(x, n, *self._range(ub[x], q), views, s.load_box)
            y0, y1 = self._range(ub[op.y], q)
            if y1 > y0:
                w.rows(n, y0, y1, views)
            if op.y in self.leaves and s.resident(op.y) is None:
                self._rows_of(op.y, n, y0, y1, views, s.store_box)

    @staticmethod
    def _range(ends: list[int], q: int) -> tuple[int, int]:
        return (ends[q - 1] if q else 0), ends[q]

    def _rows_of(self, t: Tensor, n: int, y0: int, y1: int, views: Views, transfer) -> None:
        key = (t, n)
        y0 = max(y0, self._moved.get(key, 0))
        if y1 > y0:
            whole = self.s.dram.layout(t).whole(t)
            transfer(t, views[t], Box(n, n + 1, whole.b0, whole.b1, y0, y1, whole.x0, whole.x1))
            self._moved[key] = y1


def emit_chain(s: Schedule, ops: Sequence[Op], longest: int, least: bool) -> int:
    """Append the instructions of a chain of up to ``longest`` operators from ``ops[0]`` on: the
    longest that there is, or the one that spills ``least``.

    Returns how many operators it took: 0 if there is no chain, if everything in it may as well stay
    in the scratchpad, or if it does not fit.
    """
    for chain in _chains(s, ops[:longest], least):
        size = chain.size()
        while not chain.emit(size):
            if size == 1:
                break
            size = -(-size // 2)
        else:
            return len(chain.ops)
    return 0


def _chains(s: Schedule, ops: Sequence[Op], least: bool) -> Iterable[Chain]:
    """Chains from the first operator on, in the order in which they are to be tried."""
    workers: list[Worker] = []
    for op in ops:
        found = worker(s, op)
        if found is None or op.y.nchw[0] != ops[0].y.nchw[0]:
            break
        workers.append(found)
    chains = (Chain(s, ops[:length], workers[:length]) for length in range(len(workers), 1, -1))
    given = (chain for chain in chains if not chain.stays())
    if not s.price:
        return given
    fitting = ((spilled, chain) for chain in given if (spilled := chain.spilled()) is not None)
    return (chain for _, chain in (sorted(fitting, key=itemgetter(0)) if least else fitting))
