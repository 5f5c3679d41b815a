# SPDX-License-Identifier: Apache-2.0
"""Weight streams in machine order.

A stream is, for each group of output blocks: for kernel row, kernel step, input block: a tile of
L x L bytes for each tile of the machine (column major: word ``j`` holds column ``j``), then
parameter blocks. Absent channels have zero weights, bias 0 and scale 1.

A packed layer reads a kernel row as contiguous bytes, four to a pixel: lane ``4 g + c`` of step
``s`` is channel ``c`` of tap ``s * L / 4 + g``.
"""

from dataclasses import dataclass

import numpy as np

from compiler.ir import Conv
from isa.config import GRANULE


@dataclass(frozen=True)
class Coding:
    """How the weights (already less their zero point) are stored: byte = value + zp."""

    signed: bool
    zp: int


def addends(weight: np.ndarray) -> list[tuple[np.ndarray, Coding]]:
    """The weights as a sum of arrays that a byte and one zero point can hold: one array, unless
    the per-channel zero points make the values span more than a byte."""
    low, high = min(0, int(weight.min())), max(0, int(weight.max()))
    if low >= -128 and high <= 127:
        return [(weight, Coding(True, 0))]
    if high - low <= 255:
        return [(weight, Coding(False, -low))]
    part = weight.clip(-128, 127)
    return [(part, Coding(True, 0)), *addends(weight - part)]


def steps_along(kernel: int, lanes: int, packed: bool) -> int:
    """Steps of a kernel row: taps, or groups of taps that fill the lanes."""
    return -(-kernel // (lanes // GRANULE)) if packed else kernel


def dense(weight: np.ndarray, groups: int, lanes: int, gn: int, packed: bool, first: int,
          count: int, low: int, step: int, ncb: int) -> np.ndarray:
    """Weights of output groups ``first … first + count - 1`` as ``[group, r, s, cb, tile, column,
    lane]`` (int16); group ``i`` reads input blocks ``low + i * step …``."""
    k, c, r, s = weight.shape
    width = gn * lanes
    if packed:
        taps = lanes // GRANULE
        ns = steps_along(s, lanes, True)
        out = np.zeros((count * width, r, ns * taps, GRANULE), np.int16)
        mine = weight[first * width:(first + count) * width]
        out[:len(mine), :, :s, :c] = mine.transpose(0, 2, 3, 1)
        return (out.reshape(count, gn, lanes, r, ns, 1, lanes)
                .transpose(0, 3, 4, 5, 1, 2, 6))
    out = np.zeros((count, width, ncb * lanes, r, s), np.int16)
    per_group = k // groups
    for i in range(count):
        start = (first + i) * width
        base = (low + i * step) * lanes
        stop = min(k, start + width)
        if groups == 1:
            out[i, :stop - start, :min(c - base, ncb * lanes)] = \
                weight[start:stop, base:base + ncb * lanes]
            continue
        for channel in range(start, stop):
            at = channel // per_group * c - base
            out[i, channel - start, at:at + c] = weight[channel]
    return (out.reshape(count, gn, lanes, ncb, lanes, r, s).transpose(0, 5, 6, 3, 1, 2, 4))


def parameters(op: Conv, lanes: int, gn: int, first: int, count: int) -> np.ndarray:
    """Parameter blocks of those groups: ``[group, bytes]`` (uint8)."""
    k, width = len(op.bias), gn * lanes
    bias = np.zeros(count * width, "<i4")
    scale = np.ones(count * width, "<f4")
    stop = min(k, (first + count) * width)
    bias[:stop - first * width] = op.bias[first * width:stop]
    scale[:stop - first * width] = op.scale[first * width:stop]
    both = np.concatenate([bias.reshape(-1, lanes).view(np.uint8),
                           scale.reshape(-1, lanes).view(np.uint8)], axis=1)
    return both.reshape(count, -1)


def stream(tiles: np.ndarray, coding: Coding, params: np.ndarray | None) -> bytes:
    """The bytes of :func:`dense` tiles, with parameters behind each group's."""
    data = ((tiles + np.int16(coding.zp)) & 0xFF).astype(np.uint8).reshape(len(tiles), -1)
    if params is not None:
        data = np.concatenate([data, params], axis=1)
    return data.tobytes()
