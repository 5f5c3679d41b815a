# SPDX-License-Identifier: Apache-2.0
"""From expressions to operators: what QuantizeLinear makes of the real value in front of it."""

from typing import TYPE_CHECKING

import numpy as np

from compiler.ir.errors import Unsupported
from compiler.ir.graph import Add, Clip, Part, Pool, Tensor
from compiler.lower.values import (Deq, Function, Joined, Quantized, Real, Storage, Sum, Window,
                                   canonical, identity)

if TYPE_CHECKING:
    from compiler.lower.legalize import Legalizer


def requantize(lg: "Legalizer", e: Deq, scale: np.float32, clip: Clip, dtype: str,
               name: str) -> Quantized:
    """A dequantized value with other parameters or a clip: a sum over one tap."""
    x = lg.settle(e.q)
    y = Tensor(name, x.nchw, dtype, float(scale), clip.z)
    index = e.q.positions()
    factor = np.float32(e.scale / scale)
    out = lg.emit(Pool(node=lg.node, x=x, y=y, maximum=False, a_zp=e.zero_point, clip=clip,
                       parts=(Part(0, x.nchw[2], 0, x.nchw[3], factor),)))
    return Quantized(name, out.storage, index, clip.z)


def function(lg: "Legalizer", e: Function, scale: np.float32, clip: Clip, dtype: str,
             name: str) -> Quantized:
    """A function of each element, wherever it lies."""
    x = lg.settle(e.x.q)
    y = Tensor(name, x.nchw, dtype, float(scale), clip.z)
    out = lg.emit(Pool(node=lg.node, x=x, y=y, maximum=False, a_zp=e.x.zero_point, clip=clip,
                       parts=(Part(0, x.nchw[2], 0, x.nchw[3], e.x.scale),), function=e.vop,
                       factor=np.float32(1 / scale)))
    return Quantized(name, out.storage, e.x.q.positions(), clip.z)


def add(lg: "Legalizer", e: Sum, scale: np.float32, clip: Clip, dtype: str,
        name: str) -> Quantized:
    """Two tensors added or multiplied; the second is brought into the order of the first."""
    a, b = e.a, e.b
    ta = lg.settle(a.q)
    index = a.q.positions()
    if index.size != int(np.prod(ta.nchw)) or (index < 0).any() or \
            len(np.unique(index)) != index.size:
        shape = canonical(index.shape)
        if shape is None:
            raise Unsupported("it adds tensors of more than four dimensions")
        ta = lg.demand(a.q, a.q.index.reshape(shape), a.zero_point)
        index = identity(ta.nchw).reshape(index.shape)
    if b.q.shape == a.q.shape:
        order = np.empty(index.size, np.int32)
        order[index.ravel()] = b.q.index.ravel()
        tb = lg.demand(b.q, order.reshape(ta.nchw), b.zero_point)
    else:
        tb = lg.demand(b.q, b.q.index.reshape(ta.nchw[:2] + (1, 1)), b.zero_point)
    y = Tensor(name, ta.nchw, dtype, float(scale), clip.z)
    out = lg.emit(Add(node=lg.node, a=ta, b=tb, y=y, a_zp=a.zero_point, b_zp=b.zero_point,
                      scale_a=np.float32(a.scale / scale),
                      scale_b=np.float32(b.scale / scale), clip=clip, product=e.product))
    return Quantized(name, out.storage, index)


def join(lg: "Legalizer", e: Joined, shape: tuple[int, int, int, int], scale: np.float32,
         clip: Clip, dtype: str, name: str) -> Quantized:
    """Parts side by side, in the order of the ONNX value."""
    wanted = np.full(e.which.shape, -1, np.int32)
    for i, part in enumerate(e.parts):
        lg.settle(part.q)
        wanted[e.which == i] = part.q.positions().ravel()
    y = lg.gather(list(e.parts), e.which.reshape(shape), wanted.reshape(shape), scale,
                  clip.z, dtype, name, clip)
    return Quantized(name, Storage(name, shape, dtype, y), identity(shape).reshape(
        e.which.shape))


def window(lg: "Legalizer", e: Window, scale: np.float32, clip: Clip, dtype: str,
           name: str) -> Quantized:
    """A pool; of an unfinished expression the maximum is taken after it is quantized."""
    y = Tensor(name, e.nchw, dtype, float(scale), clip.z)
    h, w = e.nchw[2:]
    if e.maximum:
        inner: Real = e.x
        if isinstance(inner.expr, Deq):
            q, zp, factor = inner.expr.q, inner.expr.zero_point, inner.expr.scale / scale
            low = lg.clip_of(inner, scale, clip.z, dtype)
            clip = Clip(clip.z, min(max(low.lo, clip.lo), clip.hi),
                        min(max(low.hi, clip.lo), clip.hi))
        else:
            q = lg.quantize(inner, scale, clip.z, dtype, name + ":max")
            zp, factor = clip.z, np.float32(1)
        parts: tuple[Part, ...] = (Part(0, h, 0, w, np.float32(factor)),)
    else:
        deq: Deq = e.x
        q, zp = deq.q, deq.zero_point
        assert e.counts is not None
        parts = mean_parts(e.counts, deq.scale, scale)
    order = q.index.reshape(canonical(q.shape))
    x = lg.demand(q, order, zp)
    return lg.emit(Pool(node=lg.node, x=x, y=y, maximum=e.maximum, a_zp=zp, clip=clip,
                        parts=parts, kernel=e.kernel, stride=e.stride, dilation=e.dilation,
                        pad=e.pad))


def mean_parts(counts: tuple[np.ndarray, np.ndarray], s_x: np.float32,
               s_y: np.float32) -> tuple[Part, ...]:
    """Rectangles of outputs with the same divisor, and their factors ``f32(s_x / (n * s_y))``,
    rounded once."""
    def runs(c: np.ndarray) -> list[tuple[int, int, int]]:
        cuts = [0, *(np.flatnonzero(np.diff(c)) + 1).tolist(), len(c)]
        return [(a, b, int(c[a])) for a, b in zip(cuts, cuts[1:])]
    return tuple(
        Part(y0, y1, x0, x1, np.float32(np.float64(s_x) / (ny * nx * np.float64(s_y))))
        for y0, y1, ny in runs(counts[0]) for x0, x1, nx in runs(counts[1]))
