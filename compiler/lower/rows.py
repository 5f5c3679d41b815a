# SPDX-License-Identifier: Apache-2.0
"""Values of which the elements that belong together are the channels of a pixel: tokens behind a
matrix product, and their scores."""

from dataclasses import dataclass, replace

import numpy as np

from compiler.ir.floats import WORD, patterns
from compiler.ir.graph import Add, Product, Rows, Tensor
from compiler.lower.builder import Builder
from compiler.lower.values import Deq, Quantized, Storage, identity
@dataclass(frozen=True, eq=False)
class Norm:
    """A normalization: what is added to the mean square, whether the mean is subtracted first, and
    a factor and a sum for each element of a row."""

    epsilon: float
    centered: bool
    gain: np.ndarray | None = None
    shift: np.ndarray | None = None


def rows(build: Builder, x: Deq, axes: list[int], name: str, norm: Norm | None = None
         ) -> Deq | None:
    """Softmax along some axes, or a normalization; None unless the elements along them are the
    channels of a pixel each, and whole words of it, or scores that are padded to whole words."""
    last = [a % len(x.q.shape) for a in axes]
    back = [a for a in range(len(x.q.shape)) if a not in last]
    order = x.q.index.transpose(*back, *last)
    depth = int(np.prod(order.shape[len(back):]))
    tensor = build.settle(x.q) if x.q.storage.tokens else x.q.storage.tensor
    if tensor is None or x.scale <= 0 or x.q.dtype not in ("float16", "bfloat16"):
        return None
    pitch = depth + -depth % WORD
    if pitch > depth and (norm is not None or not _low(build, tensor)):
        return None
    if not _by_pixel(tensor, Quantized(name, x.q.storage, order.reshape(-1, depth)).positions(),
                     pitch):
        return None
    y = Tensor(name, tensor.nchw, tensor.dtype)
    op = Rows(node=build.node, x=tensor, y=y, depth=depth, pitch=pitch, scale=x.scale)
    if norm is not None:
        # a factor in front of a normalization changes what epsilon is compared with, nothing else
        gain, shift = (None if c is None else patterns(c.ravel(), tensor.dtype)
                       for c in (norm.gain, norm.shift))
        op = replace(op, norm=True, centered=norm.centered, gain=gain, shift=shift,
                     epsilon=norm.epsilon / float(x.scale) ** 2)
    build.emit(op)
    storage = Storage(name, y.nchw, y.dtype, y, padded=pitch > depth)
    return Deq(Quantized(name, storage, x.q.positions()), np.float32(1), 0)


def _low(build: Builder, t: Tensor) -> bool:
    """Whether what a tensor of scores holds behind them is minus infinity: it was made so, and
    numbers have been added to it since, if anything."""
    maker = next((op for op in reversed(build.graph.ops) if op.y is t), None)
    if isinstance(maker, Add):
        return bool(not maker.product and maker.scale_a > 0) and _low(build, maker.a)
    return isinstance(maker, Product) and maker.fill < 0


def _by_pixel(t: Tensor, at: np.ndarray, pitch: int) -> bool:
    """Whether positions ``[number, depth]`` are all of the tensor's, each row channels of a pixel
    one behind the other, those of the next row of that pixel ``pitch`` further on."""
    n, c, h, w = t.nchw
    count, depth = at.shape
    if n != 1 or c % pitch or count != c // pitch * h * w:
        return False
    first = np.sort(at[:, 0])
    starts = (identity((c // pitch,))[:, None] * (pitch * h * w) + identity((h * w,))).ravel()
    return bool((first == starts).all()
                and (at == at[:, :1] + identity((depth,)) * (h * w)).all())
