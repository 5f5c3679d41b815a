# SPDX-License-Identifier: Apache-2.0
"""Passes from graph to graph, and their contract.

1. A pass takes a graph that :func:`compiler.ir.verify.verify` accepts, and leaves one.
2. It may change the graph in place; the graph that it returns is the one to go on with.
3. Every value that remains has the same bits. A pass declines where it could not keep them, for the
   reasons that its module states.
4. Afterwards it ``ensures`` something that later passes and the back end rely on.

:func:`run` holds 1 and 4 after each pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compiler.ir.graph import Graph, Op
from compiler.ir.verify import check, verify
from isa.config import Config


@dataclass(frozen=True)
class Pass:
    """One pass.

    Members
    -------
    name : str
    rewrite : function of Graph and Config to Graph
    ensures : function of Graph and Config to list of Op
        Operators that the pass must not have left; none, if it did its work.
    promise : str
        The same in words.
    """

    name: str
    rewrite: Callable[[Graph, Config], Graph]
    ensures: Callable[[Graph, Config], Sequence[Op]]
    promise: str


def run(passes: Sequence[Pass], graph: Graph, config: Config) -> Graph:
    """The graph after all passes, in order.

    Raises
    ------
    CompileError
        If the machine does not run what a pass finds; or, as an error of the compiler, if a pass
        breaks its contract.
    """
    for p in passes:
        graph = p.rewrite(graph, config)
        verify(graph)
        for op in p.ensures(graph, config):
            check(False, graph.where(op.node), f"pass {p.name}: not every operator is such that "
                                               f"{p.promise}")
    return graph
