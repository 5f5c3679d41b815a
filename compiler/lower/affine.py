# SPDX-License-Identifier: Apache-2.0
"""Additions and products: of two activations, and of channels with constants (bias, scale,
BatchNormalization).

Behind a convolution or matrix product constants change its bias and scales. A dequantized value
becomes a depthwise 1 x 1 convolution first, with the weight 64 and a scale of 1/64: a bias then has
a resolution of 1/64 of the value's.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.lower.builder import Builder, Handlers
from compiler.lower.constant import operand, saturated
from compiler.lower.finish import aligned, as_number, channels_of, settled, stored
from compiler.lower.linear import bias_integers
from compiler.lower.moves import demand
from compiler.lower.quant import deq_of, real_of
from compiler.lower.shape import broadcast
from compiler.lower.values import (INF, Deq, Function, Joined, Linear, Quantized, Real, Storage,
                                   Sum, Weights, identity, is_number, scaled)
from compiler.source.frontend import attributes
from isa.instructions import VectorOp

UNIT = 64
"""Weight of a channel that is multiplied by one."""


def _linear(build: Builder, x: Real) -> tuple[Linear, Real]:
    """The value as a linear expression."""
    if (x.lo, x.hi) != (-INF, INF):
        raise Unsupported("it follows a clip", "quantize in between")
    e = x.expr
    if isinstance(e, Linear):
        return e, x
    if not isinstance(e, Deq):
        raise Unsupported("it follows neither a convolution, a matrix product nor a quantized "
                          "value", "quantize in between")
    tensor = build.settle(e.q)
    c = tensor.nchw[1]
    index = e.q.positions()
    if (index < 0).any():
        raise Unsupported("it follows a Pad", "quantize in between")
    number = is_number(e)
    unit = 1 if number else UNIT
    line = Linear(e, tensor, np.full((c, 1, 1, 1), unit, np.float32 if number else np.int16),
                  np.full(c, 1 / unit, np.float32),
                  np.zeros(c, np.float32 if number else np.int32), tensor.nchw, groups=c,
                  counted=False)
    return line, Real(line, index=index, node=x.node)


def _channels(e: Linear, x: Real, c: np.ndarray | Weights) -> np.ndarray | Weights:
    """The constant as one value for each channel of the linear expression.

    Raises
    ------
    _Differs
        If it does so among the pixels of a channel.
    Unsupported
        If its shape does not fit.
    """
    assert x.index is not None
    channel = channels_of(e, x.index)
    data = c.data if isinstance(c, Weights) else c
    try:
        position = np.broadcast_to(identity(data.shape), channel.shape)
    except ValueError:
        raise Unsupported(f"a constant of shape {list(data.shape)} does not fit "
                          f"{list(channel.shape)}", "give one value, or one a channel") from None
    pick = np.zeros(e.nchw[1], np.int64)
    pick[channel.ravel()] = position.ravel()
    values = (c.real if isinstance(c, Weights) else c).ravel()
    if (values[pick][channel] != values[position]).any():
        raise _Differs("the constant differs from pixel to pixel", "quantize in between")
    if isinstance(c, Weights) and c.scale.size in (1, e.nchw[1]):
        return Weights(c.data.ravel()[pick], c.scale, c.zero_point, 0)
    return values[pick].astype(np.float64)


def _each(change: Callable[[Builder, Real, np.ndarray | Weights], Real], build: Builder, x: Real,
          c: np.ndarray | Weights) -> Real | None:
    """A change of the parts of a concatenation, each with its piece of the constant; None if ``x``
    is none."""
    if not isinstance(x.expr, Joined) or (x.lo, x.hi) != (-INF, INF):
        return None
    values = np.broadcast_to(c.real if isinstance(c, Weights) else c, x.shape)
    parts = [Real(p) if isinstance(p, Deq) else settled(build, p, f"{build.node}:{i}")
             for i, p in enumerate(x.expr.parts)]
    return replace(x, expr=replace(x.expr, parts=tuple(
        change(build, p, values[x.expr.which == i].reshape(p.shape))
        for i, p in enumerate(parts))))


class _Differs(Unsupported):
    """A constant differs from pixel to pixel."""


def _whole(build: Builder, x: Real, c: np.ndarray | Weights, product: bool) -> Real:
    """``x + c`` or ``x * c`` with the constant as a tensor. Integers are multiplied with each pixel
    as a channel, since the vector engine multiplies floats alone.

    Raises
    ------
    Unsupported
        If ``x`` is a sum that is not quantized.
    """
    if not build.floats and not isinstance(x.expr, Deq):
        raise Unsupported("its constant differs from pixel to pixel, and its other operand is not "
                          "quantized", "quantize in between")
    if build.floats:
        number = (as_number(build, x.expr)
                  if isinstance(x.expr, Deq) and (x.lo, x.hi) == (-INF, INF)
                  else stored(build, x, f"{build.graph.nodes[build.node]}:operand"))
        return Real(Sum(number, operand(build, c, x.shape), product))
    e = x.expr
    assert isinstance(e, Deq)
    if product:
        pixels = demand(build, e.q, e.q.index.reshape(1, -1, 1, 1), e.zero_point)
        q = replace(e.q, storage=Storage(e.q.name, pixels.nchw, e.q.dtype, pixels),
                    index=identity(x.shape))
        return times(build, Real(replace(e, q=q), node=x.node), c)
    return Real(Sum(e, operand(build, c, x.shape)))


def _padded(x: Real) -> bool:
    """Whether an operation on a value goes over elements between its own as well."""
    return isinstance(x.expr, Deq) and x.expr.q.storage.padded


def _widened(x: Real, c: np.ndarray | Weights) -> Real:
    """``x`` broadcast to the shape that it has with a constant."""
    shape = (c.data if isinstance(c, Weights) else c).shape
    try:
        wide = np.broadcast_shapes(x.shape, shape)
    except ValueError:
        raise Unsupported(f"a constant of shape {list(shape)} does not fit {list(x.shape)}",
                          "give one value, or one a channel") from None
    return x if wide == x.shape else broadcast(x, wide)


def plus(build: Builder, x: Real, c: np.ndarray | Weights) -> Real:
    """``x + c``."""
    x = _widened(x, c)
    if not _values(c).any():
        return x
    if (parts := _each(plus, build, x, c)) is not None:
        return parts
    if _padded(x):
        return _whole(build, x, c, product=False)
    try:
        return _plus(build, x, c)
    except _Differs:
        return _whole(build, x, c, product=False)


def _plus(build: Builder, x: Real, c: np.ndarray | Weights) -> Real:
    e, x = _linear(build, x)
    bias = bias_integers(_channels(e, x, c), e.x.scale, e.w_scale, is_number(e.x))
    if is_number(e.x):
        return replace(x, expr=replace(e, bias=e.bias + bias))
    total = e.bias.astype(np.int64) + bias
    return replace(x, expr=replace(e, bias=np.clip(total, -2**31, 2**31 - 1).astype(np.int32)))


def times(build: Builder, x: Real, c: np.ndarray | Weights) -> Real:
    """``x * c``: scales take the magnitude, weights and bias the sign. A positive number goes into
    the scale of a value that a float is made of, whose reader multiplies by it."""
    factor = _values(c)
    if (isinstance(x.expr, Deq) and build.floats and (x.lo, x.hi) == (-INF, INF)
            and factor.size == 1 and factor.ndim <= len(x.shape) and factor.item() > 0):
        return replace(x, expr=scaled(x.expr, factor.item()))
    x = _widened(x, c)
    if (parts := _each(times, build, x, c)) is not None:
        return parts
    if _padded(x):
        return _whole(build, x, c, product=True)
    try:
        return _times(build, x, c)
    except _Differs:
        return _whole(build, x, c, product=True)


def _times(build: Builder, x: Real, c: np.ndarray | Weights) -> Real:
    e, x = _linear(build, x)
    values = _channels(e, x, c)
    factor = values.real.ravel() if isinstance(values, Weights) else values
    sign = np.sign(factor).astype(np.int16)
    size = np.where(factor == 0, 1.0, np.abs(factor))
    if is_number(e.x):
        return replace(x, expr=replace(
            e, weight=e.weight * sign[:, None, None, None], w_scale=(e.w_scale * size).astype(
                np.float32), bias=(e.bias * factor).astype(np.float32)))
    return replace(x, expr=replace(
        e, weight=e.weight * sign[:, None, None, None], bias=e.bias * sign.astype(np.int32),
        w_scale=(e.w_scale * size).astype(np.float32)))


def _constant_last(inputs: list) -> tuple[object, np.ndarray | Weights]:
    a, b = inputs
    if isinstance(a, (np.ndarray, Weights)):
        a, b = b, a
    if not isinstance(b, (np.ndarray, Weights)):
        raise Unsupported("neither operand is constant", "only constants can be multiplied")
    return a, b


def operands(inputs: list, product: bool = False) -> Sum:
    """Two activations to be added or multiplied, the one that is broadcast behind the other.

    Raises
    ------
    Unsupported
        If their shapes do not fit.
    """
    da, db = deq_of(inputs[0], "its first operand"), deq_of(inputs[1], "its second operand")
    if da.q.shape != db.q.shape:
        if np.prod(da.q.shape) < np.prod(db.q.shape):
            da, db = db, da
        if da.q.index.ndim != 4 or db.q.shape != da.q.shape[:2] + (1, 1):
            try:
                shape = np.broadcast_shapes(da.q.shape, db.q.shape)
            except ValueError:
                raise Unsupported(f"shapes {list(da.q.shape)} and {list(db.q.shape)} do not fit",
                                  "export the model again: it is not valid ONNX") from None
            da, db = (deq_of(broadcast(Real(d), shape)) for d in (da, db))
    return Sum(da, db, product)


def add(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Of two activations of one shape, or of [N, C, H, W] and [N, C, 1, 1]; or of an activation and
    a constant, which in INT8 has 255 steps if it differs from pixel to pixel.
    """
    a, b = inputs
    if isinstance(a, (np.ndarray, Weights)):
        a, b = b, a
    if isinstance(b, (np.ndarray, Weights)):
        return [plus(build, real_of(a), saturated(build, _values(b)) if build.floats else b)]
    return [Real(operands(inputs))]


