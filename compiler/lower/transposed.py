# SPDX-License-Identifier: Apache-2.0
"""ConvTranspose, as one convolution for each phase of its stride.

Output ``o`` of an axis is the sum of ``x[i] * w[k]`` over all ``i * stride + k * dilation = o +
pad``. With ``o + pad = stride * t + r`` the taps of phase ``r`` are those with ``k * dilation = r
(mod stride)``, and they read ``x[t - (k * dilation - r) / stride]``: a convolution of stride 1. All
phases are channels of one convolution, whose kernel is that of the phase with the most taps, and
the result is interleaved, as DepthToSpace does.

The other way, a convolution over the input with ``stride - 1`` zeros between its elements,
multiplies by these zeros: ``stride ** 2`` times the products, and to put the zeros there moves as
many elements as the interleaving does, if there are as many input as output channels.
"""

from dataclasses import replace

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.lower.builder import Builder, Handlers
from compiler.lower.linear import convolution, factors
from compiler.lower.values import Deq, Real, Weights
from compiler.source.frontend import attributes


def _placed(at: dict, sizes: list[int], span: list[int], stride: list[int]
            ) -> tuple[list[int], list[int]]:
    """Padding in front and size of the output for each axis; a kernel covers ``span``."""
    rank = len(sizes)
    extra = at.get("output_padding", [0] * rank)
    full = [s * (n - 1) + e + k for s, n, e, k in zip(stride, sizes, extra, span)]
    mode = at.get("auto_pad", b"NOTSET").decode()
    want = at.get("output_shape") or None
    if want is None and mode.startswith("SAME"):
        want = [n * s for n, s in zip(sizes, stride)]
    if want is None:
        pads = at.get("pads", [0] * 2 * rank) if mode != "VALID" else [0] * 2 * rank
        return pads[:rank], [f - a - b for f, a, b in zip(full, pads, pads[rank:])]
    want = want[-rank:]
    spare = [max(0, f - w) for f, w in zip(full, want)]
    return [v // 2 if mode == "SAME_UPPER" else v - v // 2 for v in spare], want


def _phases(taps: int, stride: int, dilation: int) -> tuple[np.ndarray, int]:
    """Which tap of the kernel is at each place of a phase's, [phase, place] (-1: none)."""
    reach = np.arange(taps) * dilation
    places = int(reach.max() // stride) + 1
    which = np.full((stride, places), -1)
    which[reach % stride, places - 1 - reach // stride] = np.arange(taps)
    return which, places


def _kernel(data: np.ndarray, groups: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Weights [C, K / groups, R, S] as those of all phases, [K * phases, C / groups, …]."""
    c, k, _, _ = data.shape
    padded = np.pad(data, ((0, 0), (0, 0), (0, 1), (0, 1)))  # what is at -1
    taps = padded[:, :, rows][:, :, :, :, columns]  # c, k, phase, place, phase, place
    taps = taps.reshape(groups, c // groups, k, *taps.shape[2:])
    order = taps.transpose(0, 2, 3, 5, 1, 4, 6)
    return np.ascontiguousarray(order.reshape(-1, c // groups, rows.shape[1], columns.shape[1]))


def transposed(build: Builder, x: Deq, w: Weights, bias: np.ndarray | Weights | None, at: dict
               ) -> Real:
    """ConvTranspose of a dequantized activation and weights [C, K / groups, …]."""
    rank = w.data.ndim - 2
    if rank not in (1, 2) or x.q.index.ndim != rank + 2:
        raise Unsupported(f"it is a transposed convolution over {rank} dimensions",
                          "use transposed convolutions over one or two dimensions")
    if w.scale.size > 1 and w.axis != 1:
        raise Unsupported("its weights are quantized along an axis that is not the output "
                          "channel", "quantize per output channel or per tensor")
    groups, kernel = at.get("group", 1), list(w.data.shape[2:])
    if w.data.shape[0] != x.q.shape[1] or x.q.shape[1] % groups:
        raise Unsupported(f"weights of {list(w.data.shape)} do not fit {x.q.shape[1]} channels in "
                          f"{groups} groups", "export the model again: it is not valid ONNX")
    stride, dilation = (list(at.get(name, [1] * rank)) for name in ("strides", "dilations"))
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    front, out = _placed(at, list(x.q.shape[2:]), span, stride)
    if min(out) < 1:
        raise Unsupported("its result has no elements", "use less padding")
    data = w.integers
    if rank == 1:
        data, x = data[:, :, None, :], _with_row(x)
        stride, dilation, kernel, front, out = ([v, *a] for v, a in zip(
            (1, 1, 1, 0, 1), (stride, dilation, kernel, front, out)))
    (rows, high), (columns, wide) = (_phases(*a) for a in zip(kernel, stride, dilation))
    first = [p // s for p, s in zip(front, stride)]
    last = [(p + o - 1) // s for p, o, s in zip(front, out, stride)]
    phases, count = stride[0] * stride[1], data.shape[1] * groups
    scale, zero = w.scale, np.zeros(1, np.int8)
    if scale.size > 1:
        scale = np.repeat(np.tile(scale.ravel(), groups), phases)
    if bias is not None:
        bias = _repeated(bias, count, phases)
    pads = [places - 1 - a for places, a in zip((high, wide), first)] + \
        [b + 1 - n for b, n in zip(last, x.q.shape[2:])]
    real = convolution(build, x, Weights(_kernel(data, groups, rows, columns), scale, zero, 0),
                       bias, {"group": groups, "pads": pads})
    return Real(real.expr, index=_interleaved(real, stride, front, out, rank))


def _with_row(x: Deq) -> Deq:
    """A value [N, C, W] as [N, C, 1, W]."""
    return replace(x, q=replace(x.q, index=x.q.index[:, :, None, :]))


def _repeated(bias: np.ndarray | Weights, count: int, phases: int) -> np.ndarray | Weights:
    """A bias for each phase of each channel."""
    if isinstance(bias, Weights):
        return Weights(np.repeat(np.broadcast_to(bias.data.ravel(), count), phases),
                       np.repeat(bias.scale.ravel(), phases) if bias.scale.size > 1 else bias.scale,
                       bias.zero_point, 0)
    return np.repeat(np.broadcast_to(np.asarray(bias).ravel(), count), phases)


def _interleaved(real: Real, stride: list[int], front: list[int], out: list[int], rank: int
                 ) -> np.ndarray:
    """Where the output's elements are among those of the phases."""
    assert real.index is not None
    n, k, h, w = real.index.shape
    a, b = stride
    index = real.index.reshape(n, k // (a * b), a, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    index = index.reshape(n, k // (a * b), h * a, w * b)
    top, left = front[0] % a, front[1] % b
    index = index[:, :, top:top + out[0], left:left + out[1]]
    return np.ascontiguousarray(index if rank == 2 else index[:, :, 0, :])


def conv_transpose(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Over one or two dimensions, with constant weights, of one scale or one an output channel;
    strides, dilations, pads, output_padding, output_shape and groups. A convolution for each phase
    of the stride, whose results are interleaved.
    """
    return [transposed(build, *factors(build, inputs[0], inputs[1]),
                       inputs[2] if len(inputs) > 2 else None, attributes(node))]


HANDLERS: Handlers = {"ConvTranspose": conv_transpose}
