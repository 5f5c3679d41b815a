# SPDX-License-Identifier: Apache-2.0
"""Operators depth first.

A file's order may have what an operator needs long before it. In attention, values would be made
before the scores, so that nothing is left for the array to do during their softmax, and they take
room meanwhile. Depth first each operand is made right before what needs it, the first one of an
operator first.
"""

from compiler.ir.graph import Append, Graph, Keep, Op


def depth_first(graph: Graph) -> list[Op]:
    """The operators in that order, but for the second halves of what goes to a cache."""
    makers = {op.y: op for op in graph.ops if not isinstance(op, Keep)}
    order: dict[Op, None] = {}
    todo = [(op, False) for op in reversed(makers.values())
            if isinstance(op, Append) or any(port.tensor is op.y for port in graph.outputs)]
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
