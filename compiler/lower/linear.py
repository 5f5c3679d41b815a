# SPDX-License-Identifier: Apache-2.0
"""Convolutions and matrix products: every one becomes a convolution of an NCHW tensor.

A matrix product takes the pixels of a map as its rows where the last axis of its input is the
channel axis (a 1 x 1 kernel), or a whole map as one row (a kernel as large as the map, weights in
the map's order): so Flatten in front of a Gemm moves nothing. Otherwise the rows become the pixels
of a one-line map.
"""

from dataclasses import replace

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.lower.builder import Builder, Handlers
from compiler.lower.finish import as_number, quantize
from compiler.lower.matrices import product
from compiler.lower.moves import demand
from compiler.lower.quant import deq_of, scalar
from compiler.lower.values import INF, Deq, Linear, Quantized, Real, Weights, identity, is_number
from compiler.source.frontend import attributes


def factors(build: Builder, activation: object, weight: object) -> tuple[Deq, Weights]:
    """An activation and constant weights of one kind: both quantized, or both floats, if one is
    and the network has floats.

    Raises
    ------
    Unsupported
        If the weights are not constant, or not of 8 bits in a network of integers.
    """
    x = deq_of(activation)
    quantized = isinstance(weight, Weights) and weight.data.dtype in (np.int8, np.uint8)
    exact = build.floats and (is_number(x) or not quantized)
    if exact and isinstance(weight, (np.ndarray, Weights)):
        data = weight.real if isinstance(weight, Weights) else weight
        return as_number(build, x), Weights(data.astype(np.float32), np.ones((), np.float32),
                                     np.zeros((), np.int8), 0)
    if not quantized:
        raise Unsupported("its weight is not a quantized constant",
                          "quantize the weights to INT8 or UINT8 as initializers")
    assert isinstance(weight, Weights)
    return x, weight


def per_channel(values: np.ndarray, count: int) -> np.ndarray:
    """A scale or zero point for each of ``count`` output channels."""
    return np.broadcast_to(np.asarray(values).ravel(), (count,)).copy()


def bias_integers(bias: np.ndarray | Weights | None, s_x: np.float32, s_w: np.ndarray,
                  floating: bool = False) -> np.ndarray:
    """A bias as INT32 of scale ``s_x * s_w``; integers of that scale are taken as they are. With
    floats the bias itself.

    Raises
    ------
    Unsupported
        If it is not constant.
    """
    _constant(bias)
    count = len(s_w)
    if floating:
        real = bias.real if isinstance(bias, Weights) else 0 if bias is None else bias
        return np.broadcast_to(np.asarray(real, np.float32).ravel(), (count,)).copy()
    if bias is None:
        return np.zeros(count, np.int32)
    unit = (np.float32(s_x) * s_w.astype(np.float32)).astype(np.float32)
    if isinstance(bias, Weights):
        scale = per_channel(bias.scale, count)
        if bias.data.dtype == np.int32 and np.allclose(scale, unit, rtol=1e-4, atol=0) \
                and not np.asarray(bias.zero_point, np.int64).any():
            return bias.data.ravel().astype(np.int32) if bias.data.size == count else \
                np.broadcast_to(bias.data.ravel(), (count,)).astype(np.int32)
        bias = bias.real
    if bias.dtype == np.int32:
        return np.broadcast_to(bias.ravel(), (count,)).astype(np.int32)
    real = np.broadcast_to(bias.ravel(), (count,)).astype(np.float64)
    return np.clip(np.rint(real / unit.astype(np.float64)), -2**31, 2**31 - 1).astype(np.int32)


def _constant(bias: object) -> None:
    if not isinstance(bias, np.ndarray | Weights | None):
        raise Unsupported("its bias is not constant", "add it behind")


def pads(at: dict, sizes: list[int], kernel: list[int], stride: list[int],
         dilation: list[int]) -> tuple[list[int], list[int]]:
    """Padding in front and behind for each spatial axis, auto_pad resolved."""
    mode = at.get("auto_pad", b"NOTSET")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    count = len(sizes)
    if mode in ("NOTSET", ""):
        p = list(at.get("pads", [0] * 2 * count))
        return p[:count], p[count:]
    if mode == "VALID":
        return [0] * count, [0] * count
    front, back = [], []
    for n, k, s, d in zip(sizes, kernel, stride, dilation):
        total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
        small, large = total // 2, total - total // 2
        front.append(small if mode == "SAME_UPPER" else large)
        back.append(large if mode == "SAME_UPPER" else small)
    return front, back


