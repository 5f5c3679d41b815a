# SPDX-License-Identifier: Apache-2.0
"""Shape operators: they rearrange a value's index and compute nothing.

They take integers, dequantized values and unfinished expressions alike. Only Concat of values with
different quantization and Pad with a value other than zero need an operator, or are refused.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.lower.builder import Builder, Handlers
from compiler.lower.constant import operand
from compiler.lower.finish import as_number, quantize
from compiler.lower.linear import activation, target
from compiler.lower.masked import emptied, masked
from compiler.lower.quant import deq_of, real_of, scalar
from compiler.lower.values import (INF, Deq, Function, Joined, Quantized, Real, Sum, Weights,
                                   is_number)
from compiler.source.frontend import attributes


def through(value: Any, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    """``value`` with ``change`` applied to its index."""
    if isinstance(value, Quantized):
        return replace(value, index=np.asarray(change(value.index), order="C"))
    if isinstance(value, Weights):
        if value.scale.size > 1:
            raise Unsupported("it reshapes weights that are quantized per channel",
                              "store the weights in their final shape")
        return replace(value, data=change(value.data))
    if isinstance(value, Real):
        if value.index is not None:
            return replace(value, index=np.asarray(change(value.index), order="C"))
        if isinstance(value.expr, Deq):
            q = through(value.expr.q, change)
            return replace(value, expr=replace(value.expr, q=q))
        if isinstance(value.expr, Function):
            x = value.expr.x
            return replace(value, expr=replace(value.expr, x=replace(
                x, q=through(x.q, change))))
        if isinstance(value.expr, Sum) and value.expr.a.q.shape == value.expr.b.q.shape:
            e = value.expr
            return replace(value, expr=replace(
                e, a=replace(e.a, q=through(e.a.q, change)),
                b=replace(e.b, q=through(e.b.q, change))))
    raise Unsupported("its input is not quantized",
                      "put QuantizeLinear and DequantizeLinear in front of it")


def broadcast(value: Any, shape: tuple[int, ...]) -> Any:
    """``value`` repeated along the axes in which it has one element."""
    return through(value, lambda i: np.broadcast_to(i, shape))


def ints(value: object, what: str) -> list[int]:
    if not isinstance(value, np.ndarray):
        raise Unsupported(f"{what} is not constant", "export the model with fixed shapes")
    return [int(v) for v in value.ravel()]


def shape_of(value: object) -> tuple[int, ...]:
    return value.data.shape if isinstance(value, Weights) else value.shape  # type: ignore


def dropout(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Vanishes; not in training."""
    ratio, training = (inputs[k] if len(inputs) > k else None for k in (1, 2))
    drops = ratio is None or not isinstance(ratio, np.ndarray) or ratio.any()
    if drops and training is not None and not (isinstance(training, np.ndarray)
                                               and not training.any()):
        raise Unsupported("it is in training mode", "export the model for inference")
    shape = shape_of(inputs[0])
    return [through(inputs[0], lambda i: i), np.ones(shape, bool)][:len(node.output)]


