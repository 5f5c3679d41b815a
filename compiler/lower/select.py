# SPDX-License-Identifier: Apache-2.0
"""Elements chosen by constant indices: as the shape operators, they change a value's order, and
compute nothing."""

from collections.abc import Callable

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.lower.builder import Builder, Handlers
from compiler.lower.constant import saturated
from compiler.lower.finish import as_number, quantize
from compiler.lower.logic import by_number
from compiler.lower.masked import emptied, masked
from compiler.lower.quant import deq_of
from compiler.lower.shape import broadcast, ints, shape_of, through
from compiler.lower.values import Deq, Joined, Quantized, Real, Weights, is_number
from compiler.source.frontend import attributes


def _array(value: object, what: str) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise Unsupported(f"{what} is not constant", "export the model with constant indices")
    return value


def _along(indices: np.ndarray, size: int) -> np.ndarray:
    """Indices from 0 on, negative ones counted from the end.

    Raises
    ------
    Unsupported
        If one lies outside.
    """
    if indices.size and not -size <= indices.min() <= indices.max() < size:
        raise Unsupported(f"an index of it is not in [{-size}, {size})", "correct the indices")
    return indices.astype(np.int64) % size


def expand(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """To a constant shape."""
    want = ints(inputs[1], "the shape")
    shape = np.broadcast_shapes(shape_of(inputs[0]), tuple(want))
    return [broadcast(inputs[0], shape)]


def tile(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """With constant repeats."""
    repeats = ints(inputs[1], "the number of repeats")
    return [through(inputs[0], lambda i: np.tile(i, repeats))]


def gather(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """With constant indices."""
    axis = attributes(node).get("axis", 0)
    at = _along(_array(inputs[1], "the index"), shape_of(inputs[0])[axis])
    return [through(inputs[0], lambda i: i.take(at, axis))]


def gather_elements(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """With constant indices."""
    axis = attributes(node).get("axis", 0)
    at = _along(_array(inputs[1], "the index"), shape_of(inputs[0])[axis])

    def change(index: np.ndarray) -> np.ndarray:
        cut = [slice(n) for n in at.shape]
        cut[axis] = slice(None)
        return np.take_along_axis(index[tuple(cut)], at, axis)
    return [through(inputs[0], change)]


def gather_nd(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """With constant indices, without batch dimensions."""
    if attributes(node).get("batch_dims", 0):
        raise Unsupported("it has batch dimensions", "use GatherElements")
    at, shape = _array(inputs[1], "the index"), shape_of(inputs[0])
    axes = tuple(_along(at[..., k], shape[k]) for k in range(at.shape[-1]))
    return [through(inputs[0], lambda i: i[axes])]


def reverse_sequence(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """With constant lengths."""
    at, lengths = attributes(node), ints(inputs[1], "the length")
    time, batch = at.get("time_axis", 0), at.get("batch_axis", 1)

    def change(index: np.ndarray) -> np.ndarray:
        rows = np.moveaxis(index, (batch, time), (0, 1)).copy()
        for row, n in zip(rows, lengths):
            row[:n] = row[:n][::-1].copy()
        return np.moveaxis(rows, (0, 1), (batch, time))
    return [through(inputs[0], change)]


def _with_zeros(value: object, change: Callable[[np.ndarray], np.ndarray]) -> Real:
    """A value with ``change`` applied to its index, which makes -1 of elements that become 0."""
    return Real(emptied(deq_of(value), change))


def trilu(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Of real values; what is not taken becomes 0."""
    k = ints(inputs[1], "the diagonal")[0] if len(inputs) > 1 and inputs[1] is not None else 0
    rows, columns = np.ogrid[:shape_of(inputs[0])[-2], :shape_of(inputs[0])[-1]]
    upper = attributes(node).get("upper", 1)
    kept = columns - rows >= k if upper else columns - rows <= k
    return [_with_zeros(inputs[0], lambda i: np.where(kept, i, -1))]


def center_crop_pad(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """To a constant shape; what is added is 0."""
    want, shape = ints(inputs[1], "the shape"), shape_of(inputs[0])
    axes = [a % len(shape) for a in attributes(node).get("axes", range(len(shape)))]

    def change(index: np.ndarray) -> np.ndarray:
        for axis, size in zip(axes, want):
            have = index.shape[axis]
            low = (have - size) // 2 if have > size else -((size - have) // 2)
            at = low + np.arange(size)
            line = index.take(at.clip(0, have - 1), axis)
            inside = ((at >= 0) & (at < have)).reshape([-1 if k == axis else 1
                                                        for k in range(index.ndim)])
            index = np.where(inside, line, -1)
        return index
    return [_with_zeros(inputs[0], change)]


def where(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Elements of two values side by side, either of which may be constant. Of floats the condition
    may be what the host gives: the values are multiplied with it and added, or where one is a
    constant of -65504 and less, as in front of a Softmax, minus infinity is added to the other.
    """
    mask, a, b = inputs
    if isinstance(mask, Real):
        return [by_number(build, mask, a, b, node.output[0])]
    mask = _array(mask, "its condition")
    for value, other, takes in ((a, b, mask), (b, a, ~mask)):
        if isinstance(other, np.ndarray | Weights):
            real = saturated(build, np.asarray(
                other.real if isinstance(other, Weights) else other))
            return [Real(masked(build, deq_of(value), takes, real))]
    shape = np.broadcast_shapes(mask.shape, shape_of(a), shape_of(b))
    which = np.broadcast_to(np.where(mask, 0, 1), shape).astype(np.int8)
    for k, value in enumerate((a, b)):
        if (which == k).all():
            return [broadcast(value, shape)]

    def taken(value: object, k: int) -> object:
        return through(value, lambda i: np.broadcast_to(i, shape)[which == k])
    chosen = [taken(a, 0), taken(b, 1)]
    integers = all(isinstance(v, Quantized) for v in chosen)
    parts = [Deq(v, np.float32(1), 0) if isinstance(v, Quantized) and integers else deq_of(v)
             for v in chosen]
    if any(is_number(p) for p in parts):
        parts = [as_number(build, p) for p in parts]
    joined = Real(Joined(tuple(parts), which))
    if not integers:
        return [joined]
    return [quantize(build, joined, np.float32(1), 0, parts[0].q.dtype, node.output[0])]


HANDLERS: Handlers = {
    "Expand": expand, "Tile": tile, "Gather": gather, "GatherElements": gather_elements,
    "GatherND": gather_nd, "ReverseSequence": reverse_sequence, "Trilu": trilu,
    "CenterCropPad": center_crop_pad, "Where": where}
