# SPDX-License-Identifier: Apache-2.0
"""WINDOW: depthwise convolutions and pools, each byte lane by itself.

Group ``t = m * gn + n`` of the engine's ``gm * gn`` groups, with ``gm = 1 << m_split``, works on
channel block ``b = nb*gn + n`` and on output rows ``Y*gm + m``. Blocks are those with ``nb < nnb``,
in the last group only ``n < n_last``; rows those with ``Y < ny``, in the last unit only
``m < m_last``.

Tap (r, s) of output column x is input column ``i = x*stride + s``, one word at::

    a_base + i*a_x + b*a_n + wrap(a_row + Y*a_y + r*a_r + m*a_m)

It is inside the image if ``0 <= ix0 + i*ix_x < iw`` and
``0 <= iy0 + Y*iy_y + r*iy_r + m*iy_m < ih``; a tap outside contributes nothing and is not read.
Addresses are computed modulo the width of their fields, image coordinates modulo 2**18, both as
two's complement.

MAC sums activation times weight over the taps, MAX takes the maximum of the activations whose
weight is not zero; of no taps at all it is -32768. The zero points are subtracted before.

With a float ``dtype`` a block is L / 2 channels, sums are exact (:mod:`golden.exact`), the
parameters are L / 2 biases and L / 2 scales in binary32, and ``f32(f32(f32(acc) * scale) + bias)``
becomes the output, of the same type, by :mod:`golden.results`. MAX takes those activations whose
weight is not -0 (:data:`isa.instructions.ABSENT`); of no taps at all it is -infinity.
"""

import functools

import numpy as np

from golden import arith
from golden.address import checked, grid, in_image, on_circle, wrap
from golden.exact import Sums, base_of, product, unit_of
from golden.fault import MachineFault
from golden.formats import largest, to_float, unpack
from golden.results import Exceptions, convert, known
from isa.config import FLOAT_PARAM_WORDS, PARAM_WORDS, Config
from isa.instructions import (ABSENT, WINDOW_KERNEL, WINDOW_STEPS, DType, Fault, Instruction,
                              WindowOp)
from isa.numerics import MAX_START


def execute(i: Instruction, index: int, spm: np.ndarray, config: Config,
            exceptions: Exceptions | None = None) -> None:
    """Run one WINDOW on ``spm`` (uint8 [words, L]); ``exceptions`` counts.

    Raises
    ------
    MachineFault
        BAD_FIELD or SPM_RANGE.
    """
    if not _legal(i, config):
        raise MachineFault(Fault.BAD_FIELD, index)
    gm, gn = 1 << i.m_split, config.tiles >> i.m_split
    blocks, rows = (i.nnb - 1) * gn + i.n_last, (i.ny - 1) * gm + i.m_last

    row = wrap(grid(i.o_row, (i.ny, i.o_y), (gm, i.o_m)), i.o_wrap).reshape(-1, 1)[:rows]
    to = checked(grid(i.o_base, (blocks, i.o_n), (1, 0), (i.nx, i.o_x)) + row, len(spm), index)
    steps = i.stride * i.nr * i.ng * config.window_taps
    params = FLOAT_PARAM_WORDS if i.dtype else PARAM_WORDS
    memory = np.asarray(spm)
    at = checked(grid(i.w_base, (blocks, i.w_n), (steps + params, 1)), len(spm), index)
    words = memory.take(at, axis=0)
    weights = words[:, :steps].reshape(blocks, i.stride, i.nr, -1, config.lanes).transpose(
        0, 2, 3, 1, 4).reshape(blocks, i.nr, -1, config.lanes)[:, :, :i.ns].reshape(
            blocks, 1, 1, -1, config.lanes)                                   # [b, 1, 1, tap, L]
    bias, scale = words[:, steps:].reshape(blocks, 2, -1).transpose(1, 0, 2)[:, :, None, None]
    scale = scale.view(np.float32)
    if not arith.is_scale(scale):
        raise MachineFault(Fault.BAD_FIELD, index)

    row = wrap(grid(i.a_row, (i.ny, i.a_y), (gm, i.a_m), (i.nr, i.a_r)), i.a_wrap)
    column = grid(i.a_base, (blocks, i.a_n), (1, 0), (i.nx, i.stride * i.a_x), (1, 0),
                  (i.ns, i.a_x))
    in_y = in_image(i.ih, i.iy0, (i.ny, i.iy_y), (gm, i.iy_m), (i.nr, i.iy_r))
    in_x = in_image(i.iw, i.ix0, (i.nx, i.stride * i.ix_x), (1, 0), (i.ns, i.ix_x))
    inside = in_y.reshape(-1, 1, i.nr, 1)[:rows] & in_x                       # [y, x, r, s]
    at = checked(column + row.reshape(-1, 1, i.nr, 1)[:rows], len(spm), index, inside)
    taps = memory.take(at, axis=0).reshape(blocks, rows, i.nx, -1, config.lanes)
    inside = inside.reshape(rows, i.nx, -1)

    if i.dtype:
        with np.errstate(over="ignore", invalid="ignore"):
            value, overflow = _floats(i, taps, weights, inside)
            value = value * scale + bias.view(np.float32)
        result = convert(value, DType(i.dtype), i)
        if exceptions:
            exceptions.count(to_float(result, DType(i.dtype)), overflow)
        spm[to] = result
        return
    acc = _integers(i, taps, weights, inside) + bias.view(np.int32)
    spm[to] = arith.requantize(acc, scale, i.z, i.lo, i.hi).astype(np.uint8)


