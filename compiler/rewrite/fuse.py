# SPDX-License-Identifier: Apache-2.0
"""Additions of a convolution's result become the convolution's residual.

``Add(conv(x), b)`` where nobody else reads the convolution: the post-processor quantizes the sum
as before (so its value is bit-identical; a float is not rounded to 16 bits in between) and adds
``b`` before it is stored. Of two candidates the
later convolution is taken. The other operand is then an input of the convolution, which moves to
the place of the addition.
"""

from collections import Counter

import numpy as np

from compiler.ir.graph import Add, Conv, Graph, Residual, Tensor, verify


def _fits(conv: Conv, side: tuple, y: Tensor) -> bool:
    """Whether the post-processor does what addition and convolution do one after the other: on
    integers alone; or on numbers of one type, where the convolution's result goes into the addition
    as it is, unclipped and unscaled."""
    types = {conv.y.dtype, side[3].dtype, y.dtype}
    if not any(t.floating for t in (conv.x, conv.y, side[3], y)):
        return True
    return (len(types) == 1 and y.floating and side[2] == 1
            and bool(np.isinf(conv.clip.lo) and np.isinf(conv.clip.hi)))


def fuse(graph: Graph) -> Graph:
    """The graph with its additions fused; every value that remains is bit-identical."""
    uses = Counter(id(x) for op in graph.ops for x in op.inputs)
    uses.update(id(p.tensor) for p in graph.outputs)
    maker = {id(op.y): op for op in graph.ops}
    order = {id(op): i for i, op in enumerate(graph.ops)}
    gone: set[int] = set()
    ops = []
    for op in graph.ops:
        if isinstance(op, Add) and not op.product and op.b.nchw == op.a.nchw \
                and op.a is not op.b:
            sides = [(op.a, op.a_zp, op.scale_a, op.b, op.b_zp, op.scale_b),
                     (op.b, op.b_zp, op.scale_b, op.a, op.a_zp, op.scale_a)]
            found = [(order[id(c)], side) for side in sides
                     if isinstance(c := maker.get(id(side[0])), Conv) and uses[id(side[0])] == 1
                     and c.residual is None and c.clip.z == side[1] and id(c) not in gone
                     and _fits(c, side, op.y)]
            if found:
                _, (mine, _, scale, other, zp, other_scale) = max(found, key=lambda f: f[0])
                conv = maker[id(mine)]
                assert isinstance(conv, Conv)
                gone.add(id(conv))
                op = Conv(node=conv.node, x=conv.x, y=op.y, weight=conv.weight, bias=conv.bias,
                          scale=conv.scale, a_zp=conv.a_zp, clip=conv.clip, stride=conv.stride,
                          dilation=conv.dilation, pad=conv.pad, groups=conv.groups,
                          counted=conv.counted,
                          residual=Residual(x=other, zp=zp, scale_a=np.float32(scale),
                                            scale_b=np.float32(other_scale), clip=op.clip))
                maker[id(op.y)] = op
                order[id(op)] = len(order)
        ops.append(op)
    graph.ops = [op for op in ops if id(op) not in gone]
    used = {id(x) for op in graph.ops for x in op.inputs} | {id(p.tensor) for p in graph.outputs}
    graph.ops = [op for op in graph.ops if id(op.y) in used]
    verify(graph)
    return graph
