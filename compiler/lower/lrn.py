# SPDX-License-Identifier: Apache-2.0
"""LRN: each element over a power of the sum of squares of its neighbors among the channels::

    v = bias + sum(alpha / size * x * x)    a 1 x 1 convolution whose weights are ones along a band
    y = x * v ** -beta

A power of -3/4 is ``r * 1 / sqrt(v * r)`` with ``r = 1 / sqrt(v)``, in binary32.
"""

from dataclasses import replace

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.lower.builder import Builder, Handlers
from compiler.lower.finish import stored
from compiler.lower.function import operand
from compiler.lower.linear import convolution
from compiler.lower.root import reciprocal_root
from compiler.lower.values import Deq, Function, Real, Sum, Weights
from compiler.source.frontend import attributes
from isa.instructions import VectorOp


def _weakened(build: Builder, v: Deq, beta: float, name: str) -> Deq:
    """``v ** -beta`` in binary32."""
    if beta == 1:
        return stored(build, Real(Function(v, VectorOp.RECIPROCAL)), f"{name}:power", "float32")
    r = reciprocal_root(build, v, f"{name}:root")
    if beta == 0.5:
        return r
    half = stored(build, Real(Sum(v, r, product=True)), f"{name}:half", "float32")
    quarter = reciprocal_root(build, half, f"{name}:quarter")
    if beta == 0.25:
        return quarter
    return stored(build, Real(Sum(r, quarter, product=True)), f"{name}:power", "float32")


def lrn(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone, [N, C, H, W] or [N, C, W]: beta is 0.25, 0.5, 0.75 or 1 and bias positive.
    """
    at, x, name = attributes(node), operand(build, node, inputs), node.output[0]
    size, alpha, beta = at["size"], at.get("alpha", 1e-4), at.get("beta", 0.75)
    bias = at.get("bias", 1.0)
    if beta not in (0.25, 0.5, 0.75, 1.0) or bias <= 0 or alpha <= 0:
        raise Unsupported(f"its beta is {beta:g}, its bias {bias:g} and its alpha {alpha:g}",
                          "use a beta of 0.25, 0.5, 0.75 or 1, and a positive bias and alpha")
    c = x.q.shape[1]
    weaker = replace(x, scale=np.float32(alpha / size))
    squares = stored(build, Real(Sum(weaker, x, product=True)), f"{name}:squares")
    away = np.arange(c)[None, :] - np.arange(c)[:, None]
    band = ((away >= -((size - 1) // 2)) & (away <= size // 2)).astype(np.float32)
    band = band.reshape(c, c, *(1 for _ in x.q.shape[2:]))
    ones = Weights(band, np.ones((), np.float32), np.zeros((), np.int8), 0)
    total = convolution(build, squares, ones, np.full(c, bias, np.float32), {})
    v = stored(build, total, f"{name}:sum", "float32")
    factor = _weakened(build, v, beta, name)
    return [Real(Sum(x, factor, product=True))]


HANDLERS: Handlers = {"LRN": lrn}
