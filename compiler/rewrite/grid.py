# SPDX-License-Identifier: Apache-2.0
"""Maps of one row become maps of many.

Tokens are the pixels of one row. Operators are cut into bands of rows, so that a reader of the
first need not wait for the last; and pixel streams of the array take a row each. Where all that
read or write some tensors work on each pixel alone, the row is cut into rows of equal length. The
bytes stay where they are. Graphs without softmax or normalization of tokens are left alone.
"""

from dataclasses import replace

from compiler.ir.graph import Add, Conv, Graph, Move, Op, Place, Pool, Rows, Tensor
from compiler.ir.passes import Pass
from isa.config import Config

ROW = 8
"""Most pixels of a row."""


def grid(graph: Graph, config: Config) -> Graph:
    """The graph with such tensors reshaped."""
    if not any(isinstance(op, Rows) for op in graph.ops):
        return graph
    picked = [(op, -op.pad[1]) for op in graph.ops
              if isinstance(op, Conv) and _picks(op) and op.x.nchw[2] == 1]
    for tensors in _reshaped(graph):
        for t in tensors:
            t.nchw = (*t.nchw[:2], *_rows(t.nchw[3]))
    for op in graph.ops:
        if isinstance(op, Pool) and len(op.parts) == 1:
            op.parts = (replace(op.parts[0], y1=op.y.nchw[2], x1=op.y.nchw[3]),)
        elif isinstance(op, Move):
            op.sources = tuple(replace(source, wanted=source.wanted.reshape(op.y.nchw))
                               for source in op.sources)
    for op, pixel in picked:
        columns = op.x.nchw[3]
        op.pad = -(pixel // columns), -(pixel % columns)
    for port in graph.inputs + graph.outputs:
        if port.cell == (1, 1):
            port.nchw = port.tensor.nchw
    for t, values in graph.constants.items():
        graph.constants[t] = values.reshape(t.nchw)
    return graph


def _rows(pixels: int) -> tuple[int, int]:
    """Rows and columns."""
    width = next(w for w in range(min(ROW, pixels), 0, -1) if pixels % w == 0)
    return pixels // width, width


def _reshaped(graph: Graph) -> list[list[Tensor]]:
    """Tensors of one row each that keep to one another's shape, group by group."""
    leader: dict[Tensor, Tensor] = {}
    fixed = {port.tensor for port in graph.inputs + graph.outputs if port.cell != (1, 1)}

    def lead(t: Tensor) -> Tensor:
        while leader.setdefault(t, t) is not t:
            t = leader[t]
        return t

    for op in graph.ops:
        tensors = _maps(op)
        if not _pointwise(op):
            fixed.update(tensors)
        for t in [*tensors, *(t.parent for t in tensors if t.parent)]:
            leader[lead(t)] = lead(op.y)
    stay = {lead(t) for t in fixed}
    groups: dict[Tensor, list[Tensor]] = {}
    for t in leader:
        groups.setdefault(lead(t), []).append(t)
    return [group for head, group in groups.items() if head not in stay
            and all(t.nchw[2] == 1 and t.nchw[3] > 1 for t in group)]


def _maps(op: Op) -> list[Tensor]:
    """The tensors of an operator whose pixels are opposite one another."""
    if isinstance(op, Conv):
        return [op.y, *([] if _picks(op) else [op.x]), *([op.residual.x] if op.residual else [])]
    if isinstance(op, Move):
        return [op.y]
    if isinstance(op, Add):
        return [op.a, op.y, *([op.b] if op.b.nchw[2:] == op.a.nchw[2:] else [])]
    return [*op.inputs, op.y]


def _picks(op: Conv) -> bool:
    """Whether it reads one pixel of many, as a classifier reads the first token."""
    return (op.kernel == (1, 1) and op.y.nchw[2:] == (1, 1) and op.x.nchw[2:] != (1, 1)
            and op.pad[0] == 0 >= op.pad[1])


def _pointwise(op: Op) -> bool:
    """Whether each pixel of the result comes from the same one of the operands."""
    if isinstance(op, Conv) and _picks(op):
        return True
    if isinstance(op, Conv | Pool):
        return (op.kernel == op.stride == (1, 1) and op.pad == (0, 0)
                and (isinstance(op, Conv) or len(op.parts) == 1))
    return not isinstance(op, Place)


GRID = Pass("grid", grid, lambda graph, config: [], "its maps have rows")
