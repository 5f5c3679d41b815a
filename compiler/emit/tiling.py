# SPDX-License-Identifier: Apache-2.0
"""How a convolution is cut: pixel streams, weight chunks, boxes of the map, pieces of the
reduction. Every candidate that fits is priced (:mod:`compiler.emit.price`); the cheapest one
wins."""

from collections.abc import Iterator

from compiler.emit.price import Cut, Plan, Price, Task, pieces
from compiler.machine.weights import addends
from isa.instructions import TENSOR_FIELDS

PLANS = 8
"""So many of the cheapest cuts are kept."""

_FIELD_MAX = {f.name: (1 << f.width) - 1 for f in TENSOR_FIELDS}
KERNEL_MAX, BLOCKS_MAX = _FIELD_MAX["nr"], _FIELD_MAX["ncb"]
"""Largest kernel and stride, and most input blocks, that a TENSOR instruction can count."""


def _halves(n: int, low: int = 1) -> list[int]:
    out = []
    while n > low:
        out.append(n)
        n = -(-n // 2)
    return [*out, low]


def plans(task: Task) -> list[Plan]:
    """The cheapest plans that fit, cheapest first."""
    return sorted(_candidates(task), key=lambda p: p.cost)[:PLANS]


def _candidates(task: Task) -> Iterator[Plan]:
    """Plans with the whole reduction in one instruction; where none of them overlaps, also plans
    that cut it."""
    shape = task.shape
    overlaps = False
    if len(addends(shape.op.weight)) == 1 and max(shape.kernel) <= KERNEL_MAX:
        for plan in _whole(task):
            overlaps |= plan.overlaps
            yield plan
    if not overlaps:
        yield from _cut(task)


def _whole(task: Task) -> Iterator[Plan]:
    """For each number of pixel streams, groups and rows the widest boxes that fit."""
    shape = task.shape
    height, width = shape.out
    for m_split in range(task.config.tiles.bit_length()):
        for groups in _halves(pieces(max(r.last - r.first for r in shape.runs(m_split)),
                                     task.by_groups)):
            for rows in _halves(height):
                for columns in _halves(width) if rows <= 1 << m_split else (width,):
                    plan = Price(task, Cut(m_split, groups, rows, columns)).plan()
                    if plan:
                        yield plan
                        break


def _cut(task: Task) -> Iterator[Plan]:
    """For each box that a PSUM bank holds the pieces of the reduction that fit, down to those that
    overlap."""
    shape, depth = task.shape, task.config.psum_depth
    height, width = shape.out
    ncb = max(run.ncb for run in shape.runs(0))
    for m_split in sorted({0, task.config.tiles.bit_length() - 1}):
        for rows in _halves(min(height, depth << m_split)):
            for columns in _halves(min(width, depth)):
                if pieces(rows, 1 << m_split) * columns > depth:
                    continue
                for reduction in _reductions(ncb, *shape.kernel):
                    plan = Price(task, Cut(m_split, 1, rows, columns, reduction)).plan()
                    if plan:
                        yield plan
                        if plan.overlaps:
                            break


def _reductions(ncb: int, r: int, s: int) -> Iterator[tuple[int, int, int]]:
    r, s = min(r, KERNEL_MAX), min(s, KERNEL_MAX)
    for blocks in _halves(min(ncb, BLOCKS_MAX)):
        yield blocks, r, s
    for rows in _halves(r)[1:]:
        yield 1, rows, s
    for steps in _halves(s)[1:]:
        yield 1, 1, steps
