# SPDX-License-Identifier: Apache-2.0
"""Operators that move elements."""

from typing import Any

import numpy as np

from compiler.ir.errors import Unsupported
from compiler.source.imports.caffe2.operator import Operator, row

END = 2**31 - 1
"""An end of a Slice behind every element, whatever the batch."""

TYPES = {1: 1, 2: 6, 5: 9, 6: 2, 7: 3, 10: 7, 13: 11}
"""ONNX's number of Caffe2's types."""


def _channel_axis(op: Operator, rank: int) -> int:
    return op.axis(rank - 1 if op.channels_last else 1, rank)


def concat(op: Operator) -> list[str]:
    """And the sizes along the axis, which a Split may read."""
    graph, values, new = op.graph, op.inputs, op.get("add_axis", False)
    rank = len(graph.shape(values[0]))
    axis = _channel_axis(op, rank + new)
    sizes = np.array([1 if new else graph.shape(v)[axis] for v in values], np.int32)
    if new:
        values = [graph.emit("Unsqueeze", v, axes=[axis]) for v in values]
    elif axis == rank - 1 and all(v in graph.first for v in values):
        y = graph.channels_last(graph.emit("Concat", *(graph.first[v] for v in values), axis=1))
        return [y, graph.constant(sizes)]
    return [graph.emit("Concat", *values, axis=axis), graph.constant(sizes)]


