# SPDX-License-Identifier: Apache-2.0
"""Convolutions and pools: kernels, strides and paddings in Caffe2's spellings, explicit in ONNX.

``legacy_pad`` depends on the input's size, which is known here:

* VALID (1): none.
* SAME (2): ``(ceil(n / s) - 1) s + k - n`` in all, the smaller half in front.
* Caffe's pools (3): the output's size is rounded up, and a last window that begins in the
  padding is dropped; what the windows then reach is added behind.
"""

import math
from typing import Any

from compiler.ir.errors import Unsupported
from compiler.source.imports.caffe2.operator import Operator, row

WINDOW = ("kernel kernel_h kernel_w kernels stride stride_h stride_w strides pad pad_t pad_l pad_b "
          "pad_r pads dilation dilation_h dilation_w dilations order legacy_pad")

SIDES = ("_t", "_l", "_b", "_r")


def _each(op: Operator, name: str, default: int, rank: int,
          ends: tuple[str, ...] = ("_h", "_w")) -> list[int]:
    """An argument in any of its spellings, for each axis (or side): a list comes before one value
    for all, and that before one for each, which Caffe2 ignores unless there are all of them."""
    count = rank * len(ends) // 2
    values = op.get(f"{name}s", [])
    given = [name + e for e in ends if name + e in op.arguments]
    if not values and name not in op.arguments and given:
        if len(given) < len(ends):
            raise Unsupported(f"it has {', '.join(given)} alone",
                              f"give {', '.join(name + e for e in ends)}")
        values = [op.get(name + e, default) for e in ends]
    values = values or [op.get(name, default)] * count
    if len(values) != count:
        raise Unsupported(f"its {name}s are {values} for {rank} axes", "correct the net")
    return values


def _pads(op: Operator, size: list[int], kernel: list[int], stride: list[int]) -> list[int]:
    rank, mode = len(size), op.get("legacy_pad", 0)
    pads = _each(op, "pad", 0, rank, SIDES)
    if mode == 0:
        return pads
    if mode == 1:
        return [0] * 2 * rank
    front, back = pads[:rank], pads[rank:]
    for i, (n, k, s) in enumerate(zip(size, kernel, stride)):
        if mode == 2:
            whole = (math.ceil(n / s) - 1) * s + k - n
            if whole < 0:
                raise Unsupported("legacy_pad=SAME cuts the input, whose stride is larger than its "
                                  "kernel", "give the pads themselves")
            front[i], back[i] = whole // 2, whole - whole // 2
        elif mode == 3:
            room = n + 2 * front[i] - k
            out = -(-room // s) + 1
            if front[i] and (out - 1) * s >= n + front[i]:
                out -= 1
            back[i] = max((out - 1) * s + k - n - front[i], 0)
        else:
            raise Unsupported(f"its legacy_pad is {mode}", "use 0 to 3")
    return front + back


def _windows(op: Operator, x: str, kernel: list[int]) -> dict[str, Any]:
    size = list(op.graph.shape(x)[2:])
    stride, dilation = (_each(op, n, 1, len(size)) for n in ("stride", "dilation"))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    return {"kernel_shape": kernel, "strides": stride, "dilations": dilation,
            "pads": _pads(op, size, reach, stride)}


def _kernel(op: Operator, size: list[int], weights: list[int] | None = None) -> list[int]:
    kernel = _each(op, "kernel", 0, len(size))
    if weights is not None and kernel != weights:
        raise Unsupported(f"its kernel is {kernel}, and its weights have {weights}",
                          "correct the net")
    return kernel


def conv(op: Operator) -> list[str]:
    """Weights [M, C / group, …], in NHWC [M, …, C / group]."""
    x, w = op.image(), op.image(1)
    kernel = _kernel(op, list(op.graph.shape(x)[2:]), list(op.graph.shape(w)[2:]))
    return op.out(op.graph.emit("Conv", x, w, *op.inputs[2:], group=op.get("group", 1),
                                **_windows(op, x, kernel)))


def conv_transpose(op: Operator) -> list[str]:
    """Weights [C, M / group, …], in NHWC [C, …, M / group]."""
    if op.get("legacy_pad", 0):
        raise Unsupported("it has legacy_pad", "give the pads themselves")
    x, w = op.image(), op.image(1)
    rank = len(op.graph.shape(x)) - 2
    kernel = _kernel(op, list(op.graph.shape(x)[2:]), list(op.graph.shape(w)[2:]))
    return op.out(op.graph.emit(
        "ConvTranspose", x, w, *op.inputs[2:], group=op.get("group", 1),
        output_padding=_each(op, "adj", 0, rank), **_windows(op, x, kernel)))


def _pool(op: Operator, kind: str, **extra: int) -> list[str]:
    x = op.image()
    if op.get("global_pooling", False):
        return op.out(op.graph.emit(f"Global{kind}", x))
    at = _windows(op, x, _kernel(op, list(op.graph.shape(x)[2:])))
    if set(at.pop("dilations")) != {1}:
        raise Unsupported("a pool with dilation", "use a dilation of 1")
    return op.out(op.graph.emit(kind, x, **at, **extra))


def max_pool(op: Operator) -> list[str]:
    return _pool(op, "MaxPool")


def average_pool(op: Operator) -> list[str]:
    """Over the elements inside, unless count_include_pad."""
    return _pool(op, "AveragePool", count_include_pad=op.get("count_include_pad", 0))


TABLE = {f"{name}{rank}": r for rank in ("", "1D", "2D", "3D") for name, r in {
    "Conv": row(conv, f"{WINDOW} group", 2, 3),
    "MaxPool": row(max_pool, f"{WINDOW} global_pooling"),
    "AveragePool": row(average_pool, f"{WINDOW} global_pooling count_include_pad"),
}.items()} | {"ConvTranspose": row(
    conv_transpose, f"{WINDOW.partition(' dilation ')[0]} order legacy_pad group adj adj_h adj_w "
                    "adjs", 2, 3)}
