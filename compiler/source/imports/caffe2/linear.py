# SPDX-License-Identifier: Apache-2.0
"""Matrix products."""

import math

from compiler.ir.errors import Unsupported
from compiler.source.imports.caffe2.operator import Operator, row


def fully_connected(op: Operator) -> list[str]:
    """``[N…, K…]`` times weights ``[M, K…]``, or ``[K…, M]`` for FCTransposed, and a bias [M]:
    K is what is behind ``axis``."""
    graph, (x, w, *bias) = op.graph, op.inputs
    shape, axis = graph.shape(x), op.axis(1, len(graph.shape(x)))
    weights = graph.shape(w)
    split = op.axis(1, len(weights), "axis_w")
    if len(weights) != 2 or split != 1:
        w = graph.reshape(w, [math.prod(weights[:split]), math.prod(weights[split:])])
    transposed = op.kind == "FCTransposed"
    if len(shape) != 2 or axis != 1:
        x = graph.emit("Flatten", x, axis=axis)
    y = graph.emit("Gemm", x, w, *bias, transB=int(not transposed))
    if axis != 1:
        y = graph.reshape(y, [*shape[:axis], graph.shape(y)[1]])
    return [y]


def mat_mul(op: Operator) -> list[str]:
    """Of matrices, to which the inputs are flattened at ``axis_a`` and ``axis_b``."""
    graph, sides = op.graph, []
    for value, name in zip(op.inputs, "ab"):
        rank = len(graph.shape(value))
        axis = op.axis(1, rank, f"axis_{name}")
        if rank != 2 or axis != 1:
            value = graph.emit("Flatten", value, axis=axis)
        sides.append(graph.transpose(value, [1, 0]) if op.get(f"trans_{name}", False) else value)
    return [graph.emit("MatMul", *sides)]


def batch_mat_mul(op: Operator) -> list[str]:
    graph, sides = op.graph, []
    if len({len(graph.shape(v)) for v in op.inputs}) > 1 and not op.get("broadcast", False):
        raise Unsupported("its inputs differ in rank", "set broadcast")
    for value, name in zip(op.inputs, "ab"):
        rank = len(graph.shape(value))
        if op.get(f"trans_{name}", False) and rank > 1:
            value = graph.transpose(value, [*range(rank - 2), rank - 1, rank - 2])
        sides.append(value)
    return [graph.emit("MatMul", *sides)]


TABLE = {"FC": row(fully_connected, "axis axis_w", 3),
         "FCTransposed": row(fully_connected, "axis axis_w", 3),
         "MatMul": row(mat_mul, "axis_a axis_b trans_a trans_b", 2),
         "BatchMatMul": row(batch_mat_mul, "trans_a trans_b broadcast", 2)}
