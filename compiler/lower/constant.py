# SPDX-License-Identifier: Apache-2.0
"""Constants that are operands like activations: tensors that lie beside the weights."""

import numpy as np

from compiler.ir.floats import LARGEST, patterns
from compiler.lower.builder import Builder
from compiler.lower.values import Deq, Weights

STEPS = 127
"""Of the largest magnitude, where a real constant becomes INT8."""


def saturated(build: Builder, c: np.ndarray) -> np.ndarray:
    """A constant that is added, its finite numbers within the type of floats: masks of an attention
    have the smallest of binary32."""
    most = LARGEST.get(build.floats, np.inf)
    return np.where(np.isfinite(c), np.clip(c, -most, most), c)


def operand(build: Builder, c: np.ndarray | Weights, shape: tuple[int, ...]) -> Deq:
    """A constant, broadcast to a shape: in the network's type of floats; in a network of integers
    its own integers, or its numbers rounded to :data:`STEPS` of their largest."""
    real = c.real if isinstance(c, Weights) else c
    if build.floats:
        data = patterns(np.broadcast_to(real, shape), build.floats, infinite=True)
        return Deq(build.constant(data, build.floats), np.float32(1), 0)
    if isinstance(c, Weights) and c.scale.size == 1 and c.data.dtype in (np.int8, np.uint8):
        q = build.constant(np.broadcast_to(c.data, shape), str(c.data.dtype))
        return Deq(q, np.float32(c.scale.ravel()[0]), int(c.zero_point.ravel()[0]))
    scale = np.float32(np.abs(real).max(initial=0) / STEPS) or np.float32(1)
    data = np.clip(np.rint(np.broadcast_to(real, shape) / scale), -STEPS, STEPS).astype(np.int8)
    return Deq(build.constant(data, "int8"), scale, 0)
