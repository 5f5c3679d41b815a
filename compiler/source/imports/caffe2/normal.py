# SPDX-License-Identifier: Apache-2.0
"""Normalizations and reductions."""

from compiler.ir.errors import Unsupported
from compiler.source.imports.caffe2.operator import Operator, Row, row


def batch_norm(op: Operator) -> list[str]:
    if not op.get("is_test", False):
        raise Unsupported("it normalizes by the batch: is_test is not set",
                          "export the net for inference")
    return op.out(op.graph.emit("BatchNormalization", op.image(), *op.inputs[1:],
                                epsilon=op.get("epsilon", 1e-5)))


def instance_norm(op: Operator) -> list[str]:
    return op.out(op.graph.emit("InstanceNormalization", op.image(), *op.inputs[1:],
                                epsilon=op.get("epsilon", 1e-5)))


def lrn(op: Operator) -> list[str]:
    if op.get("size", 0) % 2 != 1:
        raise Unsupported(f"its size is {op.get('size', 0)}", "use an odd size")
    return op.out(op.graph.emit("LRN", op.image(), size=op.get("size", 0), bias=op.get("bias", 1.0),
                                alpha=op.get("alpha", 0.0), beta=op.get("beta", 0.0)))


def softmax(op: Operator) -> list[str]:
    """Over everything from ``axis`` on."""
    axis = op.axis(1, len(op.graph.shape(op.inputs[0])))
    return [op.graph.emit("Softmax", op.inputs[0], axis=axis)]


def _reduce(kind: str) -> Row:
    def convert(op: Operator) -> list[str]:
        axes = op.get("axes", []) or list(range(len(op.graph.shape(op.inputs[0]))))
        return [op.graph.emit(kind, op.inputs[0], axes=axes, keepdims=op.get("keepdims", 1))]
    return row(convert, "axes keepdims")


def _reduce_back(kind: str) -> Row:
    """Over the last ``num_reduce_dim`` axes."""
    def convert(op: Operator) -> list[str]:
        rank, count = len(op.graph.shape(op.inputs[0])), op.get("num_reduce_dim", 1)
        return [op.graph.emit(kind, op.inputs[0], axes=list(range(rank - count, rank)),
                              keepdims=0)]
    return row(convert, "num_reduce_dim")


TABLE = {
    "SpatialBN": row(batch_norm, "is_test epsilon momentum order", 5),
    "InstanceNorm": row(instance_norm, "epsilon order", 3),
    "LRN": row(lrn, "size alpha beta bias order"), "Softmax": row(softmax, "axis"),
    **{k: _reduce(k) for k in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1",
                               "ReduceL2")},
    **{f"ReduceBack{k}": _reduce_back(f"Reduce{k}") for k in ("Sum", "Mean", "Max")},
}
