# SPDX-License-Identifier: Apache-2.0
"""From expressions to operators: what QuantizeLinear makes of the real value in front of it."""

from dataclasses import replace

import numpy as np

from compiler.ir.errors import Unsupported
from compiler.ir.floats import WORD, filters
from compiler.ir.graph import DTYPE, RANGE, Add, Clip, Conv, Part, Pool, Product, Tensor
from compiler.lower.builder import Builder
from compiler.lower.moves import demand, gather
from compiler.lower.values import (INF, Deq, Function, Joined, Linear, Matrices, Quantized, Real,
                                   Rowwise, Storage, Sum, Window, canonical, identity, is_number)
from isa.instructions import DType


def requantize(build: Builder, e: Deq, scale: np.float32, clip: Clip, dtype: str,
               name: str) -> Quantized:
    """A dequantized value with other parameters or a clip: a sum over one tap."""
    x = build.settle(e.q)
    factor = np.float32(e.scale / scale)
    key = e.q.storage, e.scale, e.zero_point, scale, clip, dtype
    if key not in build.requantized:
        y = Tensor(name, x.nchw, dtype, float(scale), clip.z)
        build.requantized[key] = build.emit(Pool(
            node=build.node, x=x, y=y, maximum=False, a_zp=e.zero_point, clip=clip,
            parts=(Part(0, x.nchw[2], 0, x.nchw[3], factor),))).storage
    return Quantized(name, build.requantized[key], e.q.positions(), clip.z)


def function(build: Builder, e: Function, scale: np.float32, clip: Clip, dtype: str,
             name: str) -> Quantized:
    """A function of each element, wherever it lies."""
    x = build.settle(e.x.q)
    y = Tensor(name, x.nchw, dtype, float(scale), clip.z)
    out = build.emit(Pool(node=build.node, x=x, y=y, maximum=False, a_zp=e.x.zero_point, clip=clip,
                          parts=(Part(0, x.nchw[2], 0, x.nchw[3], e.x.scale),), function=e.vop,
                          factor=np.float32(1 / scale)))
    return Quantized(name, out.storage, e.x.q.positions(), clip.z)


def rowwise(build: Builder, e: Rowwise, scale: np.float32, clip: Clip, dtype: str, name: str
            ) -> Quantized:
    """Softmax or normalization of each row. Integers of a row have to begin with a word."""
    op = e.op
    if DTYPE[dtype] is DType.INT8 and op.groups > 1 and op.pitch % (2 * WORD):
        number = rowwise(build, e, np.float32(1), Clip(0, -INF, INF), op.x.dtype, f"{name}:number")
        return requantize(build, Deq(number, np.float32(1), 0), scale, clip, dtype, name)
    key = e, scale, clip, dtype
    if key not in build.requantized:
        y = Tensor(name, op.y.nchw, dtype, float(scale), clip.z)
        storage = build.emit(replace(op, y=y, factor=np.float32(1 / scale), clip=clip)).storage
        storage.padded = op.pitch > op.depth
        build.requantized[key] = storage
    return Quantized(name, build.requantized[key], identity(op.y.nchw), clip.z)


def aligned(build: Builder, a: Deq, b: Deq, pixel: bool = False
            ) -> tuple[Tensor, Tensor, np.ndarray]:
    """The tensors of two values, the second brought into the order of the first, or one pixel of
    it, if it has the shape of one, or if it is the same in all and that may be; and the index of
    the first. Opposite elements of the first that no value is in, the second has zeros."""
    ta = build.settle(a.q)
    index, shape, same = a.q.positions(), canonical(a.q.shape), b.q.shape == a.q.shape
    size = int(np.prod(ta.nchw))
    loose = index.size != size
    if loose and not (same and a.q.storage.padded) or (index < 0).any() or \
            (np.bincount(index.ravel(), minlength=size) > 1).any() or \
            not same and (ta.nchw != shape or (index.ravel() != np.arange(index.size)).any()):
        if shape is None:
            raise Unsupported("it adds tensors of more than four dimensions",
                              "reshape them to four or less")
        ta = demand(build, a.q, a.q.index.reshape(shape), a.zero_point)
        index = identity(ta.nchw).reshape(index.shape)
    if same:
        order = np.full(ta.nchw, -1, np.int32).ravel()
        order[index.ravel()] = b.q.index.ravel()
        maps = order.reshape(*ta.nchw[:2], -1)
        if pixel and maps.shape[2] > 1 and (maps == maps[..., :1]).all():
            one = np.ascontiguousarray(maps[..., :1])[..., None]
            return ta, demand(build, b.q, one, b.zero_point), index
        return ta, demand(build, b.q, order.reshape(ta.nchw), b.zero_point), index
    return ta, demand(build, b.q, b.q.index.reshape(ta.nchw[:2] + (1, 1)), b.zero_point), index