def unpadded(index: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """An NCHW index without its border of zero points, and the border (top, left, bottom,
    right)."""
    if (index >= 0).all():
        return index, (0, 0, 0, 0)
    inside = np.asarray((index >= 0).any(axis=(0, 1)))
    ys, xs = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(ys):
        return index, (0, 0, 0, 0)
    y0, y1, x0, x1 = ys[0], ys[-1] + 1, xs[0], xs[-1] + 1
    h, w = index.shape[2:]
    return index[:, :, y0:y1, x0:x1], (int(y0), int(x0), int(h - y1), int(w - x1))


def convolution(build: Builder, x: Deq, w: Weights, bias: np.ndarray | Weights | None,
                at: dict) -> Real:
    """Conv of a dequantized activation and weights [K, C / groups, …]."""
    rank = w.data.ndim - 2
    if rank not in (1, 2) or x.q.index.ndim != rank + 2:
        raise Unsupported(f"it is a convolution over {rank} dimensions",
                          "use convolutions over one or two dimensions")
    stride = list(at.get("strides", [1] * rank))
    dilation = list(at.get("dilations", [1] * rank))
    kernel = list(w.data.shape[2:])
    front, back = pads(at, list(x.q.shape[2:]), kernel, stride, dilation)
    index, data = x.q.index, w.integers
    if w.scale.size > 1 and w.axis != 0:
        raise Unsupported("its weights are quantized along an axis that is not the output "
                          "channel", "quantize per output channel or per tensor")
    if rank == 1:
        index, data = index[:, :, None, :], data[:, :, None, :]
        stride, dilation, front, back = ([v, *a] for v, a in
                                         ((1, stride), (1, dilation), (0, front), (0, back)))
    out = [(n + f + b - d * (k - 1) - 1) // s + 1 for n, f, b, d, k, s in
           zip(index.shape[2:], front, back, dilation, data.shape[2:], stride)]
    index, border = unpadded(index) if x.q.fill == x.zero_point else (index, (0, 0, 0, 0))
    tensor = demand(build, x.q, index, x.zero_point)
    k = data.shape[0]
    w_scale = per_channel(w.scale, k)
    nchw = (index.shape[0], k, out[0], out[1])
    place = identity(nchw)
    offset = bias_integers(bias, x.scale, w_scale, is_number(x))
    return Real(Linear(x, tensor, data, w_scale, offset, nchw, (stride[0], stride[1]),
                       (dilation[0], dilation[1]),
                       (front[0] + border[0], front[1] + border[1]), at.get("group", 1)),
                index=place if rank == 2 else place[:, :, 0, :])


def conv(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Over one or two dimensions, with constant weights, of one scale or one an output channel;
    strides, dilations, pads and groups.
    """
    return [convolution(build, *factors(build, inputs[0], inputs[1]),
                        inputs[2] if len(inputs) > 2 else None, attributes(node))]


def _rows(build: Builder, x: Deq, k: int) -> tuple[np.ndarray | None, str]:
    """How a value [..., k] lies in its machine tensor: ``pixels`` (with the position of the first
    channel of each), ``maps`` (with the order of the elements of a map) or neither."""
    q = x.q
    if q.storage.tensor is None:
        return None, "open"
    m, (n, c, h, w) = q.positions(), q.storage.tensor.nchw
    if m.size != n * c * h * w or (m < 0).any():
        return None, "other"
    rows = m.reshape(-1, k)
    if c == k and (rows == rows[:, :1] + identity((c,)) * (h * w)).all() and (
            np.sort(rows[:, 0]) == identity((n, c, h, w))[:, 0].ravel()).all():
        return rows[:, 0], "pixels"
    if c * h * w == k:
        rows = m.reshape(n, k) - (np.arange(n, dtype=np.int32) * k)[:, None]
        if (rows == rows[0]).all() and (np.sort(rows[0]) == np.arange(k)).all():
            return rows[0], "maps"
    return None, "other"


def matrix_product(build: Builder, x: Deq, w: np.ndarray, w_scale: np.ndarray,
                   bias: np.ndarray | Weights | None) -> Real:
    """``x`` [..., K] times ``w`` (int16 [K, N], zero point subtracted)."""
    k, n_out = w.shape
    lead = x.q.shape[:-1]
    order, kind = _rows(build, x, k)
    scale = per_channel(w_scale, n_out)
    ints = bias_integers(bias, x.scale, scale, is_number(x))
    if kind == "maps":
        tensor = build.settle(x.q)
        n, c, h, wd = tensor.nchw
        weight = np.empty((n_out, k), w.dtype)
        weight[:, order] = w.T
        return Real(Linear(x, tensor, weight.reshape(n_out, c, h, wd), scale, ints,
                           (n, n_out, 1, 1)), index=identity((n, n_out, 1, 1)).reshape(
                               *lead, n_out))
    if kind == "pixels":
        tensor = build.settle(x.q)
    else:
        rows = x.q.index.reshape(-1, k)
        tensor = demand(build, x.q, np.ascontiguousarray(rows.T)[None, :, None, :], x.zero_point)
    n, _, h, wd = tensor.nchw
    place = identity((n, n_out, h, wd)).transpose(0, 2, 3, 1).reshape(-1, n_out)
    if kind == "pixels":
        assert order is not None
        place = place[order // (k * h * wd) * (h * wd) + order % (h * wd)]
    place = np.ascontiguousarray(place).reshape(*lead, n_out)
    return Real(Linear(x, tensor, np.ascontiguousarray(w.T)[:, :, None, None], scale, ints,
                       (n, n_out, h, wd)), index=place)


def matmul(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Of an activation and constant weights [K, N], or [..., K, N] of one scale; or of two
    activations of one image.
    """
    if isinstance(inputs[0], (Weights, np.ndarray)):
        raise Unsupported("its first operand is the constant one",
                          "transpose both operands, so that the weights come second")
    if isinstance(inputs[1], Real):
        return [_of_activations(build, deq_of(inputs[0]), deq_of(inputs[1]),
                                node.output[0] in build.scores)]
    x, w = factors(build, inputs[0], inputs[1])
    row, column = x.q.index.ndim == 1, w.data.ndim == 1
    if row:
        x = replace(x, q=replace(x.q, index=x.q.index[None, :]))
    if column:
        w = replace(w, data=w.data[:, None], axis=0)
    real = _batched(build, x, w)
    assert real.index is not None
    index = real.index[..., 0] if column else real.index
    return [replace(real, index=index[..., 0, :] if row and not column else
                    index[..., 0] if row else index)]


def _of_activations(build: Builder, x: Deq, w: Deq, scores: bool) -> Real:
    """Of two activations, either of which may be a vector."""
    row, column = x.q.index.ndim == 1, w.q.index.ndim == 1
    if row:
        x = replace(x, q=replace(x.q, index=x.q.index[None, :]))
    if column:
        w = replace(w, q=replace(w.q, index=w.q.index[:, None]))
    real = product(build, x, w, scores)
    assert real.index is not None
    index = real.index[..., 0] if column else real.index
    return replace(real, index=index[..., 0] if row and column else
                   index[..., 0, :] if row else index)


def _batched(build: Builder, x: Deq, w: Weights) -> Real:
    """``x`` [..., M, K] times ``w`` [..., K, N]; the axes in front are broadcast."""
    k, n = w.data.shape[-2:]
    if w.data.size == k * n:
        if w.scale.size > 1 and w.axis != w.data.ndim - 1:
            raise Unsupported("its weights are quantized along the reduction",
                              "quantize per output channel or per tensor")
        lead = (1,) * max(0, w.data.ndim - x.q.index.ndim)
        x = replace(x, q=replace(x.q, index=x.q.index.reshape(lead + x.q.shape)))
        return matrix_product(build, x, w.integers.reshape(k, n), w.scale, None)
    if w.scale.size > 1:
        raise Unsupported("the weights of a batch of matrices have several scales",
                          "quantize them with one")
    lead = np.broadcast_shapes(x.q.shape[:-2], w.data.shape[:-2])
    m, b = x.q.shape[-2], int(np.prod(lead))
    index = np.broadcast_to(x.q.index, lead + (m, k)).reshape(b, m, k)
    data = np.broadcast_to(w.integers, lead + (k, n)).reshape(b, k, n)
    tensor = demand(build, x.q, np.ascontiguousarray(index.transpose(0, 2, 1)).reshape(
        1, b * k, 1, m), x.zero_point)
    weight = np.ascontiguousarray(data.transpose(0, 2, 1)).reshape(b * n, k, 1, 1)
    scale = per_channel(w.scale, b * n)
    none = bias_integers(None, x.scale, scale, is_number(x))
    return Real(Linear(x, tensor, weight, scale, none, (1, b * n, 1, m), groups=b),
                index=identity((b, n, m)).transpose(0, 2, 1).reshape(lead + (m, n)))


def gemm(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """With constant weights and, if at all, one value of C for each output channel; alpha is
    positive.
    """
    at = attributes(node)
    x, w = factors(build, inputs[0], inputs[1])
    return [_gemm(build, x, w, inputs[2] if len(inputs) > 2 else None, at)]


def _gemm(build: Builder, x: Deq, w: Weights, bias: object, at: dict) -> Real:
    data, axis = w.integers, w.axis
    if at.get("transB", 0):
        data, axis = data.T, 1 - axis
    if w.scale.size > 1 and axis != 1:
        raise Unsupported("its weights are quantized along the reduction",
                          "quantize per output channel or per tensor")
    if at.get("transA", 0):
        q = x.q
        x = Deq(replace(q, index=q.index.T), x.scale, x.zero_point)
    alpha, beta = at.get("alpha", 1.0), at.get("beta", 1.0)
    _constant(bias)
    if alpha <= 0:
        raise Unsupported(f"alpha is {alpha}", "use a positive alpha")
    n = data.shape[1]
    if isinstance(bias, Weights) and beta == 1.0 and bias.data.size in (1, n):
        pass
    elif bias is not None:
        real = bias.real if isinstance(bias, Weights) else np.asarray(bias)
        if real.ndim > 1 and real.shape[0] != 1:
            raise Unsupported("C is not a row", "give one value for each output channel")
        bias = real if real.dtype == np.int32 and beta == 1.0 else real.astype(np.float64) * beta
        bias = np.broadcast_to(bias.ravel(), (n,))
    return matrix_product(build, x, np.ascontiguousarray(data),
                          (w.scale * np.float32(alpha)).astype(np.float32), bias)


def _stored(inputs: list, at: int, axis: int) -> Weights:
    data, scale, zero = inputs[at:at + 3]
    if not isinstance(data, np.ndarray):
        raise Unsupported("its weights are not constant", "use constant weights")
    return Weights(data, np.asarray(scale, np.float32),
                   np.asarray(zero if zero is not None else 0), axis)


def activation(build: Builder, inputs: list, at: int) -> Deq:
    """Three inputs (integers, scale, zero point) of a QOperator node as an activation."""
    q, scale, zero = inputs[at:at + 3]
    if not isinstance(q, Quantized):
        raise Unsupported("its input is not a quantized activation",
                          "use activations of the graph as inputs")
    x = Deq(q, np.float32(scalar(scale, "the scale")),
            0 if zero is None else int(scalar(zero, "the zero point")))
    build.quantization.setdefault(q.name, (x.scale, x.zero_point))
    return x


def target(inputs: list, at: int) -> tuple[np.float32, int, str]:
    """Scale, zero point and type of a QOperator node's output."""
    zero = inputs[at + 1] if len(inputs) > at + 1 else None
    return (np.float32(scalar(inputs[at], "the output's scale")),
            0 if zero is None else int(scalar(zero, "the zero point")),
            "uint8" if zero is None else str(zero.dtype))


def qlinear_conv(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """As Conv, on integers."""
    real = convolution(build, activation(build, inputs, 0), _stored(inputs, 3, 0),
                       inputs[8] if len(inputs) > 8 else None, attributes(node))
    return [quantize(build, real, *target(inputs, 6), node.output[0])]


def qlinear_matmul(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """As MatMul, on integers."""
    w = _stored(inputs, 3, inputs[3].ndim - 1 if isinstance(inputs[3], np.ndarray) else 0)
    real = matmul(build, node, [Real(activation(build, inputs, 0)), w])[0]
    return [quantize(build, real, *target(inputs, 6), node.output[0])]


def qgemm(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """As Gemm, on integers, with an output scale."""
    at = attributes(node)
    if len(inputs) < 8 or inputs[7] is None:
        raise Unsupported("it has a float output", "give it an output scale")
    weight = _stored(inputs, 3, 0 if at.get("transB", 0) else 1)
    real = _gemm(build, activation(build, inputs, 0), weight, inputs[6], {**at, "beta": 1.0})
    assert (real.lo, real.hi) == (-INF, INF)
    return [quantize(build, real, *target(inputs, 7), node.output[0])]


HANDLERS: Handlers = {
    "Conv": conv, "MatMul": matmul, "Gemm": gemm, "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul, "com.microsoft.QLinearMatMul": qlinear_matmul,
    "com.microsoft.QGemm": qgemm}
