# SPDX-License-Identifier: Apache-2.0
"""Values of which the elements that belong together are the channels of a pixel: tokens behind a
matrix product, and their scores."""

import numpy as np

from compiler.ir.floats import patterns
from compiler.ir.graph import Rows, Tensor
from compiler.lower.builder import Builder
from compiler.lower.finish import stored
from compiler.lower.values import Deq, Quantized, Real, Storage, Sum, identity

WORD = 8
"""Elements of two bytes in the largest word: groups of channels begin on a word."""


def rows(build: Builder, x: Deq, axes: list[int], name: str, epsilon: float | None = None,
         centered: bool = True) -> Deq | None:
    """Softmax along some axes, or with an ``epsilon`` normalization; None unless the elements
    along them are the channels of a pixel each, and whole words of it."""
    last = [a % len(x.q.shape) for a in axes]
    back = [a for a in range(len(x.q.shape)) if a not in last]
    order = x.q.index.transpose(*back, *last)
    depth = int(np.prod(order.shape[len(back):]))
    tensor = x.q.storage.tensor
    if tensor is None or depth % WORD or x.scale <= 0 or x.q.dtype not in ("float16", "bfloat16"):
        return None
    if not _by_pixel(tensor, Quantized(name, x.q.storage, order.reshape(-1, depth)).positions()):
        return None
    y = Tensor(name, tensor.nchw, tensor.dtype)
    # a factor in front of a normalization changes what epsilon is compared with, and nothing else
    build.emit(Rows(node=build.node, x=tensor, y=y, depth=depth, scale=x.scale,
                    norm=epsilon is not None, centered=centered,
                    epsilon=float(epsilon or 0) / float(x.scale) ** 2))
    return Deq(Quantized(name, Storage(name, y.nchw, y.dtype, y), x.q.positions()), np.float32(1),
               0)


def by_channel(build: Builder, x: Deq, c: np.ndarray, product: bool, name: str) -> Deq:
    """``x + c`` or ``x * c`` of what :func:`rows` gives and a number for each element of its rows:
    an operand of one pixel."""
    tensor = x.q.storage.tensor
    assert tensor is not None
    channels = np.tile(c.ravel(), tensor.nchw[1] // c.size).reshape(1, -1, 1, 1)
    operand = Deq(build.constant(patterns(channels, tensor.dtype), tensor.dtype), np.float32(1), 0)
    whole = Deq(Quantized(name, x.q.storage, identity(tensor.nchw)), x.scale, 0)
    made = stored(build, Real(Sum(whole, operand, product)), name)
    return Deq(Quantized(name, made.q.storage, x.q.index), np.float32(1), 0)


def _by_pixel(t: Tensor, at: np.ndarray) -> bool:
    """Whether positions ``[number, depth]`` are all of the tensor's, each row channels of a pixel
    one behind the other."""
    n, c, h, w = t.nchw
    count, depth = at.shape
    if n != 1 or c % depth or at.size != c * h * w:
        return False
    first = np.sort(at[:, 0])
    starts = (identity((c // depth,))[:, None] * (depth * h * w) + identity((h * w,))).ravel()
    return bool((first == starts).all()
                and (at == at[:, :1] + identity((depth,)) * (h * w)).all())
