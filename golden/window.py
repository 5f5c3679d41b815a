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

from collections.abc import Iterable, Iterator

import numpy as np

from golden import arith
from golden.address import modular, on_circle, wrap
from golden.exact import Sums, base_of, product, unit_of
from golden.fault import MachineFault
from golden.formats import largest, to_float, unpack
from golden.results import Exceptions, convert, known
from isa.config import FLOAT_PARAM_WORDS, PARAM_WORDS, Config
from isa.instructions import (ABSENT, IMAGE_BITS, SPM_ADDRESS_BITS, WINDOW_KERNEL, WINDOW_STEPS,
                              DType, Fault, Instruction, WindowOp)
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
    x, b = np.arange(i.nx), np.arange((i.nnb - 1) * gn + i.n_last)[:, None, None]
    y, m = np.divmod(np.arange((i.ny - 1) * gm + i.m_last)[:, None], gm)

    def check(at: np.ndarray, used: np.ndarray | bool = True) -> np.ndarray:
        at = modular(at, SPM_ADDRESS_BITS)
        if (((at < 0) | (at >= config.spm_words)) & used).any():
            raise MachineFault(Fault.SPM_RANGE, index)
        return np.where(used, at, 0)

    to = check(i.o_base + x * i.o_x + b * i.o_n + wrap(i.o_row + y * i.o_y + m * i.o_m, i.o_wrap))
    steps = i.stride * i.nr * i.ng * config.window_taps
    params = FLOAT_PARAM_WORDS if i.dtype else PARAM_WORDS
    words = spm[check(i.w_base + b[:, 0] * i.w_n + np.arange(steps + params))]
    weights = np.ascontiguousarray(words[:, :steps]).reshape(
        len(b), i.stride, i.nr, i.ng * config.window_taps, config.lanes)
    raw = np.ascontiguousarray(words[:, steps:]).reshape(len(b), 2, -1)
    scale = raw[:, 1].copy().view(np.float32)[:, None, None]

    def taps() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Of each tap bytes of activations [b, y, x, L], of weights [b, 1, 1, L], and which
        pixels are inside [y, x, 1]."""
        for r in range(i.nr):
            iy = modular(i.iy0 + y * i.iy_y + r * i.iy_r + m * i.iy_m, IMAGE_BITS)
            row = wrap(i.a_row + y * i.a_y + r * i.a_r + m * i.a_m, i.a_wrap)
            for s in range(i.ns):
                column = x * i.stride + s
                ix = modular(i.ix0 + column * i.ix_x, IMAGE_BITS)
                inside = (iy >= 0) & (iy < i.ih) & (ix >= 0) & (ix < i.iw)
                at = check(i.a_base + column * i.a_x + b * i.a_n + row, inside)
                yield (spm[at], weights[:, s % i.stride, r, s // i.stride][:, None, None],
                       inside[..., None])

    if i.dtype:
        bias = raw[:, 0].copy().view(np.float32)[:, None, None]
        with np.errstate(over="ignore", invalid="ignore"):
            value, overflow = _floats(i, taps())
            value = value * arith.check_scale(scale) + bias
        result = convert(value, DType(i.dtype), i)
        if exceptions:
            exceptions.count(to_float(result, DType(i.dtype)), overflow)
        spm[to] = result
        return
    offset = raw[:, 0].copy().view(np.int32)[:, None, None]
    acc = np.array(MAX_START if i.wop == WindowOp.MAX else 0, np.int32)
    for a, w, inside in taps():
        tap, weight = (arith.operand(a, i.a_signed, i.a_zp),
                       arith.operand(w, i.w_signed, i.w_zp))
        if i.wop == WindowOp.MAX:
            acc = np.where(inside & (weight != 0), np.maximum(acc, tap), acc)
        else:
            acc = acc + np.where(inside, tap * weight, 0)
    with np.errstate(over="ignore"):
        biased = acc + offset
    spm[to] = arith.requantize(biased, arith.check_scale(scale), i.z, i.lo,
                                i.hi).astype(np.uint8)


def _floats(i: Instruction, taps: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]
            ) -> tuple[np.ndarray, np.ndarray]:
    """Maxima or exact sums, rounded to binary32 [b, y, x, channel], and which overflowed."""
    dtype = DType(i.dtype)
    highest = np.full((1, 1, 1, 1), -np.inf, np.float32)
    sums, overflow = Sums.zeros(()), np.zeros((), bool)
    for a, w, inside in taps:
        activations, weights = (np.ascontiguousarray(v).view("<u2") for v in (a, w))
        used = inside & (weights != ABSENT)
        if i.wop == WindowOp.MAX:
            highest = np.where(used, largest(highest, to_float(a, dtype)), highest)
        else:
            one, beyond = product(unpack(activations, dtype), unpack(weights, dtype), used,
                                  base_of(dtype, i.anchor))
            sums, overflow = sums + one, overflow | beyond
    if i.wop == WindowOp.MAX:
        return highest, overflow
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
