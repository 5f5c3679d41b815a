# SPDX-License-Identifier: Apache-2.0
"""Pools, and the element-wise operators of the com.microsoft domain.

A mean is ``rint(f32(f32(sum) * scale)) + z`` with ``scale = f32(s_x / (count * s_y))``. Outputs
next to the border may have another count; the result is cut into rectangles of equal count.

Against ONNX Runtime's float chain (random scales, windows from 2 x 2 to 8 x 8, 340,000 elements):
one element in 340,000 differs by 1 when the scales of input and output differ, and none away from
ties. With equal scales a mean over n elements is a tie in about one element of n; ONNX Runtime's
rounding of the sum then decides, ours is to even: 2 % differ by 1, all of them exact ties. Rounding
``s_x / n`` first gives the same rates.
"""

import math
from dataclasses import replace

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.lower.builder import Builder, Handlers
from compiler.lower.finish import quantize
from compiler.lower.linear import activation, pads, target
from compiler.lower.moves import demand
from compiler.lower.quant import deq_of, real_of
from compiler.lower.values import INF, Deq, Quantized, Real, Storage, Sum, Window, identity
from compiler.source.frontend import attributes

WINDOW_MAX = 255
"""Rows and columns of the largest window."""


def _geometry(shape: tuple[int, ...], at: dict) -> tuple[list, list, list, list, list, list]:
    """kernel, stride, dilation, pads in front, pads behind, output size: two axes."""
    rank = len(shape) - 2
    if rank not in (1, 2):
        raise Unsupported(f"it pools over {rank} dimensions", "pool over one or two dimensions")
    kernel = list(at["kernel_shape"])
    stride = list(at.get("strides", [1] * rank))
    dilation = list(at.get("dilations", [1] * rank))
    sizes = list(shape[2:])
    front, back = pads(at, sizes, kernel, stride, dilation)
    ceil = at.get("ceil_mode", 0)
    out = []
    for n, k, s, d, f, b in zip(sizes, kernel, stride, dilation, front, back):
        span = n + f + b - d * (k - 1) - 1
        o = (-(-span // s) if ceil else span // s) + 1
        if ceil and (o - 1) * s >= n + f:  # a window may not start in the padding behind
            o -= 1
        out.append(o)
    if rank == 1:
        kernel, stride, dilation, front, back, out = (
            [v, *a] for v, a in zip((1, 1, 1, 0, 0, 1),
                                    (kernel, stride, dilation, front, back, out)))
    return kernel, stride, dilation, front, back, out


def _counts(n: int, f: int, b: int, k: int, s: int, d: int, out: int,
            padded: bool) -> np.ndarray:
    """Taps that count for each output along one axis."""
    taps = np.arange(out)[:, None] * s - f + np.arange(k)[None, :] * d
    low, high = (-f, n + b) if padded else (0, n)
    return ((taps >= low) & (taps < high)).sum(1)


def window(x: object, at: dict, maximum: bool) -> Real:
    """MaxPool or AveragePool of a value."""
    real = real_of(x)
    shape = real.shape
    kernel, stride, dilation, front, back, out = _geometry(shape, at)
    h, w = (shape[2], shape[3]) if len(shape) == 4 else (1, shape[2])
    nchw = (shape[0], shape[1], out[0], out[1])
    counts = None
    if not maximum:
        padded = bool(at.get("count_include_pad", 0))
        down, across = (_counts(n, f, b, k, s, d, o, padded) for n, f, b, k, s, d, o in
                        zip((h, w), front, back, kernel, stride, dilation, out))
        counts = (down, across)
        if min(counts[0].min(), counts[1].min()) == 0:
            raise Unsupported("a window lies in the padding altogether", "use less padding")
    expr = Window(real if maximum else deq_of(x), maximum, nchw, tuple(kernel), tuple(stride),
                  tuple(dilation), tuple(front), counts)
    place = identity(nchw)
    return Real(expr, index=place if len(shape) == 4 else place[:, :, 0, :])


def max_pool(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Over one or two dimensions, without indices."""
    at = attributes(node)
    if len(node.output) > 1 and node.output[1]:
        raise Unsupported("it returns indices", "remove the second output")
    x = inputs[0]
    if isinstance(x, Quantized):  # the maximum of integers, whatever they stand for
        real = window(Real(Deq(x, np.float32(1), 0)), at, True)
        return [quantize(build, real, np.float32(1), 0, x.dtype, node.output[0])]
    return [window(x, at, True)]


def average_pool(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Over one or two dimensions; a window has an element outside of the padding."""
    return [window(inputs[0], attributes(node), False)]


def _global(shape: tuple[int, ...]) -> dict:
    return {"kernel_shape": list(shape[2:])}


def global_average_pool(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Over one or two dimensions."""
    return [window(inputs[0], _global(real_of(inputs[0]).shape), False)]


def global_max_pool(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Over one or two dimensions."""
    return [window(inputs[0], _global(real_of(inputs[0]).shape), True)]


def _map(count: int) -> tuple[int, int]:
    """Rows and columns of a map of so many pixels, as square as it can be.

    Raises
    ------
    Unsupported
        If there is none that a window covers.
    """
    for rows in range(math.isqrt(count), 0, -1):
        if count % rows == 0 and count // rows <= WINDOW_MAX:
            return rows, count // rows
    raise Unsupported(f"its {count} elements are no map of up to {WINDOW_MAX} rows and columns",
                      "use another size")


def as_maps(build: Builder, x: Deq, axes: list[int]) -> Deq:
    """A value of which the elements along some axes are the pixels of a map of one channel, each
    map an image: [product of the other axes, 1, rows, columns]."""
    rank = len(x.q.shape)
    last = sorted(a % rank for a in axes)
    index = np.moveaxis(x.q.index, last, range(rank - len(last), rank))
    count = int(np.prod(index.shape[rank - len(last):]))
    tensor = demand(build, x.q, index.reshape(-1, 1, *_map(count)), x.zero_point)
    storage = Storage(tensor.name, tensor.nchw, tensor.dtype, tensor)
    return replace(x, q=Quantized(tensor.name, storage, identity(tensor.nchw)))


def qlinear_average_pool(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """As AveragePool, on integers in NCHW."""
    at = attributes(node)
    if at.get("channels_last", 0):
        raise Unsupported("channels_last is set", "use the NCHW form")
    real = window(Real(activation(build, inputs, 0)), at, False)
    return [quantize(build, real, *target(inputs, 3), node.output[0])]


def qlinear_global_average_pool(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """As GlobalAveragePool, on integers in NCHW."""
    if attributes(node).get("channels_last", 0):
        raise Unsupported("channels_last is set", "use the NCHW form")
    x = activation(build, inputs, 0)
    return [quantize(build, window(Real(x), _global(x.q.shape), False), *target(inputs, 3),
                        node.output[0])]


def qlinear_add(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Of two activations of one shape, on integers."""
    a, b = activation(build, inputs, 0), activation(build, inputs, 3)
    if a.q.shape != b.q.shape:
        raise Unsupported("its operands have different shapes", "expand the smaller operand")
    return [quantize(build, Real(Sum(a, b), -INF, INF), *target(inputs, 6), node.output[0])]


HANDLERS: Handlers = {
    "MaxPool": max_pool, "AveragePool": average_pool, "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "com.microsoft.QLinearAveragePool": qlinear_average_pool,
    "com.microsoft.QLinearGlobalAveragePool": qlinear_global_average_pool,
    "com.microsoft.QLinearAdd": qlinear_add}
