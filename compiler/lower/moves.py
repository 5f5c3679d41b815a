# SPDX-License-Identifier: Apache-2.0
"""Moving bytes: concatenation, padding, cropping, striding and channel permutations.

Whole tensors side by side along the channels are a :class:`compiler.ir.graph.Concat`. A single
tensor that is cropped, padded or strided, its channels in any order, is a 1 x 1 convolution with
one-hot weights, whose pad and stride place it. All else is a :class:`compiler.ir.graph.Move`.
"""

from dataclasses import replace

import numpy as np

from compiler.ir.floats import one_hot
from compiler.ir.graph import RANGE, Clip, Concat, Conv, Joint, Move, Part, Pool, Source, Tensor
from compiler.lower.builder import Builder
from compiler.lower.values import Deq, Quantized, Storage, identity
from isa.instructions import ABSENT

SIGN = np.uint16(0x8000)
"""Of a float's pattern."""


def _affine(along: np.ndarray, source: np.ndarray) -> tuple[int, int] | None:
    """step and offset with ``source == along * step + offset``."""
    first = int(np.argmin(along))
    far = int(np.argmax(along))
    a0, a1, s0, s1 = int(along[first]), int(along[far]), int(source[first]), int(source[far])
    step = (s1 - s0) // (a1 - a0) if a1 > a0 else 1
    if step < 1:
        return None
    return step, s0 - a0 * step


def _placement(shape: tuple[int, ...], source: tuple[int, ...], wanted: np.ndarray
               ) -> tuple[np.ndarray, tuple[int, int], tuple[int, int]] | None:
    """Channel map, stride and pad of a 1 x 1 convolution that gives ``wanted``, or None."""
    where = np.nonzero(wanted >= 0)
    _, c, h, w = source
    position = wanted[where]
    y, x, channel = position // w % h, position % w, position // (h * w) % c
    rows, columns = _affine(where[2], y), _affine(where[3], x)
    if rows is None or columns is None:
        return None
    channels = np.full(shape[1], -1, np.int64)
    channels[where[1]] = channel
    yy = np.arange(shape[2]) * rows[0] + rows[1]
    xx = np.arange(shape[3]) * columns[0] + columns[1]
    image = np.where(((yy >= 0) & (yy < h))[:, None] & ((xx >= 0) & (xx < w))[None, :],
                     yy[:, None] * w + xx[None, :], -1)
    plane = identity((source[0],))[:, None] * c + channels[None, :]
    expect = np.where((channels >= 0)[None, :, None, None] & (image >= 0)[None, None],
                      plane[:, :, None, None] * (h * w) + image[None, None], -1)
    if shape[0] != source[0] or (expect != wanted).any():
        return None
    return channels, (rows[0], columns[0]), (-rows[1], -columns[1])


def _concat(build: Builder, parts: list[Deq], which: np.ndarray, wanted: np.ndarray,
            scale: np.float32) -> tuple[Joint, ...] | None:
    """The parts of a concatenation of whole tensors along the channels."""
    joints, at = [], 0
    for i, part in enumerate(parts):
        source = build.settle(part.q)
        c = source.nchw[1]
        if len(parts) < 2 or source.nchw != (wanted.shape[0], c, *wanted.shape[2:]) or \
                (which[:, at:at + c] != i).any() or \
                not np.array_equal(wanted[:, at:at + c], identity(source.nchw)):
            return None
        joints.append(Joint(source, at, part.zero_point, np.float32(part.scale / scale)))
        at += c
    return tuple(joints)


def _repeated(build: Builder, parts: list[Deq], wanted: np.ndarray, scale: np.float32
              ) -> tuple[Joint, ...] | None:
    """The same for one tensor several times, as a mask for each head."""
    if len(parts) != 1:
        return None
    part = parts[0]
    source = build.settle(part.q)
    c = source.nchw[1]
    times, rest = divmod(wanted.shape[1], c)
    if times < 2 or rest or (wanted.shape[0], c, *wanted.shape[2:]) != source.nchw or \
            (wanted.reshape(-1, times, c, *wanted.shape[2:]).swapaxes(0, 1)
             != identity(source.nchw)).any():
        return None
    return tuple(Joint(source, i * c, part.zero_point, np.float32(part.scale / scale))
                 for i in range(times))


def gather(build: Builder, parts: list[Deq], which: np.ndarray, wanted: np.ndarray,
           scale: np.float32, zero_point: int, dtype: str, name: str,
           clip: Clip | None = None) -> Tensor:
    """A tensor whose element ``i`` is element ``wanted[i]`` of ``parts[which[i]]``, requantized: a
    concatenation, a one-hot convolution of the only part, or else a move."""
    assert len(wanted.shape) == 4
    lo, hi = RANGE[dtype]
    final = clip or Clip(zero_point, lo, hi)
    joined = _concat(build, parts, which, wanted, scale) or _repeated(build, parts, wanted, scale)
    y = Tensor(name, wanted.shape, dtype, float(scale), zero_point)
    if joined is not None:
        build.emit(Concat(node=build.node, parts=joined, y=y, clip=final))
        return y
    sources = []
    for i, part in enumerate(parts):
        x, mine = build.settle(part.q), np.where(which == i, wanted, -1)
        if (mine >= 0).any():
            sources.append(Source(x, mine, part.zero_point, np.float32(part.scale / scale)))
    if _one_hot(build, sources, y, final):
        return y
    sources = [s if s.scale > 0 else replace(s, x=_negated(build, s.x), scale=-s.scale)
               for s in sources]
    build.emit(Move(node=build.node, sources=tuple(sources), y=y, clip=final))
    return y


