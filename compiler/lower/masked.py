# SPDX-License-Identifier: Apache-2.0
"""Constants between the elements of an activation: zeros, which cost nothing, and other values,
which are joined with it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from compiler.ir.errors import Unsupported
from compiler.ir.floats import patterns
from compiler.lower.builder import Builder
from compiler.lower.values import Deq, Joined, is_number


def emptied(x: Deq, change: Callable[[np.ndarray], np.ndarray]) -> Deq:
    """``x`` with ``change`` applied to its index, which makes -1 of elements that become 0."""
    index = np.ascontiguousarray(change(x.q.index), np.int32)
    return replace(x, q=replace(x.q, index=index, fill=x.zero_point))


def masked(build: Builder, x: Deq, takes: np.ndarray, values: np.ndarray
           ) -> Deq | Joined:
    """Elements of ``x`` where ``takes`` is set, and elsewhere ``values``, all of them broadcast.

    Of integers there may be one value other than 0: it is one or minus one, and its size the scale,
    so that whatever it is quantized to is exact.

    Raises
    ------
    Unsupported
        If there are more.
    """
    shape = np.broadcast_shapes(x.q.shape, takes.shape, values.shape)
    takes, index = np.broadcast_to(takes, shape), np.broadcast_to(x.q.index, shape)
    given = np.where(takes, 0, np.broadcast_to(values, shape)).astype(np.float64)
    if not given.any():
        return emptied(x, lambda _: np.where(takes, index, -1))
    kinds, which = np.unique(given[~takes], return_inverse=True)
    if is_number(x):
        made = Deq(build.constant(patterns(kinds, build.floats), build.floats), np.float32(1), 0)
    elif len(kinds) > 1:
        raise Unsupported("several constants are put between integers",
                          "quantize them and pass them as an input")
    else:
        made = Deq(build.constant(np.sign(kinds).astype(np.int8), "int8"),
                   np.float32(abs(kinds[0])), 0)
    parts = (replace(x, q=replace(x.q, index=index[takes])),
             replace(made, q=replace(made.q, index=made.q.index[which.ravel()])))
    return Joined(parts, np.where(takes, 0, 1).astype(np.int16))