def _integers(i: Instruction, taps: np.ndarray, weights: np.ndarray, inside: np.ndarray
              ) -> np.ndarray:
    """Maxima or sums (INT32 [b, y, x, channel]) of bytes of activations [b, y, x, tap, L] and
    weights [b, 1, 1, tap, L]; ``inside`` [y, x, tap]."""
    # a sum of 49 products of nine bits is exact in binary32
    a = arith.operand(taps, i.a_signed, i.a_zp, np.float32)
    w = arith.operand(weights, i.w_signed, i.w_zp, np.float32)
    if i.wop == WindowOp.MAX:
        return np.where(inside[..., None] & (w != 0), a, MAX_START).max(axis=3).astype(np.int32)
    if not inside.all():
        a[:, ~inside] = 0
    return np.einsum("byxtl,btl->byxl", a, w[:, 0, 0]).astype(np.int32)


def _floats(i: Instruction, taps: np.ndarray, weights: np.ndarray, inside: np.ndarray
            ) -> tuple[np.ndarray, np.ndarray]:
    """The same of numbers, rounded to binary32, and which overflowed."""
    dtype, patterns = DType(i.dtype), weights.view("<u2")
    used = inside[..., None] & (patterns != ABSENT)
    sums, overflow = Sums.zeros(()), np.zeros((), bool)
    if i.wop == WindowOp.MAX:
        values = np.where(used, to_float(taps, dtype), np.float32(-np.inf))
        return functools.reduce(largest, np.moveaxis(values, 3, 0)), overflow
    a, w = unpack(taps.view("<u2"), dtype), unpack(patterns, dtype)
    for t in range(taps.shape[3]):
        at = np.s_[..., t, :]
        one, beyond = product(a[at], w[at], used[at], base_of(dtype, i.anchor))
        sums, overflow = sums + one, overflow | beyond
    return sums.to_float(unit_of(dtype, i.anchor)), overflow


def _legal(i: Instruction, config: Config) -> bool:
    counts = (i.nx, i.ny, i.nnb, i.ns, i.nr, i.stride, i.ng)
    split = 1 << i.m_split
    return (0 not in counts and i.dtype != DType.FP32 and known(config, i.dtype)
            and max(i.ns, i.nr) <= WINDOW_KERNEL
            and i.stride * i.nr * i.ng <= WINDOW_STEPS
            and i.ng == (i.ns - 1) // i.stride // config.window_taps + 1
            and split <= config.tiles and 1 <= i.m_last <= split
            and 1 <= i.n_last <= config.tiles // split
            and on_circle(i.a_wrap, i.a_row, i.a_y, i.a_r, i.a_m)
            and on_circle(i.o_wrap, i.o_row, i.o_y, i.o_m))
