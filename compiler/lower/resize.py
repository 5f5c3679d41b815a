# SPDX-License-Identifier: Apache-2.0
"""Resize. Where each output is one input (nearest, and any mode by whole steps), it moves elements.

Otherwise it is a depthwise convolution: outputs that lie alike between their inputs, ``p`` of ``q``
inputs, are channels of one with the stride ``q``, and are interleaved afterwards, as DepthToSpace
does; by 2, that makes 4 channels of each. In front, elements at the border are repeated. Both axes
are one convolution, unless its kernel had more than :data:`MOST` weights a channel; then one after
the other, rounded in between, on floats alone.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.lower.axis import Axis, Mode, axis_of, exact
from compiler.lower.builder import Builder, Handlers
from compiler.lower.masked import masked
from compiler.lower.finish import as_number, stored
from compiler.lower.linear import convolution
from compiler.lower.quant import deq_of
from compiler.lower.shape import shape_of, through
from compiler.lower.values import Deq, Real, Weights, is_number
from compiler.source.frontend import attributes

MOST = 1 << 10
"""Weights of a channel."""

INTEGER_MAX = 127
"""Largest weight of a channel of integers."""


def _scales(at: dict, inputs: list, shape: list[int], axes: list[int]
            ) -> tuple[list[float], list[int]]:
    """Scale and output size of each of ``axes``."""
    def given(k: int) -> np.ndarray | None:
        v = inputs[k] if len(inputs) > k else None
        if v is not None and not isinstance(v, np.ndarray):
            raise Unsupported("its sizes or scales are not constant",
                              "export the model with fixed shapes")
        return v if v is not None and v.size else None
    scales, sizes = given(2), given(3)
    if scales is not None:
        factors = [float(v) for v in scales.ravel()]
        return factors, [int(np.floor(np.float32(n) * np.float32(f)))
                         for n, f in zip(shape, factors)]
    if sizes is None:
        raise Unsupported("it has neither sizes nor scales", "give one of them")
    want = [int(v) for v in sizes.ravel()]
    policy = at.get("keep_aspect_ratio_policy", b"stretch").decode()
    if policy != "stretch":
        ratios = [w / n for w, n in zip(want, shape)]
        scale = min(ratios) if policy == "not_larger" else max(ratios)
        return [scale] * len(axes), [int(np.floor(scale * n + 0.5)) for n in shape]
    return [w / n for w, n in zip(want, shape)], want


def _axes(node: onnx.NodeProto, inputs: list) -> dict[int, Axis]:
    """The axes that are resized."""
    at, whole = attributes(node), shape_of(inputs[0])
    axes = [a % len(whole) for a in at.get("axes", range(len(whole)))]
    shape = [whole[a] for a in axes]
    scales, sizes = _scales(at, inputs, shape, axes)
    m = Mode(at.get("mode", b"nearest").decode(),
             at.get("coordinate_transformation_mode", b"half_pixel").decode(),
             at.get("nearest_mode", b"round_prefer_floor").decode(),
             at.get("cubic_coeff_a", -0.75), bool(at.get("exclude_outside", 0)),
             bool(at.get("antialias", 0)))
    crops = m.coordinates == "tf_crop_and_resize"
    roi = inputs[1] if crops else None
    if crops and not isinstance(roi, np.ndarray):
        raise Unsupported("its region of interest is not constant", "use a constant one")
    found = {}
    for k, (a, n, out, scale) in enumerate(zip(axes, shape, sizes, scales)):
        part = (float(roi[k]), float(roi[k + len(axes)])) if roi is not None else (0.0, 1.0)
        if out < 1:
            raise Unsupported("its result has no elements", "use larger sizes")
        if out != n or scale != 1 or crops:
            found[a] = axis_of(m, n, out, scale, part)
    return found


def resize(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """With constant sizes or scales. Nearest moves elements. Linear and cubic are depthwise
    convolutions over the last two axes: of integers where their weights are exact, which linear
    ones are by 2 and 4. Upsample, of older operator sets, becomes one.
    """
    axes = _axes(node, inputs)
    left = {a: axis for a, axis in axes.items() if axis.picks is None}
    value = inputs[0]
    for a, axis in axes.items():
        if a not in left:
            value = through(value, partial(np.take, indices=axis.picks, axis=a))
    if left:
        value = _convolved(build, node, value, left)
    outside = np.zeros((1,) * len(shape_of(inputs[0])), bool)
    for a, axis in axes.items():
        outside = outside | axis.outside.reshape([-1 if k == a else 1
                                                  for k in range(outside.ndim)])
    if outside.any():
        fill = np.array(attributes(node).get("extrapolation_value", 0.0))
        if not isinstance(value.expr, Deq):
            value = Real(stored(build, value, f"{node.output[0]}:inside"))
        value = Real(masked(build, deq_of(value), ~outside, fill))
    return [value]


def _convolved(build: Builder, node: onnx.NodeProto, value: object, axes: dict[int, Axis]) -> Real:
    x = deq_of(value)
    rank = x.q.index.ndim
    if rank not in (3, 4) or min(axes) < 2:
        raise Unsupported(f"it interpolates axis {min(axes)} of {rank}",
                          "interpolate the last one or two axes of [N, C, H, W]")
    if build.floats:
        x = as_number(build, x)
    work = int(np.prod([a.period[0] * _taps(a) for a in axes.values()]))
    if work <= MOST or len(axes) == 1:
        return _one(build, x, axes)
    if not is_number(x):
        raise Unsupported("its weights are too many for one convolution",
                          "use a ratio of small numbers, or floats (--precision fp16)")
    (a, first), (b, second) = axes.items()
    middle = stored(build, _one(build, x, {a: first}), f"{node.output[0]}:axis")
    return _one(build, middle, {b: second})


def _taps(axis: Axis) -> int:
    """Places that the kernel of all phases covers."""
    p = axis.period[0]
    low = axis.first[:p].min()
    return int(axis.first[:p].max() - low) + axis.taps.shape[1]


def _phases(axis: Axis) -> np.ndarray:
    """Weights [phases, places]."""
    p = axis.period[0]
    out = np.zeros((p, _taps(axis)))
    low = axis.first[:p].min()
    for k in range(p):
        at = int(axis.first[k] - low)
        out[k, at:at + axis.taps.shape[1]] = axis.taps[k]
    return out


def _border(axis: Axis) -> np.ndarray:
    """The input at each place that the kernel reads, those at the border repeated."""
    p, q = axis.period
    steps = -(-axis.outputs // p)
    low = int(axis.first[:p].min())
    return (low + np.arange((steps - 1) * q + _taps(axis))).clip(0, axis.size - 1)


def _one(build: Builder, x: Deq, axes: dict[int, Axis]) -> Real:
    """The axes in one convolution."""
    rank, c = x.q.index.ndim, x.q.shape[1]
    plain = Axis(1, np.zeros(1, np.int64), np.ones((1, 1)), (1, 1), np.zeros(1, bool))
    pair = [axes.get(a, plain) for a in range(2, rank)]
    weights = [_phases(a) for a in pair]
    denominators = [exact(w, INTEGER_MAX) for w in weights]
    unit = 1.0
    if not is_number(x):
        unit = float(np.prod(denominators))
        if not unit or max(np.prod([np.abs(w).max() * d for w, d in zip(
                weights, denominators)]), 0) > INTEGER_MAX:
            raise Unsupported("its weights are not exact in INT8",
                              "resize by 2 or 4, or use floats (--precision fp16 or mixed)")
    index = x.q.index
    for a, axis in axes.items():
        index = index.take(_border(axis), a)
    kernel = weights[0]
    if rank == 4:
        kernel = np.einsum("ai,bj->abij", *weights).reshape(-1, weights[0].shape[1],
                                                           weights[1].shape[1])
    data = np.tile(kernel, (c,) + (1,) * (rank - 2))[:, None] * unit
    data = data.astype(np.float32) if is_number(x) else np.rint(data).astype(np.int16)
    w = Weights(data, np.array(1 / unit, np.float32), np.zeros((), np.int8), 0)
    real = convolution(build, replace(x, q=replace(x.q, index=index)), w, None, {
        "group": c, "strides": [a.period[1] for a in pair]})
    return replace(real, index=_interleaved(real, c, pair))


def _interleaved(real: Real, c: int, axes: list[Axis]) -> np.ndarray:
    """Where the output's elements are among those of the phases."""
    assert real.index is not None
    n, rank = real.index.shape[0], len(axes)
    p = [a.period[0] for a in axes]
    size = real.index.shape[2:]
    index = real.index.reshape(n, c, *p, *size)
    order = [0, 1, *(k for a in range(rank) for k in (2 + rank + a, 2 + a))]
    index = index.transpose(order).reshape(n, c, *(s * k for s, k in zip(size, p)))
    return np.ascontiguousarray(index[(slice(None),) * 2 + tuple(
        slice(a.outputs) if k > 1 or a.outputs > 1 else slice(None)
        for k, a in zip(p, axes))])


HANDLERS: Handlers = {"Resize": resize}
