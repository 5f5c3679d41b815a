# SPDX-License-Identifier: Apache-2.0
"""Weight streams in machine order.

A stream is, for each group of output blocks: for kernel row, kernel step, input block: a tile of
L x L bytes for each tile of the machine (column major: word ``j`` holds column ``j``), then
parameter blocks. Absent channels have zero weights (floats: ABSENT), bias 0 and scale 1.

A packed layer reads a kernel row as contiguous elements, four to a pixel: element ``4 g + c`` of
step ``s`` is channel ``c`` of tap ``s * E / 4 + g``, with E elements in a word.

INT8 weights of floats take half of that: a word holds two columns (:func:`paired`).
"""

from dataclasses import dataclass

import numpy as np

from compiler.ir.graph import Conv
from isa.config import GRANULE
from isa.instructions import ABSENT


@dataclass(frozen=True)
class Coding:
    """How the weights (already less their zero point) are stored: byte = value + zp."""

    signed: bool
    zp: int


def addends(weight: np.ndarray) -> list[tuple[np.ndarray, Coding]]:
    """The weights as a sum of arrays that a byte and one zero point can hold: one array, unless
    the per-channel zero points make the values span more than a byte. Patterns of floats stay."""
    if weight.dtype == np.uint16:
        return [(weight, Coding(False, 0))]
    low, high = min(0, int(weight.min())), max(0, int(weight.max()))
    if low >= -128 and high <= 127:
        return [(weight, Coding(True, 0))]
    if high - low <= 255:
        return [(weight, Coding(False, -low))]
    part = weight.clip(-128, 127)
    return [(part, Coding(True, 0)), *addends(weight - part)]


def steps_along(kernel: int, lanes: int, packed: bool, size: int = 1) -> int:
    """Steps of a kernel row: taps, or groups of taps that fill the lanes with elements of ``size``
    bytes."""
    return -(-kernel // (lanes // GRANULE // size)) if packed else kernel


def dense(weight: np.ndarray, size: int, groups: int, lanes: int, gn: int, packed: bool, first: int,
          count: int, low: int, step: int, ncb: int) -> np.ndarray:
    """Weights of output groups ``first … first + count - 1`` as ``[group, r, s, cb, tile, column,
    element]`` (int16, or patterns) for activations of ``size`` bytes; group ``i`` reads input
    blocks ``low + i * step …``."""
    k, c, r, s = weight.shape
    width = gn * lanes
    absent = ABSENT if weight.dtype == np.uint16 else 0
    per = lanes // size
    if packed:
        taps = per // GRANULE
        ns = steps_along(s, lanes, True, size)
        out = np.full((count * width, r, ns * taps, GRANULE), absent, weight.dtype)
        mine = weight[first * width:(first + count) * width]
        out[:len(mine), :, :s, :c] = mine.transpose(0, 2, 3, 1)
        return (out.reshape(count, gn, lanes, r, ns, 1, per)
                .transpose(0, 3, 4, 5, 1, 2, 6))
    out = np.full((count, width, ncb * per, r, s), absent, weight.dtype)
    per_group = k // groups
    for i in range(count):
        start = (first + i) * width
        base = (low + i * step) * per
        stop = min(k, start + width)
        if groups == 1:
            out[i, :stop - start, :min(c - base, ncb * per)] = \
                weight[start:stop, base:base + ncb * per]
            continue
        for channel in range(start, stop):
            at = channel // per_group * c - base
            out[i, channel - start, at:at + c] = weight[channel]
    return (out.reshape(count, gn, lanes, ncb, per, r, s).transpose(0, 5, 6, 3, 1, 2, 4))


def paired(tiles: np.ndarray, beat: int) -> np.ndarray:
    """:func:`dense` tiles with the columns in the order in which words of two hold them; ``beat``:
    words that are read in a cycle."""
    *outer, lanes, per = tiles.shape
    halves = tiles.reshape(*outer, lanes // (2 * beat), 2, beat, per)
    return halves.swapaxes(-3, -2).reshape(tiles.shape)


def parameters(op: Conv, lanes: int, gn: int, first: int, count: int) -> np.ndarray:
    """Parameter blocks of those groups: ``[group, bytes]`` (uint8)."""
    k, width = len(op.bias), gn * lanes
    bias = np.zeros(count * width, "<f4" if op.x.floating else "<i4")
    scale = np.ones(count * width, "<f4")
    stop = min(k, (first + count) * width)
    bias[:stop - first * width] = op.bias[first * width:stop]
    scale[:stop - first * width] = op.scale[first * width:stop]
    both = np.concatenate([bias.reshape(-1, lanes).view(np.uint8),
                           scale.reshape(-1, lanes).view(np.uint8)], axis=1)
    return both.reshape(count, -1)


def stream(tiles: np.ndarray, coding: Coding, params: np.ndarray | None) -> bytes:
    """The bytes of :func:`dense` tiles, with parameters behind each group's."""
    if tiles.dtype == np.uint16:
        data = tiles.astype("<u2").reshape(len(tiles), -1).view(np.uint8)
    else:
        data = ((tiles + np.int16(coding.zp)) & 0xFF).astype(np.uint8).reshape(len(tiles), -1)
    if params is not None:
        data = np.concatenate([data, params], axis=1)
    return data.tobytes()
