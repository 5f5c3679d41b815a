# SPDX-License-Identifier: Apache-2.0
"""One axis of a Resize: where its outputs lie between its inputs, and the inputs' weights there.

An axis is a matrix [outputs, inputs]. Each output has a few ``taps`` of consecutive positions, from
``first`` on, which may lie outside: there the element at the border counts. Behind ``outputs``
outputs the taps are the same, ``inputs`` positions further; for 2 / 1 these are the phases of a
convolution.
"""

from dataclasses import dataclass

import numpy as np

@dataclass(frozen=True)
class Axis:
    """``size`` inputs; ``first`` [outputs] and ``taps`` [outputs, taps] in binary64; ``period`` in
    outputs and inputs; ``outside`` [outputs]: the output is the extrapolation's value."""

    size: int
    first: np.ndarray
    taps: np.ndarray
    period: tuple[int, int]
    outside: np.ndarray

    @property
    def outputs(self) -> int:
        return len(self.first)

    @property
    def picks(self) -> np.ndarray | None:
        """The input of each output, where each has one with the weight 1."""
        if ((self.taps != 0).sum(1) != 1).any() or (self.taps.sum(1) != 1).any():
            return None
        return (self.first + self.taps.argmax(1)).clip(0, self.size - 1)


@dataclass(frozen=True)
class Mode:
    """A Resize node's attributes."""

    mode: str
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    exclude: bool = False
    antialias: bool = False


def positions(m: Mode, size: int, out: int, scale: float, roi: tuple[float, float]) -> np.ndarray:
    """Where outputs 0, 1, … lie, in inputs; binary64, of any sign."""
    i = np.arange(out, dtype=np.float64)
    if m.coordinates == "asymmetric":
        return i / scale
    if m.coordinates == "align_corners":
        length = scale * size  # not rounded down, as onnx's own evaluator has it
        return i * ((size - 1) / (length - 1)) if out > 1 else 0 * i
    if m.coordinates == "tf_crop_and_resize":
        low, high = (v * (size - 1) for v in roi)
        return low + i * ((high - low) / (out - 1)) if out > 1 else (low + high) / 2 + 0 * i
    centers = (i + 0.5) / scale - 0.5
    if m.coordinates == "pytorch_half_pixel" and out == 1:
        return 0 * i
    if m.coordinates == "half_pixel_symmetric":
        return centers + size / 2 * (1 - out / (scale * size))
    return centers


def _nearest(m: Mode, x: np.ndarray) -> np.ndarray:
    rounded = {"floor": np.floor(x), "ceil": np.ceil(x), "round_prefer_floor": np.ceil(x - 0.5),
               "round_prefer_ceil": np.floor(x + 0.5)}
    return rounded[m.nearest].astype(np.int64)


def _kernel(m: Mode, t: np.ndarray) -> np.ndarray:
    """The weight of an input at a distance."""
    t = np.abs(t)
    if m.mode == "linear":
        return np.maximum(0.0, 1 - t)
    a = m.cubic
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def axis_of(m: Mode, size: int, out: int, scale: float, roi: tuple[float, float] = (0, 1)) -> Axis:
    """The axis that resizes ``size`` inputs to ``out`` outputs."""
    x = positions(m, size, out, scale, roi)
    crops = m.coordinates == "tf_crop_and_resize"
    outside = crops & ((x < 0) | (x > size - 1))
    if m.mode == "nearest":
        first, taps = _nearest(m, x).clip(0, size - 1), np.ones((out, 1))
        return Axis(size, first, taps, (out, size), outside)
    shrink = min(1.0, scale) if m.antialias else 1.0
    reach = (1 if m.mode == "linear" else 2) / shrink
    near = np.round(x * 2 ** 20) / 2 ** 20  # 2.9999999 is 3
    first = np.ceil(near - reach).astype(np.int64)
    count = int(2 * np.ceil(reach)) + 1
    at = first[:, None] + np.arange(count)
    taps = _kernel(m, (at - x[:, None]) * shrink)
    if m.exclude:
        taps = np.where((at >= 0) & (at < size), taps, 0)
    taps = np.where(np.abs(taps) < 1e-9, 0, taps)
    taps /= taps.sum(1, keepdims=True)
    used = np.flatnonzero((taps != 0).any(0))
    taps, first = taps[:, used[0]:used[-1] + 1], first + used[0]
    return Axis(size, first, taps, _period(first, taps), outside)


def _period(first: np.ndarray, taps: np.ndarray) -> tuple[int, int]:
    """The smallest number of outputs behind which the taps are the same, and how far their inputs
    are."""
    for p in range(1, len(first)):
        step = first[p:] - first[:-p]
        if (step == step[0]).all() and step[0] > 0 and np.allclose(taps[p:], taps[:-p], 0, 1e-7):
            return p, int(step[0])
    return len(first), max(1, int(first[-1] - first[0]) + 1)


def exact(taps: np.ndarray, most: int) -> int:
    """The smallest denominator up to ``most`` of all weights; 0 if there is none."""
    for d in range(1, most + 1):
        if np.allclose(taps * d, np.rint(taps * d), 0, 1e-5):
            return d
    return 0
