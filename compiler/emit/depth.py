# SPDX-License-Identifier: Apache-2.0
"""Operators depth first.

A file's order may have what an operator needs long before it. In attention, values would be made
before the scores, so that nothing is left for the array to do during their softmax, and they take
room meanwhile. Depth first each operand is made right before what needs it, the first one of an
operator first. Not so where a cache is written, which has an order of its own.
"""

from compiler.ir.graph import Graph, Op


def depth_first(graph: Graph) -> list[Op]:
    """The operators in that order."""
    makers = {op.y: op for op in graph.ops}
    order: dict[Op, None] = {}
    todo = [(op, False) for op in reversed(graph.ops)
            if any(port.tensor is op.y for port in graph.outputs)]
    while todo:
        op, ready = todo.pop()
        if op in order:
            continue
        if ready:
            order[op] = None
            continue
        todo.append((op, True))
        todo += [(makers[x], False) for x in reversed(op.inputs) if x in makers]
    return list(order)
