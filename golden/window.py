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
"""

import numpy as np

from golden import arith
from golden.address import modular, on_circle, wrap
from golden.fault import MachineFault
from golden.vector import MAX_START
from isa.config import PARAM_WORDS, Config
from isa.instructions import (IMAGE_BITS, SPM_ADDRESS_BITS, WINDOW_KERNEL, WINDOW_STEPS, Fault,
                              Instruction, WindowOp)


def execute(i: Instruction, index: int, spm: np.ndarray, config: Config) -> None:
    """Run one WINDOW on ``spm`` (uint8 [words, L]).

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
    words = spm[check(i.w_base + b[:, 0] * i.w_n + np.arange(steps + PARAM_WORDS))]
    weights = arith.operand(words[:, :steps], i.w_signed, i.w_zp).reshape(
        len(b), i.stride, i.nr, i.ng * config.window_taps, config.lanes)
    params = np.ascontiguousarray(words[:, steps:]).reshape(len(b), 2, 4 * config.lanes)
    bias, scale = params[:, 0].copy().view(np.int32), params[:, 1].copy().view(np.float32)

    acc = np.full((len(b), len(y), i.nx, config.lanes),
                  MAX_START if i.wop == WindowOp.MAX else 0, np.int32)
    for r in range(i.nr):
        iy = modular(i.iy0 + y * i.iy_y + r * i.iy_r + m * i.iy_m, IMAGE_BITS)
        row = wrap(i.a_row + y * i.a_y + r * i.a_r + m * i.a_m, i.a_wrap)
        for s in range(i.ns):
            column = x * i.stride + s
            ix = modular(i.ix0 + column * i.ix_x, IMAGE_BITS)
            inside = (iy >= 0) & (iy < i.ih) & (ix >= 0) & (ix < i.iw)
            at = check(i.a_base + column * i.a_x + b * i.a_n + row, inside)
            value = arith.operand(spm[at], i.a_signed, i.a_zp)
            weight = weights[:, s % i.stride, r, s // i.stride][:, None, None]
            if i.wop == WindowOp.MAX:
                acc = np.where(inside[..., None] & (weight != 0), np.maximum(acc, value), acc)
            else:
                acc = acc + np.where(inside[..., None], value * weight, 0)
    with np.errstate(over="ignore"):
        biased = acc + bias[:, None, None]
    out = arith.requantize(biased, arith.check_scale(scale)[:, None, None], i.z, i.lo, i.hi)
    spm[to] = out.astype(np.uint8)


def _legal(i: Instruction, config: Config) -> bool:
    counts = (i.nx, i.ny, i.nnb, i.ns, i.nr, i.stride, i.ng)
    split = 1 << i.m_split
    return (0 not in counts and max(i.ns, i.nr) <= WINDOW_KERNEL
            and i.stride * i.nr * i.ng <= WINDOW_STEPS
            and i.ng == (i.ns - 1) // i.stride // config.window_taps + 1
            and split <= config.tiles and 1 <= i.m_last <= split
            and 1 <= i.n_last <= config.tiles // split
            and on_circle(i.a_wrap, i.a_row, i.a_y, i.a_r, i.a_m)
            and on_circle(i.o_wrap, i.o_row, i.o_y, i.o_m))
