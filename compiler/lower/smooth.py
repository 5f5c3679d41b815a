# SPDX-License-Identifier: Apache-2.0
"""Activations of floats that are made of the vector engine's functions: Softplus, Mish, Gelu, and
those of straight pieces that jump.

The logarithm of Softplus is ``log(1 + t) = z * (2 + w * (a + b * w))`` with ``z = t / (t + 2)`` and
``w = z * z``, for t in (0, 1], :data:`LOGARITHM` the a and b whose largest relative error is
smallest, 2**-16.8.
"""

import numpy as np
import onnx

from compiler.lower.affine import plus
from compiler.lower.builder import Builder, Handlers
from compiler.lower.finish import stored
from compiler.lower.function import operand
from compiler.lower.piecewise import halves
from compiler.lower.values import INF, Deq, Function, Real, Sum, scaled
from compiler.source.frontend import attributes
from isa.instructions import VectorOp

LOGARITHM = (0.664925, 0.448962)
"""Coefficients of w and w**2."""

STEEP = 2.0 ** 31
"""Slope of what is 0 on one side of a threshold and large on the other."""

FAR = 20.0
"""From here on ``exp(x)`` is so large that Mish is ``x``."""


class _Numbers:
    """Intermediate results of one node in binary32."""

    def __init__(self, build: Builder, name: str):
        self.build, self.name, self.count = build, name, 0

    def keep(self, real: Real) -> Deq:
        self.count += 1
        return stored(self.build, real, f"{self.name}:{self.count}", "float32")

    def of(self, op: VectorOp, x: Deq, factor: float = 1.0) -> Deq:
        """A function of ``factor * x``."""
        return self.keep(Real(Function(scaled(x, factor), op)))

    def add(self, x: Deq, y: Deq, a: float = 1.0, b: float = 1.0) -> Deq:
        """``a * x + b * y``."""
        return self.keep(Real(Sum(scaled(x, a), scaled(y, b))))

    def times(self, x: Deq, y: Deq) -> Deq:
        """``x * y``."""
        return self.keep(Real(Sum(x, y, product=True)))


def softplus(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone: ``max(x, 0) + log(1 + exp(-|x|))``."""
    x, f = operand(build, node, inputs), _Numbers(build, node.output[0])
    positive, negative = halves(build, x, f.name)
    t = f.of(VectorOp.EXP, f.add(negative, positive, 1, -1))
    one = f.of(VectorOp.EXP, t, 2.0 ** -60)
    z = f.times(t, f.of(VectorOp.RECIPROCAL, f.add(t, one, 1, 2)))
    w = f.times(z, z)
    a, b = LOGARITHM
    series = f.add(f.times(w, f.add(w, one, b, a)), one, 1, 2)
    return [Real(Sum(positive, f.times(z, series)))]


def mish(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone: ``x * n / (n + 2)`` with ``n = exp(x) * (exp(x) + 2)``."""
    x, f = operand(build, node, inputs), _Numbers(build, node.output[0])
    e = f.of(VectorOp.EXP, f.keep(Real(x).clipped(-INF, FAR)))
    n = f.add(f.times(e, e), e, 1, 2)
    one = f.of(VectorOp.EXP, f.keep(Real(e).clipped(0.0, 1.0)), 2.0 ** -60)
    part = f.times(n, f.of(VectorOp.RECIPROCAL, f.add(n, one, 1, 2)))
    return [Real(Sum(x, part, product=True))]


def gelu(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone; with the approximation ``tanh`` as ``x * sigmoid(1.5957691 * (x + 0.044715 *
    x ** 3))``."""
    if attributes(node).get("approximate", b"none") in (b"none", "none"):
        return [Real(Function(operand(build, node, inputs), VectorOp.GELU))]
    x, f = operand(build, node, inputs), _Numbers(build, node.output[0])
    near = f.keep(Real(x).clipped(-FAR, FAR))
    cube = f.times(f.times(near, near), near)
    gate = f.of(VectorOp.SIGMOID, f.add(near, cube, 1, 0.044715), 2 * (2 / np.pi) ** 0.5)
    return [Real(Sum(x, gate, product=True))]


def _above(build: Builder, x: Deq, threshold: float, name: str) -> Deq:
    """1 where ``x`` is above the threshold, else 0: their difference in binary32, where it is exact
    next to the threshold, times a number that makes the smallest one more than 1."""
    difference = stored(build, plus(build, Real(x), np.array(-threshold)), f"{name}:difference",
                        "float32")
    return stored(build, Real(scaled(difference, STEEP)).clipped(0.0, 1.0), f"{name}:above")


def thresholded_relu(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone, rounded to the type before they are compared."""
    x, name = operand(build, node, inputs), node.output[0]
    edge = attributes(node).get("alpha", 1.0)
    above = _above(build, x, edge, name)
    finite = stored(build, Real(x).clipped(min(edge, 0.0), INF), f"{name}:finite")
    return [Real(Sum(finite, above, product=True))]


def shrink(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone, rounded to the type before they are compared."""
    x, name, at = operand(build, node, inputs), node.output[0], attributes(node)
    edge, bias = at.get("lambd", 0.5), at.get("bias", 0.0)
    high = _above(build, x, edge, f"{name}:high")
    low = _above(build, stored(build, Real(Sum(scaled(x, -0.5), scaled(x, -0.5))),
                               f"{name}:minus"), edge, f"{name}:low")
    f = _Numbers(build, name)
    taken = f.add(high, low)
    if not bias:
        return [Real(Sum(x, taken, product=True))]
    moved = f.times(x, taken)
    return [Real(Sum(moved, f.add(high, low, -bias, bias)))]


HANDLERS: Handlers = {
    "Softplus": softplus, "Mish": mish, "Gelu": gelu, "ThresholdedRelu": thresholded_relu,
    "Shrink": shrink}
