# SPDX-License-Identifier: Apache-2.0
"""VECTOR over padded windows against loops, all taps at once and in pieces."""

import math

import numpy as np
import pytest

from golden import vector
from isa.instructions import DType, Instruction, Opcode, VectorOp
from isa.presets import PRESETS

CONFIG = PRESETS["tiny_fp"]
WIDE = PRESETS["core256_fp"]
BLOCKS, HEIGHT, WIDTH, KERNEL, STRIDE, PAD = 2, 9, 6, (5, 3), 2, 2
OUT = 4, 4
A_AT, O_AT = 8, 512
NUMPY = {DType.INT8: np.int8, DType.FP16: np.float16}


def direct(vop: VectorOp, x: np.ndarray) -> np.ndarray:
    """``x`` [y, x, ...]: sums or maxima of the taps inside, by definition."""
    out = np.zeros((*OUT, *x.shape[2:]), np.int64)
    for oy, ox in np.ndindex(*OUT):
        taps = [x[iy, ix]
                for iy in range(oy * STRIDE - PAD, oy * STRIDE - PAD + KERNEL[0])
                for ix in range(ox * STRIDE - PAD, ox * STRIDE - PAD + KERNEL[1])
                if 0 <= iy < HEIGHT and 0 <= ix < WIDTH]
        out[oy, ox] = np.sum(taps, axis=0) if vop is VectorOp.SUM else np.max(taps, axis=0)
    return out


@pytest.mark.parametrize("taps", [1, vector.CHUNK])
@pytest.mark.parametrize("vop", [VectorOp.SUM, VectorOp.MAX])
@pytest.mark.parametrize("dtype", NUMPY)
def test_windows(dtype: DType, vop: VectorOp, taps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of integers that both types have, whose sums are exact and not clipped."""
    monkeypatch.setattr(vector, "CHUNK", taps)
    rng, per = np.random.default_rng(3), CONFIG.lanes // dtype.size
    x = rng.integers(-8, 8, (HEIGHT, WIDTH, BLOCKS, per))
    spm = rng.integers(0, 256, (CONFIG.spm_words, CONFIG.lanes), np.uint8)
    image = x.transpose(2, 0, 1, 3).astype(NUMPY[dtype])
    size = BLOCKS * HEIGHT * WIDTH
    spm[A_AT:A_AT + size] = np.ascontiguousarray(image).view(np.uint8).reshape(size, -1)
    fields = dict(
        vop=vop, a_type=dtype, o_type=dtype, nx=OUT[1], ny=OUT[0], ncb=BLOCKS, ns=KERNEL[1],
        nr=KERNEL[0], a_base=A_AT - PAD, a_row=-PAD * WIDTH, a_x=STRIDE, a_s=1, a_cb=HEIGHT * WIDTH,
        a_y=STRIDE * WIDTH, a_r=WIDTH, ix0=-PAD, ix_x=STRIDE, ix_s=1, iy0=-PAD, iy_y=STRIDE, iy_r=1,
        iw=WIDTH, ih=HEIGHT, a_signed=1, scale_a=0x3F800000, lo=-128, hi=127, lo_f=0xFC00,
        hi_f=0x7C00, o_base=O_AT, o_x=1, o_y=OUT[1], o_cb=OUT[0] * OUT[1])
    vector.execute(Instruction(Opcode.VECTOR, fields), 0, spm, CONFIG)
    got = np.ascontiguousarray(spm[O_AT:O_AT + BLOCKS * OUT[0] * OUT[1]]).view(NUMPY[dtype])
    want = direct(vop, x).transpose(2, 0, 1, 3)
    np.testing.assert_array_equal(got.reshape(want.shape), want)


@pytest.mark.parametrize("o_type", [DType.FP16, DType.FP32])
@pytest.mark.parametrize("vop,a_type", [
    (VectorOp.SUM, DType.FP16), (VectorOp.MAX, DType.FP16), (VectorOp.MAX, DType.FP32)])
def test_fold(vop: VectorOp, a_type: DType, o_type: DType) -> None:
    """Channels of three blocks, which are rows of a window, of three columns. Sums are exact,
    also where a large element hides the others until it is cancelled."""
    kinds = {DType.FP16: np.dtype("<f2"), DType.FP32: np.dtype("<f4")}
    a_kind, o_kind = kinds[a_type], kinds[o_type]
    rng = np.random.default_rng(7)
    x = rng.normal(size=(3, 3, WIDE.lanes // a_type.size)).astype(a_kind)
    x[0, 0, 0], x[2, 0, 1] = 60000, -60000
    x[:, 1] = -np.abs(x[:, 1])
    spm = rng.integers(0, 256, (WIDE.spm_words, WIDE.lanes), np.uint8)
    spm[A_AT:A_AT + 9] = x.view(np.uint8).reshape(9, -1)
    vector.execute(Instruction(Opcode.VECTOR, dict(
        vop=vop, fold=1, a_type=a_type, o_type=o_type, nx=3, ny=1, ncb=1, ns=1, nr=3, a_base=A_AT,
        a_x=1, a_r=3, ix_x=1, iw=3, ih=1, scale_a=0x3F000000, lo_f=0xFC00, hi_f=0x7C00,
        o_base=O_AT, o_x=1)), 0, spm, WIDE)
    columns = x.astype(np.float64).transpose(1, 0, 2).reshape(3, -1)
    want = np.array([math.fsum(c) if vop is VectorOp.SUM else c.max() for c in columns])
    want = (want.astype(np.float32) * np.float32(0.5)).astype(o_kind)
    got = spm[O_AT:O_AT + 3].view(o_kind)
    np.testing.assert_array_equal(got, np.repeat(want[:, None], got.shape[1], axis=1))


def test_plus() -> None:
    """1/(a + b) of powers of two, where every step is exact; b is one number for each column."""
    spm = np.zeros((WIDE.spm_words, WIDE.lanes), np.uint8)
    a, b = np.array([[3, 5, 9, 2], [1, 4, 6, 10]], np.float16), np.array([1, 2], np.float16)
    spm[A_AT:A_AT + 2].view("<f2")[:, :4] = a
    spm[A_AT + 2:A_AT + 4].view("<f2")[:] = b[:, None]
    vector.execute(Instruction(Opcode.VECTOR, dict(
        vop=VectorOp.RECIPROCAL, plus=1, a_type=DType.FP16, b_type=DType.FP16, o_type=DType.FP16,
        nx=2, ny=1, ncb=1, ns=1, nr=1, a_base=A_AT, a_x=1, b_base=A_AT + 2, b_x=1, ix_x=1, iw=2,
        ih=1, scale_a=0x40000000, scale_b=0xC0000000, lo_f=0xFC00, hi_f=0x7C00, o_base=O_AT,
        o_x=1)), 0, spm, WIDE)
    exact = 1 / (2.0 * a - 2.0 * b[:, None].astype(np.float64))
    np.testing.assert_array_equal(spm[O_AT:O_AT + 2].view("<f2")[:, :4], exact)