def mul(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers: of two activations, as Add. Otherwise by a constant."""
    if build.floats and all(isinstance(v, Real) for v in inputs):
        pair = operands(inputs, product=True)
        return [Real(replace(pair, a=as_number(build, pair.a)))]
    a, b = _constant_last(inputs)
    return [times(build, real_of(a), b)]


def sub(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Of a constant, as Add; of floats also of an activation, or from a constant."""
    a, b = inputs
    if not isinstance(b, Real):
        return [plus(build, real_of(a), -_values(b))]
    if not build.floats:
        raise Unsupported("its second operand is not constant", "use a constant")
    minus = as_number(build, deq_of(b))
    minus = replace(minus, scale=-minus.scale)
    if isinstance(a, Real):
        return [Real(operands([Real(as_number(build, deq_of(a))), Real(minus)]))]
    return [plus(build, times(build, b, np.array(-1.0)), _values(a))]


def div(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """By a constant, as Add; of floats also by an activation: times its reciprocal, which is in
    binary32."""
    a, b = inputs
    if not isinstance(b, Real):
        return [times(build, real_of(a), 1 / _values(b))]
    if not build.floats:
        raise Unsupported("its second operand is not constant", "use a constant")
    divisor = as_number(build, deq_of(b))
    if not isinstance(a, Real):
        inverse = stored(build, Real(Function(divisor, VectorOp.RECIPROCAL)),
                         f"{node.output[0]}:inverse")
        return [times(build, Real(inverse), _values(a))]
    return [quotient(build, as_number(build, deq_of(a)), divisor, node.output[0])]


def quotient(build: Builder, a: Deq, b: Deq, name: str) -> Real:
    """``a * (1 / b)`` of numbers; ``b`` is brought into the order of ``a`` before its reciprocal
    is in binary32, which no instruction moves."""
    if a.q.shape != b.q.shape:
        shape = np.broadcast_shapes(a.q.shape, b.q.shape)
        a, b = (deq_of(broadcast(Real(d), shape)) for d in (a, b))
    ta, tb, index = aligned(build, a, b)
    a, b = (replace(d, q=Quantized(t.name, Storage(t.name, t.nchw, t.dtype, t), index))
            for d, t in ((a, ta), (b, tb)))
    inverse = stored(build, Real(Function(b, VectorOp.RECIPROCAL)), f"{name}:inverse", "float32")
    return Real(Sum(a, inverse, product=True))


def _values(c: np.ndarray | Weights) -> np.ndarray:
    return np.asarray(c.real if isinstance(c, Weights) else c, np.float64)


def batch_normalization(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """With constant parameters, folded into the convolution or the product in front of it, or a
    scale and a bias of each channel; behind a Concat for each of its parts.
    """
    if attributes(node).get("training_mode", 0):
        raise Unsupported("it is in training mode", "export the model for inference")
    values = []
    for v in inputs[1:5]:
        if not isinstance(v, (np.ndarray, Weights)):
            raise Unsupported("its parameters are not constant", "export the model for inference")
        values.append(np.asarray(v.real if isinstance(v, Weights) else v, np.float64).ravel())
    scale, shift, mean, var = values
    factor = scale / np.sqrt(var + attributes(node).get("epsilon", 1e-5))
    x = real_of(inputs[0])
    dims = (-1, *(1,) * (len(x.shape) - 2))
    return [plus(build, times(build, x, factor.reshape(dims)),
                 (shift - mean * factor).reshape(dims))]


HANDLERS: Handlers = {
    "Add": add, "Mul": mul, "Div": div, "Sub": sub,
    "BatchNormalization": batch_normalization}