def split(op: Operator) -> list[str]:
    graph, x, count = op.graph, op.inputs[0], len(op.outputs)
    axis = _channel_axis(op, len(graph.shape(x)))
    sizes = op.get("split", [])
    if len(op.inputs) == 2:
        sizes = graph.fixed(op.inputs[1], "its split").tolist()
    if not sizes:
        if graph.shape(x)[axis] % count:
            raise Unsupported(f"{graph.shape(x)[axis]} do not split evenly into {count}",
                              "give the sizes")
        sizes = [graph.shape(x)[axis] // count] * count
    return graph.emit("Split", x, count=count, axis=axis, split=sizes)


def cut(op: Operator) -> list[str]:
    """A negative start or end counts from one behind the last element."""
    graph, x = op.graph, op.inputs[0]
    shape = graph.shape(x)
    starts, ends = op.get("starts", []), op.get("ends", [])
    if len(op.inputs) == 3:
        starts, ends = (graph.fixed(v, "its range").tolist() for v in op.inputs[1:])
    elif len(op.inputs) == 2:
        raise Unsupported("it has a start and no end", "correct the net")
    if len(starts) != len(ends) or len(starts) > len(shape):
        raise Unsupported(f"starts {starts} and ends {ends} do not fit {list(shape)}",
                          "correct the net")
    starts = [s + n + 1 if s < 0 else s for s, n in zip(starts, shape)]
    ends = [e + n + 1 if e < 0 else e for e, n in zip(ends, shape)]
    ends = [END if e >= n else e for e, n in zip(ends, shape)]
    return [graph.emit("Slice", x, *(graph.constant(np.array(v, np.int64))
                                     for v in (starts, ends)))]


def reshape(op: Operator) -> list[str]:
    """And the former shape, which a Reshape may read."""
    shape = op.get("shape", [])
    if len(op.inputs) == 2:
        shape = op.graph.fixed(op.inputs[1], "its shape").tolist()
    old = np.array(op.graph.shape(op.inputs[0]), np.int64)
    return [op.graph.reshape(op.inputs[0], shape), op.graph.constant(old)]


def transpose(op: Operator) -> list[str]:
    rank = len(op.graph.shape(op.inputs[0]))
    return [op.graph.transpose(op.inputs[0], op.get("axes", []) or list(range(rank))[::-1])]


def to_channels_first(op: Operator) -> list[str]:
    return [op.graph.channels_first(op.inputs[0])]


def to_channels_last(op: Operator) -> list[str]:
    return [op.graph.channels_last(op.inputs[0])]


def axes(op: Operator) -> list[str]:
    kind = {"ExpandDims": "Unsqueeze"}.get(op.kind, op.kind)
    return [op.graph.emit(kind, op.inputs[0], axes=op.get("dims", []))]


def flatten(op: Operator) -> list[str]:
    return [op.graph.emit("Flatten", op.inputs[0],
                          axis=op.axis(1, len(op.graph.shape(op.inputs[0]))))]


def flatten_to_vector(op: Operator) -> list[str]:
    return [op.graph.reshape(op.inputs[0], [-1])]


def resize(op: Operator) -> list[str]:
    graph = op.graph
    scales = np.array([1, 1, op.get("height_scale", 1.0), op.get("width_scale", 1.0)], np.float32)
    none = graph.constant(np.zeros(0, np.float32))
    how: dict[str, Any] = ({"mode": "nearest", "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor"} if op.kind == "ResizeNearest" else
           {"mode": "linear", "coordinate_transformation_mode": "align_corners"})
    return op.out(graph.emit("Resize", op.image(), none, graph.constant(scales), **how))


def resize_like(op: Operator) -> list[str]:
    """The first input in the shape of the second."""
    return [op.graph.reshape(op.inputs[0], op.graph.shape(op.inputs[1]))]


def tile(op: Operator) -> list[str]:
    rank = len(op.graph.shape(op.inputs[0]))
    repeats = np.ones(rank, np.int64)
    repeats[op.axis(0, rank)] = op.get("tiles", 1)
    return [op.graph.emit("Tile", op.inputs[0], op.graph.constant(repeats))]


def channel_shuffle(op: Operator) -> list[str]:
    x, group = op.image(), op.get("group", 1)
    _, channels, *size = op.graph.shape(x)
    if channels % group:
        raise Unsupported(f"{channels} channels do not form {group} groups", "correct the net")
    x = op.graph.reshape(x, [0, group, channels // group, *size])
    x = op.graph.transpose(x, [0, 2, 1, *range(3, 3 + len(size))])
    return op.out(op.graph.reshape(x, [0, channels, *size]))


def pad_image(op: Operator) -> list[str]:
    sides = [op.get(f"pad{s}", op.get("pad", 0)) for s in ("_t", "_l", "_b", "_r")]
    top, left, bottom, right = op.get("pads", []) or sides
    pads = op.graph.constant(np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    value = op.graph.constant(np.float32(op.get("value", 0.0)))
    return op.out(op.graph.emit("Pad", op.image(), pads, value, mode=op.get("mode", "constant")))


def gather(op: Operator) -> list[str]:
    return [op.graph.emit("Gather", *op.inputs, axis=op.get("axis", 0))]


def cast(op: Operator) -> list[str]:
    to = op.get("to", 0)
    if to not in TYPES:
        raise Unsupported(f"it casts to type {to}", f"use one of {sorted(TYPES)}")
    return [op.graph.emit("Cast", op.inputs[0], to=TYPES[to])]


CONCAT = row(concat, "axis add_axis order", 1, 1 << 16)
SCALES = "width_scale height_scale order"
TABLE = {
    "Concat": CONCAT, "DepthConcat": CONCAT, "Split": row(split, "axis split order", 1, 2),
    "Slice": row(cut, "starts ends", 1, 3), "Reshape": row(reshape, "shape", 1, 2),
    "Transpose": row(transpose, "axes"), "NHWC2NCHW": row(to_channels_first),
    "NCHW2NHWC": row(to_channels_last), "ExpandDims": row(axes, "dims"),
    "Squeeze": row(axes, "dims"), "Flatten": row(flatten, "axis"),
    "FlattenToVec": row(flatten_to_vector), "ResizeNearest": row(resize, SCALES),
    "UpsampleBilinear": row(resize, SCALES), "ChannelShuffle": row(channel_shuffle,
                                                                   "group order kernel"),
    "PadImage": row(pad_image, "pad pad_t pad_l pad_b pad_r pads mode value order"),
    "ResizeLike": row(resize_like, "", 2), "Tile": row(tile, "tiles axis"),
    "Gather": row(gather, "axis", 2), "Cast": row(cast, "to"),
}
