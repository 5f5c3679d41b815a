# SPDX-License-Identifier: Apache-2.0
"""Normalizations of floats over the pixels of a map, or over other axes, which become one::

    d = x - mean(x)                          in binary32
    q = d / max|d|                           in the network's type
    u = mean(q * q) + epsilon / max|d| ** 2  in binary32
    y = q / sqrt(u)

Each of these has an exact sum; ``u`` is between 1 / count and a number that epsilon sets, so that
the root takes few steps, of which each works on one pixel of a map.
"""

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.lower.affine import plus, times
from compiler.lower.builder import Builder, Handlers
from compiler.lower.finish import stored
from compiler.lower.function import operand
from compiler.lower.piecewise import magnitude
from compiler.lower.reduce import Maps, exponent, maps, squares, unit, value
from compiler.lower.root import reciprocal_root
from compiler.lower.rows import Norm, rows
from compiler.lower.values import INF, Deq, Function, Linear, Real, Sum, Weights, scaled
from compiler.source.frontend import attributes
from isa.instructions import VectorOp


def normalized(build: Builder, m: Maps, epsilon: float, name: str) -> tuple[Real, Real, Real]:
    """``(x - mean(x)) / sqrt(variance(x) + epsilon)`` over each map, in the shape before; the mean,
    and the reciprocal of that root."""
    mean = value(build, m.pooled(m.x, False, 1 / m.count), f"{name}:mean")
    d = value(build, Real(Sum(m.x, scaled(mean, -1))), f"{name}:difference")
    y, deviation = _divided(build, m, d, epsilon, name)
    return y, m.reduced(Real(mean), True), deviation


def _divided(build: Builder, m: Maps, d: Deq, epsilon: float, name: str) -> tuple[Real, Real]:
    """``d / sqrt(mean(d * d) + epsilon)`` of a value like ``m``, and the reciprocal of that
    root."""
    q, _, inverse = unit(build, m, d, name)
    u = squares(build, m, q, name, 1 / m.count)
    if epsilon:
        more = value(build, Real(Sum(scaled(inverse, epsilon), inverse, product=True)),
                     f"{name}:epsilon")
        u = value(build, Real(Sum(u, more)), f"{name}:variance")
    else:
        u = value(build, Real(u).clipped(1 / (2 * m.count), INF), f"{name}:least")
    factor = reciprocal_root(build, u, f"{name}:root")
    y = stored(build, Real(Sum(q, factor, product=True)), f"{name}:normalized")
    deviation = Real(Sum(factor, inverse, product=True))
    return Real(m.whole(y)), m.reduced(deviation, True)


def _constants(scale: object, bias: object) -> list[np.ndarray | None]:
    """Both, where they are given.

    Raises
    ------
    Unsupported
        If one is not constant.
    """
    found: list[np.ndarray | None] = []
    for c in (scale, bias):
        if c is not None and not isinstance(c, np.ndarray | Weights):
            raise Unsupported("its scale or bias is not constant", "use constants")
        found.append(None if c is None else np.asarray(
            c.real if isinstance(c, Weights) else c, np.float64))
    return found


def _affine(build: Builder, y: Real, scale: object, bias: object, shape: tuple[int, ...]) -> Real:
    """``y * scale + bias``, constants that are broadcast to a shape."""
    real = _constants(scale, bias)
    real = [c.reshape(shape) if c is not None and c.size == np.prod(shape) else c for c in real]
    if real[0] is not None:
        y = times(build, y, real[0])
        if not isinstance(y.expr, Linear):  # a product with a tensor
            y = Real(stored(build, y, f"{build.graph.nodes[build.node]}:scaled"))
    return y if real[1] is None else plus(build, y, real[1])


def instance_normalization(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone, with constant scale and bias, over a map of up to 255 rows and columns."""
    x = operand(build, node, inputs)
    rank, c = len(x.q.shape), x.q.shape[1]
    m = maps(build, x, list(range(2, rank)))
    y, _, _ = normalized(build, m, attributes(node).get("epsilon", 1e-5), node.output[0])
    return [_affine(build, y, inputs[1], inputs[2], (c,) + (1,) * (rank - 2))]


def layer_normalization(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone, with constant scale and bias, over axes whose elements form a map of up to 255
    rows and columns."""
    x, at = operand(build, node, inputs), attributes(node)
    centered = node.op_type == "LayerNormalization"
    rank = len(x.q.shape)
    axis, epsilon = at.get("axis", -1) % rank, at.get("epsilon", 1e-5)
    shape = x.q.shape[axis:]
    bias = inputs[2] if len(inputs) > 2 else None
    if not any(node.output[1:]):
        norm = Norm(epsilon, centered, *_constants(inputs[1], bias))
        row = rows(build, x, list(range(axis, rank)), f"{node.output[0]}:rows", norm)
        if row is not None:
            return [row]
    m = maps(build, x, list(range(axis, rank)))
    if not centered:
        return [_affine(build, _divided(build, m, m.x, epsilon, node.output[0])[0], inputs[1], bias,
                        shape)]
    y, mean, inverse = normalized(build, m, epsilon, node.output[0])
    more = [stored(build, real, n) for real, n in zip((mean, inverse), node.output[1:]) if n]
    return [_affine(build, y, inputs[1], bias, shape), *map(Real, more)]


def mean_variance_normalization(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone, over axes whose elements form a map of up to 255 rows and columns."""
    x = operand(build, node, inputs)
    m = maps(build, x, list(attributes(node).get("axes", [0, 2, 3])))
    return [normalized(build, m, 1e-9, node.output[0])[0]]


def lp_normalization(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone: p is 1 or 2; 0 of nothing but zeros."""
    p, x, name = exponent(build, node), operand(build, node, inputs), node.output[0]
    m = maps(build, x, [attributes(node).get("axis", -1)])
    q, _, _ = unit(build, m, m.x, name)
    if p == 2:
        # the largest of ``q`` is 1, unless there are but zeros
        total = value(build, Real(squares(build, m, q, name)).clipped(0.5, INF), f"{name}:least")
        factor = reciprocal_root(build, total, f"{name}:root")
    else:
        size = stored(build, magnitude(build, q, f"{name}:q"), f"{name}:sizes")
        total = value(build, m.pooled(size, False), f"{name}:sum")
        total = value(build, Real(total).clipped(0.5, INF), f"{name}:least")
        factor = value(build, Real(Function(total, VectorOp.RECIPROCAL)), f"{name}:factor")
    return [Real(m.whole(stored(build, Real(Sum(q, factor, product=True)), f"{name}:rows")))]


HANDLERS: Handlers = {
    "InstanceNormalization": instance_normalization,
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), layer_normalization),
    "MeanVarianceNormalization": mean_variance_normalization,
    "LpNormalization": lp_normalization}
