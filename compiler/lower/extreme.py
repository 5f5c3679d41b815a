# SPDX-License-Identifier: Apache-2.0
"""Max and Min of several values: they lie below one another in a map, and a window takes one row of
each."""

from dataclasses import replace

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.ir.graph import RANGE
from compiler.lower.affine import plus, times
from compiler.lower.builder import Builder, Handlers
from compiler.lower.finish import as_number, quantize, stored
from compiler.lower.quant import deq_of
from compiler.lower.shape import broadcast, shape_of
from compiler.lower.values import INF, Deq, Joined, Quantized, Real, Weights, Window, identity


def _joined(parts: list[Deq], shape: tuple[int, ...]) -> tuple[Joined, int]:
    """The values below one another, [1, C, parts * rows, W], and the rows of each."""
    lead = int(np.prod(shape[1:-2])) if len(shape) > 2 else 1
    channels = shape[0] * lead if len(shape) > 1 else 1
    rows = shape[-2] if len(shape) > 2 else 1
    flat = (1, channels, rows, int(shape[-1]) if shape else 1)
    which = np.concatenate([np.full(flat, k, np.int8) for k in range(len(parts))], 2)
    return Joined(tuple(replace(p, q=replace(p.q, index=p.q.index.reshape(flat)))
                        for p in parts), which), rows


def _largest(build: Builder, parts: list[Deq], dtype: str, name: str) -> Real:
    """The largest of each element of values with a scale of 1."""
    shape, one = parts[0].q.shape, np.float32(1)
    joined, rows = _joined(parts, shape)
    q = quantize(build, Real(joined), one, 0, dtype, f"{name}:joined")
    n, c, _, w = joined.which.shape
    nchw = (n, c, rows, w)
    expr = Window(Real(Deq(q, one, 0)), True, nchw, (len(parts), 1), (1, 1), (rows, 1), (0, 0))
    return Real(expr, index=identity(nchw).reshape(shape))


def extreme(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Of floats, or of integers of one type and one scale; a constant of one value is a clip."""
    most, name = node.op_type == "Max", node.output[0]
    constants = [np.asarray(v.real if isinstance(v, Weights) else v) for v in inputs
                 if isinstance(v, np.ndarray | Weights)]
    values = [v for v in inputs if not isinstance(v, np.ndarray | Weights)]
    if any(c.size != 1 for c in constants):
        raise Unsupported("a constant operand has several values", "pass it as an input")
    bounds = [float(c.ravel()[0]) for c in constants]
    low, high = (max(bounds, default=-INF), INF) if most else (-INF, min(bounds, default=INF))
    if all(isinstance(v, Quantized) for v in values):
        q = _of_integers(build, values, most, name)
        real = Real(Deq(q, np.float32(1), 0)).clipped(low, high)
        return [quantize(build, real, np.float32(1), 0, q.dtype, name)]
    shape = np.broadcast_shapes(*map(shape_of, values))
    parts = [deq_of(broadcast(v, shape)) for v in values]
    if len(parts) > 1:
        parts = [_of_numbers(build, parts, most, name) if build.floats else
                 _of_scaled(build, parts, most, name)]
    return [Real(parts[0]).clipped(low, high)]


def _of_numbers(build: Builder, parts: list[Deq], most: bool, name: str) -> Deq:
    def negative(x: Deq, what: str) -> Deq:
        return stored(build, times(build, Real(x), np.array(-1.0)), f"{name}:{what}")
    parts = [as_number(build, p) for p in parts]
    if not most:
        parts = [negative(p, f"minus{k}") for k, p in enumerate(parts)]
    found = stored(build, _largest(build, parts, build.floats, name), f"{name}:most")
    return found if most else negative(found, "least")


def _of_scaled(build: Builder, parts: list[Deq], most: bool, name: str) -> Deq:
    """Of integers with a scale, which have to be one another's."""
    if len({(p.scale, p.zero_point, p.q.dtype) for p in parts}) > 1:
        raise Unsupported("its operands are quantized in different ways",
                          "quantize them with one scale and zero point")
    return replace(parts[0], q=_of_integers(build, [p.q for p in parts], most, name))


def _of_integers(build: Builder, values: list[Quantized], most: bool, name: str) -> Quantized:
    """Of integers, whatever they stand for. The smallest is what is left of the largest of their
    distances to the other end of the type."""
    dtype, one = values[0].dtype, np.float32(1)
    if any(v.dtype != dtype for v in values):
        raise Unsupported("its operands have different types", "use one type")
    ends = np.array(float(sum(RANGE[dtype])))

    def mirrored(q: Quantized, what: str) -> Quantized:
        real = plus(build, times(build, Real(Deq(q, one, 0)), np.array(-1.0)), ends)
        return quantize(build, real, one, 0, dtype, f"{name}:{what}")
    shape = np.broadcast_shapes(*(v.shape for v in values))
    wide = [broadcast(v, shape) for v in values]
    if len(wide) == 1:
        return wide[0]
    if not most:
        wide = [mirrored(v, f"minus{k}") for k, v in enumerate(wide)]
    parts = [Deq(v, one, 0) for v in wide]
    found = quantize(build, _largest(build, parts, dtype, name), one, 0, dtype, f"{name}:most")
    return found if most else mirrored(found, "least")


HANDLERS: Handlers = {"Max": extreme, "Min": extreme}
