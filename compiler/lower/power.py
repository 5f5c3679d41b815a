# SPDX-License-Identifier: Apache-2.0
"""Powers of floats with constant exponents, by products and roots."""

from dataclasses import replace

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.lower.builder import Builder, Handlers
from compiler.lower.finish import stored
from compiler.lower.function import operand
from compiler.lower.root import reciprocal_root, root
from compiler.lower.shape import broadcast
from compiler.lower.values import Deq, Function, Joined, Real, Sum, Weights
from isa.instructions import VectorOp

LARGEST = 16
"""Largest exponent."""

KINDS = 8
"""Most different exponents of one node."""


def _whole(build: Builder, x: Deq, n: int, name: str) -> Real:
    """``x ** n`` for n of 1 or more: its binary digits, from the second on, square and multiply; in
    binary32."""
    power = x
    for k, digit in enumerate(f"{n:b}"[1:]):
        power = stored(build, Real(Sum(power, power, product=True)), f"{name}:{k}", "float32")
        if digit == "1":
            power = stored(build, Real(Sum(power, x, product=True)), f"{name}:{k}x", "float32")
    return Real(power)


def _power(build: Builder, x: Deq, e: float, name: str) -> Real:
    """``x ** e``."""
    if e in (0.5, -0.5):
        if e > 0:
            return root(build, x, name)
        return Real(reciprocal_root(build, x, name))
    if e != int(e) or abs(e) > LARGEST:
        raise Unsupported(f"its exponent is {e:g}",
                          f"use 0.5, -0.5, or a whole number from -{LARGEST} to {LARGEST}")
    if e == 0:
        tiny = stored(build, Real(x).clipped(-1.0, 1.0), f"{name}:clipped")
        return Real(Function(replace(tiny, scale=np.float32(2.0 ** -60)), VectorOp.EXP))
    if e > 0:
        return _whole(build, x, int(e), name)
    inverse = stored(build, Real(Function(x, VectorOp.RECIPROCAL)), f"{name}:inverse", "float32")
    return _whole(build, inverse, int(-e), name)


def power(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone; constant exponents from -16 to 16, up to eight different ones, and 0.5 and
    -0.5 of positive numbers. Products are in binary32.
    """
    x, name, given = operand(build, node, inputs), node.output[0], inputs[1]
    if not isinstance(given, np.ndarray | Weights):
        raise Unsupported("its exponent is not constant", "use a constant")
    exponents = np.asarray(given.real if isinstance(given, Weights) else given, np.float64)
    shape = np.broadcast_shapes(x.q.shape, exponents.shape)
    kinds, which = np.unique(np.broadcast_to(exponents, shape), return_inverse=True)
    if len(kinds) > KINDS:
        raise Unsupported(f"it has {len(kinds)} different exponents", f"use up to {KINDS}")
    parts = [stored(build, _power(build, x, float(e), f"{name}:{k}"), f"{name}:power{k}")
             for k, e in enumerate(kinds)]
    wide = [broadcast(p.q, shape) for p in parts]
    if len(parts) == 1:
        return [Real(replace(parts[0], q=wide[0]))]
    which = which.reshape(shape).astype(np.int8)
    return [Real(Joined(tuple(replace(p, q=replace(q, index=q.index[which == k]))
                              for k, (p, q) in enumerate(zip(parts, wide))), which))]


HANDLERS: Handlers = {"Pow": power}
