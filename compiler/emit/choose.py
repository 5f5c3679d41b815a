# SPDX-License-Identifier: Apache-2.0
"""Which cut of a convolution is the cheapest, beside what stays in the scratchpad or without some
of that, and with the reader of its pixels beside it or behind it."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

from compiler.emit.price import NOT_HIDDEN, Plan, Task
from compiler.emit.rows import least_words, rows_cycles
from compiler.emit.schedule import Schedule
from compiler.emit.tiling import plans
from compiler.ir.graph import Conv, Pool, Rows, Tensor
from compiler.machine.loops import Shape


@dataclass(frozen=True)
class Choice:
    """A plan, with ``rows`` beside it or without, once some residents are ``gone``."""

    plan: Plan
    gone: tuple[Tensor, ...]
    beside: bool
    cost: float


def choose(s: Schedule, op: Conv, y: Tensor, shape: Shape, rows: Rows | None, copy: Pool | None
           ) -> Choice | None:
    """The cheapest cut that fits, of a convolution that makes ``y``, whose pixels ``rows`` reads;
    None if none does. Where there are tokens, whose matrices are large, it may be cheaper with a
    resident less."""
    return min((choice for gone in _without(s, op, y) if lone_slab(s, op, y, gone) is None
                for choice in _choices(s, op, y, shape, rows, copy, gone)),
               key=lambda choice: choice.cost, default=None)


def lone_slab(s: Schedule, op: Conv, y: Tensor, gone: tuple[Tensor, ...] = ()) -> Tensor | None:
    """Of a convolution's result and what is added to it the one that stays, as a slab, without the
    other one, once some residents are ``gone``. There may be none: the two have one row pitch."""
    if op.residual is None:
        return None
    here = [t for t in (op.residual.x, y) if s.resident(t) is not None and t not in gone]
    return here[0] if len(here) == 1 and s.sharing.part(here[0]) else None


def _without(s: Schedule, op: Conv, y: Tensor) -> list[tuple[Tensor, ...]]:
    """Residents that might go: none, another one, the result ``y``, both."""
    if not s.tokens:
        return [()]
    other = s.evictable([op.x, y])
    here = [(t,) for t in (other, y) if t is not None and s.resident(t) is not None
            and t not in s.twins
            and s.dram.part_of(t)[0] is None]
    return [(), *here, *([(*here[0], *here[1])] if len(here) > 1 else [])]


def _choices(s: Schedule, op: Conv, y: Tensor, shape: Shape, rows: Rows | None,
             copy: Pool | None, gone: tuple[Tensor, ...]) -> Iterator[Choice]:
    """The best plan when some residents are gone, and the best one with rows beside it."""
    def here(t: Tensor) -> bool:
        return s.resident(t) is not None and t not in gone

    spm = deepcopy(s.spm)
    for t in gone:
        spm.release(s.slabs.at(s.views[t].base))
    moved = sum(2 * s.words(t) * s.lanes for t in gone if t is not y)
    tail = op.y.nchw[2] * op.y.nchw[3] if s.feeds_global_pool(op.y) else 0
    grid = s.sharing.grid(op, shape.out[0])
    slabs = any(s.sharing.part(t) for t in (*op.inputs, op.y, y))
    for beside in (False, True)[:1 + (rows is not None)]:
        reserve = after = 0
        if rows is not None:
            after = rows_cycles(s, rows) // s.ranks
            reserve = least_words(s, rows, here(op.y), copy) * beside
        task = Task(
            shape, s.config, spm.largest - reserve, here(op.x), here(op.y),
            here(op.residual.x) if op.residual else None, None if here(y) else y, s.grain, tail,
            s.exposed, after * beside, s.price, grid.rows, grid.channels)
        found = next((p for p in plans(task) if not (slabs and p.cut.reduction)), None)
        if found is not None and not (beside and (found.weights_outer or found.cut.reduction)):
            yield Choice(found, gone, beside, found.cost
                          + (NOT_HIDDEN / s.config.bus_bytes + s.price) * moved
                          + after * (not beside))
