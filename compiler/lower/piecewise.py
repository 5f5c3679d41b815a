# SPDX-License-Identifier: Apache-2.0
"""Functions whose parts for positive and for negative values are computed apart and added; sums of
several values. On floats; each part is rounded to the type before it is added."""

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.lower.affine import operands, plus, times
from compiler.lower.builder import Builder, Handlers
from compiler.lower.finish import as_number, stored
from compiler.lower.function import operand
from compiler.lower.quant import deq_of
from compiler.lower.values import INF, Deq, Function, Real, Sum, Weights, scaled
from compiler.source.frontend import attributes
from isa.instructions import VectorOp

SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875
"""Defaults of ONNX's Selu."""


def halves(build: Builder, x: Deq, name: str) -> tuple[Deq, Deq]:
    """``max(x, 0)`` and ``min(x, 0)``, in the type of ``x``."""
    return (stored(build, Real(x).clipped(0.0, INF), f"{name}:positive", x.q.dtype),
            stored(build, Real(x).clipped(-INF, 0.0), f"{name}:negative", x.q.dtype))


def magnitude(build: Builder, x: Deq, name: str) -> Real:
    """``|x|`` as ``max(x, 0) - min(x, 0)``, which is exact."""
    positive, low = halves(build, x, name)
    return Real(Sum(positive, scaled(low, -1)))


def absolute(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone."""
    return [magnitude(build, operand(build, node, inputs), node.output[0])]


def negative(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone."""
    return [Real(scaled(operand(build, node, inputs), -1))]


def exponential_unit(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone: ``gamma * (max(x, 0) + alpha * (exp(min(x, 0) / width) - 1))``."""
    at = attributes(node)
    alpha, gamma, width = {
        "Elu": (at.get("alpha", 1.0), 1.0, 1.0),
        "Selu": (at.get("alpha", SELU_ALPHA), at.get("gamma", SELU_GAMMA), 1.0),
        "Celu": (at.get("alpha", 1.0), 1.0, at.get("alpha", 1.0))}[node.op_type]
    if not (width > 0 and gamma > 0):
        raise Unsupported(f"its alpha {width:g} or gamma {gamma:g} is not positive",
                          "use positive ones")
    name = node.output[0]
    positive, low = halves(build, operand(build, node, inputs), name)
    power = stored(build, Real(Function(scaled(low, 1 / width), VectorOp.EXP)), f"{name}:power")
    line = plus(build, times(build, Real(power), np.array(alpha * gamma)),
                np.array(-alpha * gamma))
    return [Real(Sum(scaled(positive, gamma), stored(build, line, f"{name}:line")))]


def p_relu(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone: ``max(x, 0) + slope * min(x, 0)``; the slope is constant, one value or one a
    channel, or an activation of the same shape."""
    name, slope = node.output[0], inputs[1]
    positive, low = halves(build, operand(build, node, inputs), name)
    if isinstance(slope, np.ndarray | Weights):
        part = times(build, Real(low), slope)
    else:
        part = Real(operands([Real(low), slope], product=True))
    return [Real(Sum(positive, stored(build, part, f"{name}:part")))]


def softsign(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone: ``x / (1 + |x|)``."""
    name, x = node.output[0], operand(build, node, inputs)
    size = stored(build, magnitude(build, x, name), f"{name}:absolute")
    more = stored(build, plus(build, Real(size), np.array(1.0)), f"{name}:more")
    factor = stored(build, Real(Function(more, VectorOp.RECIPROCAL)), f"{name}:factor")
    return [Real(Sum(x, factor, product=True))]


def total(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Sum and Mean of activations of one shape, one after another; of more than one on floats
    alone."""
    factor = 1 / len(inputs) if node.op_type == "Mean" else 1.0
    if any(isinstance(v, np.ndarray | Weights) for v in inputs):
        raise Unsupported("an operand is constant", "use Add")
    if len(inputs) == 1:
        return [inputs[0]]
    first, *others = operand(build, node, inputs), *(as_number(build, deq_of(v))
                                                     for v in inputs[1:])
    if any(other.q.shape != first.q.shape for other in others):
        raise Unsupported("its operands have different shapes", "expand the smaller operand")
    for k, other in enumerate(others[:-1]):
        first = stored(build, Real(Sum(first, other)), f"{node.output[0]}:{k}")
    return [Real(Sum(scaled(first, factor), scaled(others[-1], factor)))]


HANDLERS: Handlers = {
    "Abs": absolute, "Neg": negative, "PRelu": p_relu, "Softsign": softsign, "Sum": total,
    "Mean": total, **dict.fromkeys(("Elu", "Selu", "Celu"), exponential_unit)}