def _one_hot(build: Builder, sources: list[Source], y: Tensor, clip: Clip) -> bool:
    """Emit the convolution that gives ``y``, if there is one: of one source, or of several that are
    one tensor of floats, each output channel with a factor of its own."""
    x = sources[0].x
    if len(sources) > 1 and not (x.floating and all(s.x is x for s in sources)):
        return False
    wanted = np.max([s.wanted for s in sources], 0)
    factor = np.select([s.wanted >= 0 for s in sources], [s.scale for s in sources],
                       sources[0].scale)
    found = _placement(y.nchw, x.nchw, wanted)
    each = factor.transpose(1, 0, 2, 3).reshape(y.nchw[1], -1)
    if found is None or (each != each[:, :1]).any():
        return False
    channels, stride, pad = found
    rows = np.flatnonzero(channels >= 0)
    weight = one_hot(rows, channels[rows], (len(channels), x.nchw[1]), x.dtype)
    build.emit(Conv(node=build.node, x=x, y=y, weight=_signed(weight, each[:, 0], x),
                    bias=np.zeros(len(channels), np.float32 if x.floating else np.int32),
                    scale=np.abs(each[:, 0]), a_zp=sources[0].zp, clip=clip,
                    stride=stride, pad=pad, counted=False))
    return True


def _signed(weight: np.ndarray, factor: np.ndarray, x: Tensor) -> np.ndarray:
    """Weights of one with the signs of output channels, which only floats have."""
    minus = (factor < 0)[:, None, None, None] & (weight != ABSENT)
    return np.where(minus, weight ^ SIGN, weight) if x.floating else weight


def _negated(build: Builder, x: Tensor) -> Tensor:
    """The negative of a tensor of floats."""
    c = x.nchw[1]
    y = Tensor(f"{x.name}:minus", x.nchw, x.dtype)
    weight = one_hot(np.arange(c), np.zeros(c, int), (c, 1), x.dtype)
    build.emit(Conv(node=build.node, x=x, y=y, weight=_signed(weight, np.full(c, -1.0), x),
                    bias=np.zeros(c, np.float32), scale=np.ones(c, np.float32), a_zp=0,
                    clip=Clip(0, *RANGE[x.dtype]), groups=c, counted=False))
    return y


def demand(build: Builder, q: Quantized, order: np.ndarray, zero_point: int) -> Tensor:
    """A machine tensor of shape ``order.shape`` whose elements are ``order``: entries of
    ``q.index`` in the order which an operator needs. Moves bytes if there is no other way."""
    if q.storage.data is not None and (order < 0).any():
        values = np.where(order < 0, q.fill, q.storage.data.ravel()[order])
        q, order = build.constant(values.astype(q.storage.data.dtype), q.dtype), identity(
            order.shape)
    if q.storage.tensor is None and not build.bind(q.storage, order):
        build.settle(q)
    wanted = Quantized(q.name, q.storage, order).positions()
    tensor = q.storage.tensor
    assert tensor is not None
    if wanted.shape == tensor.nchw and (wanted == identity(tensor.nchw)).all():
        return tensor
    if any(s is q.storage for s in build.inputs) and (again := _again(build, q, order)):
        return again
    if (order < 0).any():
        zero_point = q.fill
    return gather(build, [Deq(q, np.float32(1), zero_point)], np.zeros(order.shape, np.int8),
                       wanted, np.float32(1), zero_point, q.dtype, q.name)


def _again(build: Builder, q: Quantized, order: np.ndarray) -> Tensor | None:
    """A graph input in another order: the host gives it a second time."""
    for s in build.inputs:
        if s.name == q.storage.name and s.tensor is not None and s.position is not None and \
                order.shape == s.tensor.nchw and (
                    s.position[order.ravel()] == np.arange(order.size)).all():
            return s.tensor
    other = Storage(q.storage.name, q.storage.shape, q.storage.dtype)
    if not build.bind(other, order):
        return None
    build.inputs.append(other)
    return other.tensor


def copied(build: Builder, q: Quantized, name: str) -> Tensor:
    """A copy of the tensor behind a value."""
    x = build.settle(q)
    y = Tensor(name, x.nchw, x.dtype, x.scale, x.zero_point)
    lo, hi = RANGE[x.dtype]
    build.emit(Pool(node=build.node, x=x, y=y, maximum=False, a_zp=0, clip=Clip(0, lo, hi),
                    parts=(Part(0, x.nchw[2], 0, x.nchw[3], np.float32(1)),)))
    return y
