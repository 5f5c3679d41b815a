# SPDX-License-Identifier: Apache-2.0
"""Requantizations at the same scale are no operators of their own.

``y = clip(x - a_zp + z)`` of integers, a window of one tap whose factor is 1: DequantizeLinear and
QuantizeLinear with another zero point or type, or with a clip between them. What makes ``x`` alone
for it takes over the zero point and the clip. Where nothing is clipped, because each value of the
one type is one of the other, those that read ``y`` subtract another zero point from ``x``::

    y - zp = x - (zp - (z - a_zp))

All bits stay the same. Declined: a result that the host reads, unless what makes ``x`` takes over;
zero points outside of the type.
"""

from collections import Counter
from dataclasses import replace

from compiler.ir.graph import (RANGE, Add, Append, Clip, Concat, Conv, Graph, Move, Op, Place, Pool,
                               Product, Rows, Tensor)
from compiler.ir.passes import Pass
from isa.config import Config

OF_FLOATS = (Rows, Append, Place)
"""Operators that read no integers."""


def _shifts(op: Op) -> bool:
    """Whether an operator is such a requantization."""
    return (isinstance(op, Pool) and op.function is None and op.kernel == (1, 1)
            and op.stride == (1, 1) and op.pad == (0, 0) and op.y.nchw == op.x.nchw
            and all(p.scale == 1 for p in op.parts) and not (op.x.floating or op.y.floating))


def _final(op: Op) -> Clip:
    """The last clip of an operator."""
    return op.residual.clip if isinstance(op, Conv) and op.residual else op.clip


def _taken_over(maker: Op, op: Pool) -> Clip | None:
    """The last clip of ``maker`` that makes ``op`` needless; None if there is none."""
    first, last, shift = _final(maker), op.clip, op.clip.z - op.a_zp
    low, high = RANGE[op.y.dtype]

    def both(bound: float) -> float:
        return min(max(bound + shift, last.lo), last.hi)
    found = Clip(first.z + shift, both(first.lo), both(first.hi))
    return found if low <= found.z <= high else None


def _one_to_one(op: Pool) -> bool:
    """Whether no value is clipped."""
    low, high = RANGE[op.y.dtype]
    return ((op.clip.lo, op.clip.hi) == (low, high)
            and op.clip.z - op.a_zp == low - RANGE[op.x.dtype][0])


def _found(graph: Graph) -> tuple[Pool, Op | None] | None:
    """A requantization that can go, and what makes its operand if that takes over."""
    uses = Counter(x for op in graph.ops for x in op.inputs)
    results = {p.tensor for p in graph.outputs}
    uses.update(results)
    makers = {op.y: op for op in graph.ops}
    for op in graph.ops:
        if not _shifts(op):
            continue
        assert isinstance(op, Pool)
        maker = makers.get(op.x)
        if maker is not None and uses[op.x] == 1 and _taken_over(maker, op):
            return op, maker
        if op.y not in results and _one_to_one(op):
            return op, None
    return None


def shift(graph: Graph, config: Config) -> Graph:
    """The graph without such operators."""
    while (found := _found(graph)) is not None:
        op, maker = found
        if maker is None:
            graph.ops = [_reading(reader, op) for reader in graph.ops if reader is not op]
        else:
            clip = _taken_over(maker, op)
            assert clip is not None
            graph.ops = [_making(other, op.y, clip) if other is maker else other
                         for other in graph.ops if other is not op]
    return graph


def _making(maker: Op, y: Tensor, clip: Clip) -> Op:
    if isinstance(maker, Conv) and maker.residual:
        return replace(maker, y=y, residual=replace(maker.residual, clip=clip))
    assert not isinstance(maker, Append | Place), "it makes floats"
    return replace(maker, y=y, clip=clip)


def _reading(op: Op, gone: Pool) -> Op:
    """An operator with the operand of ``gone`` in place of its result."""
    offset = gone.clip.z - gone.a_zp

    def at(x: Tensor, zp: int) -> tuple[Tensor, int]:
        return (gone.x, zp - offset) if x is gone.y else (x, zp)
    if gone.y not in op.inputs or isinstance(op, OF_FLOATS):
        return op
    if isinstance(op, Add):
        (a, a_zp), (b, b_zp) = at(op.a, op.a_zp), at(op.b, op.b_zp)
        return replace(op, a=a, a_zp=a_zp, b=b, b_zp=b_zp)
    if isinstance(op, Concat):
        parts = [(p, *at(p.x, p.zp)) for p in op.parts]
        return replace(op, parts=tuple(replace(p, x=x, zp=zp) for p, x, zp in parts))
    if isinstance(op, Move):
        sources = [(p, *at(p.x, p.zp)) for p in op.sources]
        return replace(op, sources=tuple(replace(p, x=x, zp=zp) for p, x, zp in sources))
    x, a_zp = at(op.x, op.a_zp)
    if isinstance(op, Product):
        w, w_zp = at(op.w, op.w_zp)
        return replace(op, x=x, a_zp=a_zp, w=w, w_zp=w_zp)
    if isinstance(op, Pool):
        return replace(op, x=x, a_zp=a_zp)
    residual = op.residual
    if residual:
        other, zp = at(residual.x, residual.zp)
        residual = replace(residual, x=other, zp=zp)
    return replace(op, x=x, a_zp=a_zp, residual=residual)


def _left(graph: Graph, config: Config) -> list[Op]:
    found = _found(graph)
    return [found[0]] if found else []


SHIFT = Pass("shift", shift, _left, "a requantization at the same scale is folded")
