# SPDX-License-Identifier: Apache-2.0
"""Square roots of floats, which the vector engine has no function for: Heron's iteration with its
reciprocals, sums and products, in binary32::

    s = s / 2 + x / (2 * s)         sqrt(x) = x * (1 / s)

The first ``s`` is a concave line of a few pieces above the root, tangents to it: with pieces of
``r`` between tangents (as roots) it is up to ``(r + 1) / (2 * sqrt(r))`` times too large. Each step
turns an error ``1 + e`` into about ``1 + e * e / 2``, a large one into its half.
"""

import numpy as np
import onnx

from compiler.lower.builder import Builder, Handlers
from compiler.lower.finish import stored
from compiler.lower.function import operand
from compiler.lower.values import Deq, Function, Real, Sum, scaled
from isa.instructions import VectorOp

PIECES = 4
"""Pieces of the first line."""

CLOSE = 2.0 ** -15
"""Relative error of a root in binary32, an eighth of FP16's rounding."""


def tangents(low: float, high: float) -> tuple[list[tuple[float, float, float]], float, int]:
    """The first line over [low, high]: ``slope * x``, clipped to an interval less its lower end,
    summed, and a constant; and the steps that are needed behind it. Intervals are in FP16, as the
    bounds of a clip are."""
    ratio = (high / low) ** (0.5 / PIECES)
    at = [low ** 0.5 * ratio ** (k + 0.5) for k in range(PIECES)]  # roots at the tangents
    edges = [0.0, *(a * b for a, b in zip(at, at[1:])), np.inf]  # where a tangent meets the next
    lines = [(0.5 / a, float(np.float16(0.5 / a * first)), float(np.float16(0.5 / a * last)))
             for a, first, last in zip(at, edges, edges[1:])]
    error, steps = (ratio + 1) / (2 * ratio ** 0.5), 0
    while error - 1 > CLOSE:
        error, steps = (error + 1 / error) / 2, steps + 1
    return lines, at[0] / 2, steps


def reciprocal_root(build: Builder, x: Deq, low: float, high: float, name: str) -> Deq:
    """``1 / sqrt(x)`` in binary32, of numbers in [low, high]; of smaller ones something positive.

    Parameters
    ----------
    x : Deq
        In FP16, BF16 or binary32; without elements of padding.
    """
    def value(real: Real, what: str) -> Deq:
        return stored(build, real, f"{name}:{what}", "float32")

    lines, constant, steps = tangents(low, high)
    # a constant in binary32: the exponential of next to nothing
    small = value(Real(x).clipped(0.0, 1.0), "small")
    one = value(Real(Function(scaled(small, 2.0 ** -60), VectorOp.EXP)), "one")
    root = scaled(one, constant)
    for k, (slope, first, last) in enumerate(lines):
        line = value(Real(scaled(x, slope)).clipped(first, last), f"line{k}")
        if first:
            line = value(Real(Sum(line, scaled(one, -first))), f"rise{k}")
        root = value(Real(Sum(line, root)), f"sum{k}")
    for k in range(steps):
        inverse = value(Real(Function(root, VectorOp.RECIPROCAL)), f"inverse{k}")
        part = value(Real(Sum(scaled(x, 0.5), inverse, product=True)), f"part{k}")
        root = value(Real(Sum(scaled(root, 0.5), part)), f"root{k}")
    return value(Real(Function(root, VectorOp.RECIPROCAL)), "inverse")


LEAST, MOST = 2.0 ** -24, 2.0 ** 16
"""Positive numbers in FP16."""


def root(build: Builder, x: Deq, name: str, low: float = LEAST, high: float = MOST) -> Real:
    """``sqrt(x)``; 0 of 0."""
    return Real(Sum(x, reciprocal_root(build, x, low, high, name), product=True))


def sqrt(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers from 2**-24 to 2**16, and 0; no NaN of negative ones. The vector engine takes about
    30 instructions.
    """
    return [root(build, operand(build, node, inputs), node.output[0])]


HANDLERS: Handlers = {"Sqrt": sqrt}
