# SPDX-License-Identifier: Apache-2.0
"""VECTOR: element-wise addition, and maximum or sum over a window, each byte lane by itself."""

import numpy as np

from golden import arith
from golden.address import modular, on_circle, wrap
from golden.fault import MachineFault
from isa.config import Config
from isa.instructions import IMAGE_BITS, SPM_ADDRESS_BITS, Fault, Instruction, VectorOp

MAX_START = -32768
"""The maximum of no taps at all."""


def execute(i: Instruction, index: int, spm: np.ndarray, config: Config) -> None:
    """Run one VECTOR on ``spm`` (uint8 [words, L]).

    Raises
    ------
    MachineFault
        BAD_FIELD or SPM_RANGE.
    """
    legal = 0 not in (i.nx, i.ny, i.ncb, i.ns, i.nr) and i.vop in list(VectorOp)
    legal = (legal and (i.vop != VectorOp.ADD or (i.ns, i.nr) == (1, 1))
             and on_circle(i.a_wrap, i.a_row, i.a_y, i.a_r)
             and (i.vop != VectorOp.ADD or on_circle(i.b_wrap, i.b_row, i.b_y))
             and on_circle(i.o_wrap, i.o_row, i.o_y))
    if not legal:
        raise MachineFault(Fault.BAD_FIELD, index)
    x, y, cb = np.arange(i.nx), np.arange(i.ny)[:, None], np.arange(i.ncb)[:, None, None]

    def check(at: np.ndarray, used: np.ndarray | bool = True) -> np.ndarray:
        at = modular(at, SPM_ADDRESS_BITS)
        if (((at < 0) | (at >= config.spm_words)) & used).any():
            raise MachineFault(Fault.SPM_RANGE, index)
        return np.where(used, at, 0)

    acc = np.full((i.ncb, i.ny, i.nx, config.lanes),
                  MAX_START if i.vop == VectorOp.MAX else 0, np.int32)
    for r in range(i.nr):
        iy = modular(i.iy0 + y * i.iy_y + r * i.iy_r, IMAGE_BITS)
        for s in range(i.ns):
            ix = modular(i.ix0 + x * i.ix_x + s * i.ix_s, IMAGE_BITS)
            inside = (iy >= 0) & (iy < i.ih) & (ix >= 0) & (ix < i.iw)
            at = (i.a_base + x * i.a_x + s * i.a_s + cb * i.a_cb
                  + wrap(i.a_row + y * i.a_y + r * i.a_r, i.a_wrap))
            value = arith.operand(spm[check(at, inside)], i.a_signed, i.a_zp)
            if i.vop == VectorOp.MAX:
                acc = np.where(inside[..., None], np.maximum(acc, value), acc)
            else:
                acc = acc + np.where(inside[..., None], value, 0)
    scale = arith.scale_from_bits(i.scale_a)
    if i.vop == VectorOp.ADD:
        at = check(i.b_base + x * i.b_x + cb * i.b_cb + wrap(i.b_row + y * i.b_y, i.b_wrap))
        b = arith.operand(spm[at], i.b_signed, i.b_zp)
        out = arith.add(acc, scale, b, arith.scale_from_bits(i.scale_b), i.z, i.lo, i.hi)
    else:
        out = arith.requantize(acc, scale, i.z, i.lo, i.hi)
    at = check(i.o_base + x * i.o_x + cb * i.o_cb + wrap(i.o_row + y * i.o_y, i.o_wrap))
    spm[at] = out.astype(np.uint8)
