# SPDX-License-Identifier: Apache-2.0
"""Additions of a convolution's result become the convolution's residual.

``Add(conv(x), b)`` where nobody else reads the convolution: the post-processor quantizes the sum
as before (so its value is bit-identical; a float is not rounded to 16 bits in between) and adds
``b`` before it is stored. Of two candidates the later convolution is taken. The other operand is
then an input of the convolution, which moves to the place of the addition.

Declined: a convolution that has a residual already; one whose zero point is not the one that the
addition subtracts; and where rounding would differ (:func:`_same_bits`).
"""

from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from compiler.ir.graph import Add, Conv, Graph, Residual, Tensor
from compiler.ir.passes import Pass
from isa.config import Config


class Side(NamedTuple):
    """An addition seen from the operand ``x`` that a convolution makes; ``other`` is added."""

    x: Tensor
    zp: int
    scale: np.float32
    other: Tensor
    other_zp: int
    other_scale: np.float32


def _sides(op: Add) -> list[Side]:
    if op.product or op.b.nchw != op.a.nchw or op.a is op.b:
        return []
    return [Side(op.a, op.a_zp, op.scale_a, op.b, op.b_zp, op.scale_b),
            Side(op.b, op.b_zp, op.scale_b, op.a, op.a_zp, op.scale_a)]


def _same_bits(conv: Conv, side: Side, y: Tensor) -> bool:
    """Whether the post-processor does what addition and convolution do one after the other: on
    integers alone; or on floats of one type, where the convolution's result goes into the addition
    as it is, unclipped and unscaled."""
    types = {conv.y.dtype, side.other.dtype, y.dtype}
    if not any(t.floating for t in (conv.x, conv.y, side.other, y)):
        return True
    return (len(types) == 1 and y.floating and side.scale == 1
            and bool(np.isinf(conv.clip.lo) and np.isinf(conv.clip.hi)))


def _candidates(graph: Graph) -> dict[Add, tuple[Conv, Side]]:
    """The additions that can be fused, each with the later of its convolutions."""
    uses = Counter(x for op in graph.ops for x in op.inputs)
    uses.update(p.tensor for p in graph.outputs)
    maker = {op.y: (i, op) for i, op in enumerate(graph.ops) if isinstance(op, Conv)}
    found = {}
    for op in graph.ops:
        fitting = [(*maker[side.x], side) for side in (_sides(op) if isinstance(op, Add) else [])
                   if side.x in maker and uses[side.x] == 1]
        fitting = [(i, conv, side) for i, conv, side in fitting if conv.residual is None
                   and conv.clip.z == side.zp and _same_bits(conv, side, op.y)]
        if fitting:
            assert isinstance(op, Add)
            found[op] = max(fitting, key=lambda f: f[0])[1:]
    return found


def _fused(op: Add, conv: Conv, side: Side) -> Conv:
    return replace(conv, y=op.y, residual=Residual(
        x=side.other, zp=side.other_zp, scale_a=np.float32(side.scale),
        scale_b=np.float32(side.other_scale), clip=op.clip))


def fuse(graph: Graph, config: Config) -> Graph:
    """The graph with its additions fused."""
    found = _candidates(graph)
    gone = {conv for conv, _ in found.values()}
    graph.ops = [_fused(op, *found[op]) if isinstance(op, Add) and op in found else op
                 for op in graph.ops if op not in gone]
    return graph


FUSE = Pass("fuse", fuse, lambda graph, _: list(_candidates(graph)),
            "an addition that can be a residual is one")
