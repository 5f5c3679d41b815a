# SPDX-License-Identifier: Apache-2.0
"""Branches of a graph that are alike, each for one rank of a gang.

The heads of attention know nothing of one another until they are concatenated. Where their number
is a multiple of that of the ranks, each rank has as many of them, and nothing goes from rank to
rank in between.
"""

from collections import defaultdict

from compiler.emit.sharing import Grid
from compiler.ir.graph import Concat, Graph, Op, Tensor


def branches(graph: Graph, ranks: int) -> dict[Tensor, Grid]:
    """The operators of such branches, by their results, each with its rank."""
    readers: defaultdict[Tensor, list[Op]] = defaultdict(list)
    for op in graph.ops:
        for x in op.inputs:
            readers[x].append(op)
    found: dict[Tensor, Grid] = {}
    for op in graph.ops:
        if not isinstance(op, Concat) or len(op.parts) % ranks:
            continue
        each = [_behind(graph, part.x, readers) for part in op.parts]
        if each[0] and all(map(_kinds(each[0]).__eq__, map(_kinds, each))):
            for i, ops in enumerate(each):
                found |= {x.y: Grid(1, 1, i * ranks // len(each)) for x in ops}
    return found


def _behind(graph: Graph, end: Tensor, readers: dict[Tensor, list[Op]]) -> list[Op]:
    """What is done for a tensor that has one reader and for nothing else, the last first."""
    own: dict[Op, None] = {}
    kept = {port.tensor for port in graph.outputs}
    for op in reversed(graph.ops):
        if op.y not in kept and (len(readers[end]) == 1 if op.y is end else readers[op.y] and all(
                reader in own for reader in readers[op.y])):
            own[op] = None
    return list(own)


def _kinds(ops: list[Op]) -> list[tuple]:
    """What makes branches alike."""
    return sorted((type(op).__name__, op.y.nchw) for op in ops)
