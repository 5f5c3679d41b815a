# SPDX-License-Identifier: Apache-2.0
"""VECTOR over padded windows against loops, all taps at once and in pieces."""

import numpy as np
import pytest

from golden import vector
from isa.instructions import DType, Instruction, Opcode, VectorOp
from isa.presets import PRESETS

CONFIG = PRESETS["tiny_fp"]
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