def add(build: Builder, e: Sum, scale: np.float32, clip: Clip, dtype: str,
        name: str) -> Quantized:
    """Two tensors added or multiplied."""
    a, b = e.a, e.b
    ta, tb, index = aligned(build, a, b, pixel=True)
    y = Tensor(name, ta.nchw, dtype, float(scale), clip.z)
    out = build.emit(Add(node=build.node, a=ta, b=tb, y=y, a_zp=a.zero_point, b_zp=b.zero_point,
                         scale_a=np.float32(a.scale / scale),
                         scale_b=np.float32(b.scale / scale), clip=clip, product=e.product))
    out.storage.padded = index.size < int(np.prod(ta.nchw))
    return Quantized(name, out.storage, index)


def join(build: Builder, e: Joined, scale: np.float32, clip: Clip, dtype: str, name: str
         ) -> Quantized:
    """Parts side by side, in the order of the ONNX value, or of the one tensor of floats that they
    are all of, or of tokens with their last axis as channels; what is not quantized yet is, as the
    result.

    Raises
    ------
    Unsupported
        If there are more than four dimensions.
    """
    wanted = np.full(e.which.shape, -1, np.int32)
    parts = [part if isinstance(part, Deq) else Deq(
        quantize(build, part, scale, clip.z, dtype, f"{name}:{i}"), scale, clip.z)
        for i, part in enumerate(e.parts)]
    heads = _of_heads(parts, e.which.shape)
    for i, part in enumerate(parts):
        if heads and part.q.storage.tensor is None:
            turned = part.q.index.transpose(0, 1, 3, 2)
            demand(build, part.q, turned.reshape(1, -1, 1, turned.shape[3]), part.zero_point)
        build.settle(part.q)
        wanted[e.which == i] = part.q.positions().ravel()
    kept = _in_place(parts, e.which, wanted)
    if kept is not None:
        place, shape = kept
        order, which = np.empty((2, wanted.size), np.int32)
        order[place.ravel()], which[place.ravel()] = wanted.ravel(), e.which.ravel()
        y = gather(build, parts, which.reshape(shape), order.reshape(shape), scale, clip.z, dtype,
                   name, clip)
        return Quantized(name, Storage(name, shape, dtype, y), place)
    found = canonical(e.which.shape)
    if found is None:
        raise Unsupported("it concatenates tensors of more than four dimensions",
                          "reshape them to four or less")
    order = identity(e.which.shape).reshape(found)
    if e.which.ndim == 3 and build.tokens(name) and any(_tokens(part) for part in parts):
        order = np.moveaxis(order[:, :, 0], 1, 2)[:, :, None]
    elif heads:
        order = order.transpose(0, 1, 3, 2).reshape(1, -1, 1, order.shape[2])
    y = gather(build, parts, e.which.ravel()[order], wanted.ravel()[order], scale,
               clip.z, dtype, name, clip)
    index = np.empty(order.size, np.int32)
    index[order.ravel()] = identity((order.size,))
    return Quantized(name, Storage(name, y.nchw, dtype, y), index.reshape(e.which.shape))


def _of_heads(parts: list[Deq], shape: tuple[int, ...]) -> bool:
    """Whether a value [1, heads, tokens, size] has a part that is a tensor of tokens, of floats,
    whose channels are all heads: keys and values that are put behind earlier ones."""
    if len(shape) != 4 or shape[0] > 1 or shape[3] == 1:
        return False
    tensors = [p.q.storage.tensor for p in parts]
    return any(t is not None and t.floating and t.nchw[:2] == (1, shape[1] * shape[3])
               for t in tensors)


def _tokens(part: Deq) -> bool:
    """Whether successive elements of a part are channels of a pixel."""
    t, at = part.q.storage.tensor, part.q.positions().ravel()[:2]
    return (t is not None and part.q.storage.data is None and t.nchw[2] * t.nchw[3] > 1
            and len(at) > 1 and int(at[1] - at[0]) == t.nchw[2] * t.nchw[3])


