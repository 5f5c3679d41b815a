# SPDX-License-Identifier: Apache-2.0
"""Values of which the elements that belong together are the channels of a pixel: tokens behind a
matrix product, and their scores."""

from dataclasses import dataclass, replace

import numpy as np

from compiler.ir.floats import WORD, patterns
from compiler.ir.graph import INF, Add, Clip, Product, Rows, Tensor
from compiler.lower.builder import Builder
from compiler.lower.finish import as_number
from compiler.lower.values import Deq, Quantized, Real, Rowwise, identity, is_number


@dataclass(frozen=True, eq=False)
class Norm:
    """A normalization: what is added to the mean square, whether the mean is subtracted first, and
    a factor and a sum for each element of a row."""

    epsilon: float
    centered: bool
    gain: np.ndarray | None = None
    shift: np.ndarray | None = None


def rows(build: Builder, x: Deq, axes: list[int], name: str, norm: Norm | None = None
         ) -> Real | None:
    """Softmax along some axes, or a normalization; None unless the elements along them are the
    channels of a pixel each, and whole words of it, or scores that are padded to whole words."""
    last = [a % len(x.q.shape) for a in axes]
    back = [a for a in range(len(x.q.shape)) if a not in last]
    order = x.q.index.transpose(*back, *last)
    depth = int(np.prod(order.shape[len(back):]))
    tensor = build.settle(x.q) if x.q.storage.tokens else x.q.storage.tensor
    if tensor is None or x.scale <= 0 or x.q.dtype == "float32":
        return None
    found = _pitch(tensor, Quantized(name, x.q.storage, order.reshape(-1, depth)).positions())
    if found is None or found > depth and (norm is not None or not _low(build, tensor)):
        return None
    x = _masked(build, x, depth, found) if found > depth and not is_number(x) else (
        as_number(build, x))
    assert x.q.storage.tensor is not None
    tensor = x.q.storage.tensor
    y = Tensor(name, tensor.nchw, tensor.dtype)
    op = Rows(node=build.node, x=tensor, y=y, depth=depth, pitch=found, scale=x.scale)
    if norm is not None:
        # a factor in front of a normalization changes what epsilon is compared with, nothing else
        gain, shift = (None if c is None else patterns(c.ravel(), tensor.dtype)
                       for c in (norm.gain, norm.shift))
        op = replace(op, norm=True, centered=norm.centered, gain=gain, shift=shift,
                     epsilon=norm.epsilon / float(x.scale) ** 2)
    return Real(Rowwise(op), index=x.q.positions())


def _masked(build: Builder, x: Deq, depth: int, pitch: int) -> Deq:
    """Scores of integers as numbers, minus infinity behind them: integers have none."""
    tensor, name = x.q.storage.tensor, x.q.name
    assert tensor is not None
    c = tensor.nchw[1]
    mask = Tensor(f"{name}:mask", (1, c, 1, 1), build.floats)
    build.graph.constants[mask] = patterns(
        np.where(np.arange(c) % pitch < depth, 0, -np.inf), build.floats, infinite=True
    ).reshape(mask.nchw)
    y = Tensor(f"{name}:number", tensor.nchw, build.floats)
    storage = build.emit(Add(
        node=build.node, a=tensor, b=mask, y=y, a_zp=x.zero_point, b_zp=0,
        scale_a=np.float32(x.scale), scale_b=np.float32(1), clip=Clip(0, -INF, INF))).storage
    return Deq(Quantized(name, storage, x.q.positions()), np.float32(1), 0)


def _low(build: Builder, t: Tensor) -> bool:
    """Whether what a tensor of scores holds behind them is minus infinity, or the smallest integer:
    it was made so, and numbers have been added to it since, if anything."""
    maker = next((op for op in reversed(build.graph.ops) if op.y is t), None)
    if isinstance(maker, Add):
        return bool(not maker.product and maker.scale_a > 0) and _low(build, maker.a)
    return isinstance(maker, Product) and maker.fill < 0


def _pitch(t: Tensor, at: np.ndarray) -> int | None:
    """How many channels there are for each row, if positions ``[number, depth]`` are rows of the
    tensor's channels and all that there are."""
    _, c, h, w = t.nchw
    count, depth = at.shape
    pitch = c * h * w // count
    whole = pitch % WORD == 0 and depth <= pitch < depth + 2 * WORD
    return pitch if whole and _by_pixel(t, at, pitch) else None


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
