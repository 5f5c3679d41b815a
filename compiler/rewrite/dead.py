# SPDX-License-Identifier: Apache-2.0
"""Operators whose result nobody reads go."""

from compiler.ir.graph import Graph, Op, Tensor
from compiler.ir.passes import Pass
from isa.config import Config


def _dead(graph: Graph) -> set[Op]:
    """Operators that no output of the graph depends on."""
    needed: set[Tensor] = {p.tensor for p in graph.outputs}
    dead: set[Op] = set()
    for op in reversed(graph.ops):
        if op.y in needed:
            needed.update(op.inputs)
        else:
            dead.add(op)
    return dead


def drop_dead(graph: Graph, config: Config) -> Graph:
    """The graph without operators that no output depends on."""
    dead = _dead(graph)
    graph.ops = [op for op in graph.ops if op not in dead]
    read = {x for op in graph.ops for x in op.inputs}
    graph.constants = {t: values for t, values in graph.constants.items() if t in read}
    return graph


DEAD = Pass("dead", drop_dead, lambda graph, _: list(_dead(graph)), "an output depends on it")