def keep(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Vanishes."""
    return [through(inputs[0], lambda i: i)]


def reshape(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """To a constant shape; moves nothing."""
    want, have = ints(inputs[1], "the shape"), shape_of(inputs[0])
    if attributes(node).get("allowzero", 0) and 0 in want:
        raise Unsupported("its result has no elements", "remove it from the model")
    if not attributes(node).get("allowzero", 0):
        want = [have[i] if v == 0 else v for i, v in enumerate(want)]
    try:
        return [through(inputs[0], lambda i: i.reshape(want))]
    except ValueError:
        raise Unsupported(f"{list(have)} cannot be reshaped to {want}",
                          "export the model for this batch") from None


def flatten(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Moves nothing."""
    axis = attributes(node).get("axis", 1)
    shape = shape_of(inputs[0])
    rows = int(np.prod(shape[:axis] if axis >= 0 else shape[:len(shape) + axis]))
    return [through(inputs[0], lambda i: i.reshape(rows, -1))]


def transpose(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Folded into the order of what is read; moves bytes only where no instruction reads that
    order.
    """
    perm = attributes(node).get("perm")
    v = inputs[0]
    if isinstance(v, Weights):
        perm = perm or list(range(v.data.ndim))[::-1]
        return [replace(v, data=v.data.transpose(perm), axis=list(perm).index(v.axis))]
    return [through(v, lambda i: i.transpose(perm))]


def depth_to_space(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """As Transpose."""
    at = attributes(node)
    size, crd = at["blocksize"], at.get("mode", b"DCR") == b"CRD"

    def moved(index: np.ndarray) -> np.ndarray:
        n, c, h, w = index.shape
        c //= size * size
        cells, order = (((c, size, size), (0, 1, 4, 2, 5, 3)) if crd else
                        ((size, size, c), (0, 3, 4, 1, 5, 2)))
        return index.reshape(n, *cells, h, w).transpose(order).reshape(n, c, h * size, w * size)

    return [through(inputs[0], moved)]


def space_to_depth(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """As Transpose."""
    size = attributes(node)["blocksize"]

    def moved(index: np.ndarray) -> np.ndarray:
        n, c, h, w = index.shape
        return index.reshape(n, c, h // size, size, w // size, size).transpose(
            0, 3, 5, 1, 2, 4).reshape(n, c * size * size, h // size, w // size)

    return [through(inputs[0], moved)]


def squeeze(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Moves nothing."""
    axes = ints(inputs[1], "axes") if len(inputs) > 1 and inputs[1] is not None else None
    return [through(inputs[0], lambda i: i.squeeze(tuple(axes) if axes is not None else None))]


def unsqueeze(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Moves nothing."""
    axes = ints(inputs[1], "axes")
    return [through(inputs[0], lambda i: np.expand_dims(i, tuple(axes)))]


def slice_(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """With constant bounds and steps."""
    starts, ends = ints(inputs[1], "starts"), ints(inputs[2], "ends")
    rank = len(shape_of(inputs[0]))
    axes = ints(inputs[3], "axes") if len(inputs) > 3 and inputs[3] is not None else \
        list(range(len(starts)))
    steps = ints(inputs[4], "steps") if len(inputs) > 4 and inputs[4] is not None else \
        [1] * len(starts)
    cut = [slice(None)] * rank
    for a, b, e, s in zip(axes, starts, ends, steps):
        low = -(1 << 31)
        cut[a] = slice(b, None if s < 0 and e <= low else e, s)
    return [through(inputs[0], lambda i: i[tuple(cut)])]


def split(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """In constant pieces."""
    axis = attributes(node).get("axis", 0)
    size, count = shape_of(inputs[0])[axis], len(node.output)
    if len(inputs) > 1 and inputs[1] is not None:
        sizes = ints(inputs[1], "split")
    else:
        step = -(-size // count)
        sizes = [min(step, size - i * step) for i in range(count)]
    cuts = np.cumsum(sizes)[:-1]
    def piece(j: int) -> object:
        return through(inputs[0], lambda i: np.split(i, cuts, axis)[j])
    return [piece(j) for j in range(count)]


def pad(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """By constant amounts: with a constant, reflect, edge or wrap."""
    mode = attributes(node).get("mode", b"constant").decode()
    amounts = ints(inputs[1], "pads")
    rank = len(shape_of(inputs[0]))
    axes = [a % rank for a in ints(inputs[3], "axes")] if len(inputs) > 3 and \
        inputs[3] is not None else list(range(rank))
    widths = [(0, 0)] * rank
    for i, a in enumerate(axes):
        widths[a] = (amounts[i], amounts[i + len(axes)])
    value = inputs[2] if len(inputs) > 2 and inputs[2] is not None else np.zeros(1, np.float32)
    if mode == "constant":
        if isinstance(inputs[0], Quantized):
            raise Unsupported("it pads integers", "pad between DequantizeLinear and "
                                                  "QuantizeLinear")

    def change(index: np.ndarray) -> np.ndarray:
        for axis, (a, b) in enumerate(widths):
            cut = [slice(None)] * rank
            cut[axis] = slice(max(0, -a), index.shape[axis] - max(0, -b))
            index = index[tuple(cut)]
        grow = [(max(0, a), max(0, b)) for a, b in widths]
        if mode == "constant":
            return np.pad(index, grow, constant_values=-1)
        if mode == "reflect":
            return np.pad(index, grow, mode="reflect")
        return np.pad(index, grow, mode="edge" if mode == "edge" else "wrap")
    if mode != "constant":
        return [through(inputs[0], change)]
    takes = change(np.zeros(shape_of(inputs[0]), np.int32)) == 0
    return [Real(masked(build, emptied(deq_of(inputs[0]), change), takes,
                        np.array(scalar(value, "the padding value"))))]


def _joined(build: Builder, parts: list[Deq | Real], axis: int) -> Real:
    if build.floats and any(isinstance(p, Deq) and is_number(p) for p in parts):
        parts = [as_number(build, p) for p in parts if isinstance(p, Deq)]
    shapes = [p.q.shape if isinstance(p, Deq) else p.shape for p in parts]
    which = np.concatenate([np.full(s, i, np.int16) for i, s in enumerate(shapes)], axis)
    return Real(Joined(tuple(parts), which))


def concat(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Along any axis, of tensors of up to four dimensions, which may be constant."""
    axis = attributes(node)["axis"]
    if all(isinstance(v, Quantized) for v in inputs):
        real = _joined(build, [Deq(v, np.float32(1), 0) for v in inputs], axis)
        return [quantize(build, real, np.float32(1), 0, inputs[0].dtype, node.output[0])]
    reals = [Real(operand(build, v, (v.data if isinstance(v, Weights) else v).shape))
             if isinstance(v, np.ndarray | Weights) else real_of(v, f"input {i}")
             for i, v in enumerate(inputs)]
    return [_joined(build, [r.expr if isinstance(r.expr, Deq) and (r.lo, r.hi) == (-INF, INF)
                            else r for r in reals], axis)]


def qlinear_concat(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """As Concat, on integers."""
    real = _joined(build, [activation(build, inputs, i) for i in range(2, len(inputs), 3)],
                   attributes(node)["axis"])
    return [quantize(build, real, *target(inputs, 0), node.output[0])]


HANDLERS: Handlers = {
    "Identity": keep, "Dropout": dropout, "Reshape": reshape, "Flatten": flatten,
    "Transpose": transpose, "Squeeze": squeeze, "Unsqueeze": unsqueeze, "Slice": slice_,
    "Split": split, "Pad": pad, "Concat": concat, "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth, "com.microsoft.QLinearConcat": qlinear_concat}