def _in_place(parts: list[Deq], which: np.ndarray, wanted: np.ndarray
              ) -> tuple[np.ndarray, tuple[int, int, int, int]] | None:
    """Positions of a value whose parts are whole channels of one tensor of floats, along one axis
    in another order (rotated embeddings), and the shape of their tensor: they stay in the order of
    that one, so that its pixels stay what they are."""
    x = parts[0].q.storage.tensor
    across = [axis for axis in range(which.ndim) if (np.diff(which, axis=axis) != 0).any()]
    if x is None or not x.floating or x.nchw[0] > 1 or len(across) != 1 or any(
            p.q.storage is not parts[0].q.storage for p in parts) or (wanted < 0).any():
        return None
    _, _, h, w = x.nchw
    used, channel = np.unique(wanted // (h * w), return_inverse=True)
    found = (channel.reshape(wanted.shape) * (h * w) + wanted % (h * w)).astype(np.int32)
    shape = (1, len(used), h, w)
    if found.size != len(used) * h * w or (np.sort(found, None) != identity((found.size,))).any():
        return None
    return np.sort(found, across[0]), shape


def window(build: Builder, e: Window, scale: np.float32, clip: Clip, dtype: str,
           name: str) -> Quantized:
    """A pool; of an unfinished expression the maximum is taken after it is quantized."""
    y = Tensor(name, e.nchw, dtype, float(scale), clip.z)
    h, w = e.nchw[2:]
    if e.maximum:
        inner: Real = e.x
        if isinstance(inner.expr, Deq):
            q, zp, factor = inner.expr.q, inner.expr.zero_point, inner.expr.scale / scale
            low = clip_of(inner, scale, clip.z, dtype)
            clip = Clip(clip.z, min(max(low.lo, clip.lo), clip.hi),
                        min(max(low.hi, clip.lo), clip.hi))
        else:
            q = quantize(build, inner, scale, clip.z, dtype, name + ":max")
            zp, factor = clip.z, np.float32(1)
        parts: tuple[Part, ...] = (Part(0, h, 0, w, np.float32(factor)),)
    else:
        deq: Deq = e.x
        q, zp = deq.q, deq.zero_point
        assert e.counts is not None
        parts = mean_parts(e.counts, deq.scale, scale)
    order = q.index.reshape(canonical(q.shape))
    x = demand(build, q, order, zp)
    return build.emit(Pool(node=build.node, x=x, y=y, maximum=e.maximum, a_zp=zp, clip=clip,
                           parts=parts, kernel=e.kernel, stride=e.stride, dilation=e.dilation,
                           pad=e.pad))


def linear(build: Builder, e: Linear, scale: np.float32, clip: Clip, dtype: str,
           name: str) -> Quantized:
    """A convolution or matrix product, requantized. The machine's factors are positive: where one
    is not, weights and bias take its sign; the rounding is symmetric."""
    y = Tensor(name, e.nchw, dtype, float(scale), clip.z)
    factor = (e.x.scale * e.w_scale.astype(np.float32)).astype(np.float32)
    weight, bias = e.weight, e.bias
    if (factor < 0).any():
        sign = np.where(factor < 0, -1, 1)
        weight = (weight * sign[:, None, None, None]).astype(weight.dtype)
        bias, factor = (bias * sign).clip(-2**31, 2**31 - 1).astype(bias.dtype), np.abs(factor)
    if e.tensor.floating:
        weight, bias = filters(weight, e.tensor.dtype), bias / scale
    return build.emit(Conv(
        node=build.node, x=e.tensor, y=y, weight=weight, bias=bias,
        scale=(factor / scale).astype(np.float32), a_zp=e.x.zero_point, clip=clip,
        stride=e.stride, dilation=e.dilation, pad=e.pad, groups=e.groups, counted=e.counted))


def matrices(build: Builder, e: Matrices, scale: np.float32, clip: Clip, dtype: str,
             name: str) -> Quantized:
    """Matrix products, requantized."""
    x, w = e.tensors
    y = Tensor(name, (1, e.outputs * len(e.first), *x.nchw[2:]), dtype, float(scale), clip.z)
    out = build.emit(Product(
        node=build.node, x=x, w=w, y=y, depth=e.depth, pitch=e.pitch, columns=e.columns,
        fill=e.fill, first=e.first, second=e.second, turned=e.turned, a_zp=e.x.zero_point,
        w_zp=e.w.zero_point, scale=np.float32(e.x.scale * e.w.scale / scale), clip=clip))
    out.storage.padded = e.columns < e.outputs
    return out


def channels_of(e: Linear, index: np.ndarray) -> np.ndarray:
    """The output channel that each element of an index is of."""
    return index // (e.nchw[2] * e.nchw[3]) % e.nchw[1]


def narrowed(e: Linear, index: np.ndarray) -> tuple[Linear, np.ndarray]:
    """A product of which only some channels are wanted, those of a Split for instance: without the
    others, and the index in it."""
    n, c, h, w = e.nchw
    if e.groups > 1 or (index < 0).any():
        return e, index
    used, position = np.unique(channels_of(e, index), return_inverse=True)
    if len(used) == c:
        return e, index
    image, pixel = index // (c * h * w), index % (h * w)
    found = (image * len(used) + position.reshape(index.shape)) * (h * w) + pixel
    return replace(e, weight=e.weight[used], w_scale=e.w_scale[used], bias=e.bias[used],
                   nchw=(n, len(used), h, w)), found.astype(np.int32)


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


def stored(build: Builder, value: Real, name: str, dtype: str = "") -> Deq:
    """A value rounded to the network's type of floats, or to another."""
    return Deq(quantize(build, value, np.float32(1), 0, dtype or build.floats, name),
               np.float32(1), 0)


def as_number(build: Builder, x: Deq) -> Deq:
    """A value in the network's type of floats, which integers are brought into once."""
    if is_number(x):
        return x
    key = (x.q.storage, x.q.index.tobytes(), x.scale, x.zero_point)
    if key not in build.stored:
        build.stored[key] = stored(build, Real(x), x.q.name + ":number")
    return build.stored[key]


def _one_type(e: object) -> bool:
    """Whether an expression of floats is computed as floats before it is quantized: the window
    engine's results have the type of its operands, and what is moved keeps its type."""
    if isinstance(e, Joined):
        return isinstance(e.parts[0], Deq) and is_number(e.parts[0])
    return isinstance(e, Linear) and e.groups == e.nchw[1] > 1 and e.tensor.floating


def clip_of(real: Real, scale: np.float32, zero_point: int, dtype: str) -> Clip:
    """A real clip as integers of the output: quantization is monotonic, so they commute."""
    low, high = RANGE[dtype]
    if DTYPE[dtype] is not DType.INT8:
        return Clip(0, real.lo, real.hi)

    def q(v: float) -> float:
        if np.isinf(v):
            return low if v < 0 else high
        return int(np.clip(np.rint(np.float32(v) / np.float32(scale)) + zero_point, low, high))
    return Clip(zero_point, q(real.lo), q(real.hi))


def settled(build: Builder, real: Real, name: str) -> Real:
    """A value whose numbers are all integers of its operand's scale, stored as such: what was
    clipped to such bounds, or a maximum. Others as they are."""
    inner = real.expr.x if isinstance(real.expr, Window) and real.expr.maximum else real
    e = inner.expr
    if not isinstance(e, Deq) or is_number(e) or (inner is real and (real.lo, real.hi) ==
                                                  (-INF, INF)):
        return real
    low, high = (np.float32(v - e.zero_point) * e.scale for v in RANGE[e.q.dtype])
    for bound in np.array([real.lo, real.hi, inner.lo, inner.hi], np.float32):
        if low < bound < high and np.rint(bound / e.scale) * e.scale != bound:
            return real
    return Real(Deq(quantize(build, real, e.scale, e.zero_point, e.q.dtype, name), e.scale,
                    e.zero_point))


def quantize(build: Builder, real: Real, scale: np.float32, zero_point: int, dtype: str,
             name: str) -> Quantized:
    """The operator that computes ``real`` and quantizes it; it counts as the node that began
    the expression, not as the QuantizeLinear that ends it."""
    here = build.node
    if real.node >= 0 and not isinstance(real.expr, Deq):
        build.node = real.node
    try:
        return _quantize(build, real, scale, zero_point, dtype, name)
    finally:
        build.node = here


def _quantize(build: Builder, real: Real, scale: np.float32, zero_point: int, dtype: str,
              name: str) -> Quantized:
    e, scale = real.expr, np.float32(scale)
    clip = clip_of(real, scale, zero_point, dtype)
    full = (clip.lo, clip.hi) == RANGE[dtype]
    if isinstance(e, Deq):
        if e.scale == scale and e.zero_point == zero_point and e.q.dtype == dtype and full:
            return replace(e.q, name=name)
        return requantize(build, e, scale, clip, dtype, name)
    floating = DTYPE[dtype] is not DType.INT8
    if not floating and _one_type(e):
        number = stored(build, replace(real, lo=-INF, hi=INF), name + ":number")
        return requantize(build, number, scale, clip, dtype, name)
    if isinstance(e, Linear):
        assert real.index is not None
        e, index = narrowed(e, real.index)
        return Quantized(name, linear(build, e, scale, clip, dtype, name).storage, index)
    if isinstance(e, Matrices):
        assert real.index is not None
        return replace(matrices(build, e, scale, clip, dtype, name), index=real.index)
    if isinstance(e, Sum):
        return add(build, e, scale, clip, dtype, name)
    elif isinstance(e, Rowwise):
        assert real.index is not None
        return replace(rowwise(build, e, scale, clip, dtype, name), index=real.index)
    elif isinstance(e, Function):
        return function(build, e, scale, clip, dtype, name)
    elif isinstance(e, Joined):
        if floating:
            e = replace(e, parts=tuple(as_number(build, p) if isinstance(p, Deq) else p
                                       for p in e.parts))
        return join(build, e, scale, clip, dtype, name)
    out = window(build, e, scale, clip, dtype, name)
    assert real.index is not None
    return Quantized(name, out.storage, real.index)
