# SPDX-License-Identifier: Apache-2.0
"""WINDOW on numbers against a depthwise convolution and a maximum in rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest

from golden import window
from golden.results import Exceptions
from isa.config import FLOAT_PARAM_WORDS, Config
from isa.instructions import ABSENT, DType, Instruction, Opcode, WindowOp
from isa.presets import PRESETS
from tests.golden.test_exact import NUMPY, finite, fraction, rounded

A_AT, W_AT, O_AT = 8, 512, 1200
ANCHOR = -60


def place(config: Config, op: WindowOp, dtype: DType, x: np.ndarray, w: np.ndarray,
          bias: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, Instruction, tuple[int, ...]]:
    """Patterns ``x`` [C, H, W] and ``w`` [C, R, S] in a scratchpad, the instruction of stride 1
    without padding, and the shape [blocks, y, x, L / 2] of its output."""
    half, (channels, h, wd), (_, rows, columns) = config.lanes // 2, x.shape, w.shape
    blocks, taps = channels // half, config.window_taps
    ng = -(-columns // taps)
    words = rows * ng * taps + FLOAT_PARAM_WORDS
    spm = np.random.default_rng(1).integers(0, 256, (config.spm_words, config.lanes), np.uint8)
    numbers = spm.view(np.uint16)
    numbers[A_AT:A_AT + blocks * h * wd] = (
        x.reshape(blocks, half, h, wd).transpose(0, 2, 3, 1).reshape(-1, half))
    for b in range(blocks):
        mine, at = slice(b * half, (b + 1) * half), W_AT + b * words
        for r in range(rows):
            for s in range(columns):
                numbers[at + r * ng * taps + s] = w[mine, r, s]
        at += rows * ng * taps
        spm[at:at + 2] = bias[mine].view(np.uint8).reshape(2, -1)
        spm[at + 2:at + 4] = scale[mine].view(np.uint8).reshape(2, -1)
    oh, ow = h - rows + 1, wd - columns + 1
    fields = dict(
        wop=op, dtype=dtype, anchor=ANCHOR, nx=ow, ny=oh, nnb=blocks, ns=columns, nr=rows, stride=1,
        ng=ng, a_base=A_AT, a_x=1, a_n=h * wd, a_y=wd, a_r=wd, ix_x=1, iy_y=1, iy_r=1, iw=wd, ih=h,
        w_base=W_AT, w_n=words, m_last=1, n_last=1, o_base=O_AT, o_x=1, o_n=oh * ow, o_y=ow,
        lo_f=0xFC00, hi_f=0x7C00)
    return spm, Instruction(Opcode.WINDOW, fields), (blocks, oh, ow, half)


def run(config: Config, dtype: DType, spm: np.ndarray, i: Instruction, shape: tuple[int, ...],
        exceptions: Exceptions | None = None) -> np.ndarray:
    """The output as patterns [C, y, x]."""
    window.execute(i, 0, spm, config, exceptions)
    out = spm[O_AT:O_AT + int(np.prod(shape[:3]))].view(np.uint16).reshape(shape)
    return out.transpose(0, 3, 1, 2).reshape(-1, *shape[1:3])


def unit(value: Fraction, dtype: DType) -> Fraction:
    """A product as the sum takes it."""
    lowest = Fraction(2) ** (-48 if dtype is DType.FP16 else ANCHOR)
    whole = abs(value) // lowest
    return lowest * (whole if value >= 0 else -whole)


@pytest.mark.parametrize("dtype", NUMPY)
@pytest.mark.parametrize("kernel", [(3, 3), (2, 5), (1, 1)])
def test_sums(dtype: DType, kernel: tuple[int, int]) -> None:
    config = PRESETS["core256_fp"]
    rng = np.random.default_rng([2, *kernel])
    x, w = finite(rng, (16, 6, 7), dtype), finite(rng, (16, *kernel), dtype)
    w[rng.random(w.shape) < 0.2] = ABSENT
    bias, scale = (rng.uniform(0.5, 2, 16).astype(np.float32) for _ in range(2))
    spm, i, shape = place(config, WindowOp.MAC, dtype, x, w, bias, scale)
    got = run(config, dtype, spm, i, shape)
    for c in range(16):
        for oy in range(got.shape[1]):
            for ox in range(got.shape[2]):
                total = sum((unit(fraction(int(x[c, oy + r, ox + s]), dtype)
                                  * fraction(int(w[c, r, s]), dtype), dtype)
                             for r in range(kernel[0]) for s in range(kernel[1])
                             if w[c, r, s] != ABSENT), Fraction(0))
                value = np.float32(rounded(total)) * scale[c] + bias[c]
                with np.errstate(over="ignore"):
                    want = value.astype(NUMPY[dtype]).view(np.uint16)
                assert got[c, oy, ox] == want, (c, oy, ox)


@pytest.mark.parametrize("dtype", NUMPY)
def test_maxima(dtype: DType) -> None:
    """Of the taps that count; of none -infinity; of zeros the positive one."""
    config = PRESETS["core256_fp"]
    rng = np.random.default_rng(4)
    x, w = finite(rng, (16, 5, 5), dtype), finite(rng, (16, 2, 2), dtype)
    w[0], w[1] = ABSENT, 0
    w[2:][rng.random(w[2:].shape) < 0.3] = ABSENT
    x[1] = rng.choice([0, 0x8000], x[1].shape)
    ones = np.ones(16, np.float32)
    spm, i, shape = place(config, WindowOp.MAX, dtype, x, w, -0.0 * ones, ones)
    got = run(config, dtype, spm, i, shape)
    values = x.view(NUMPY[dtype]).astype(np.float64)
    assert np.isneginf(got[0].view(NUMPY[dtype]).astype(np.float64)).all()
    for oy in range(4):
        for ox in range(4):
            assert got[1, oy, ox] == (0 if (x[1, oy:oy + 2, ox:ox + 2] == 0).any() else 0x8000)
            for c in range(2, 16):
                taps = values[c, oy:oy + 2, ox:ox + 2][w[c] != ABSENT]
                want = taps.max() if taps.size else -np.inf
                assert float(got[c, oy, ox].view(NUMPY[dtype])) == want


def test_what_is_no_number() -> None:
    """NaN, infinities and overflows of BF16 products are in the results and in the counters."""
    config, dtype = PRESETS["core256_fp"], DType.BF16
    x = np.full((8, 1, 3), 0x3F80, np.uint16)
    x[0, 0, 0], x[1, 0, 0], x[2, 0, 0], x[3, 0, 0] = 0x7FC0, 0x7F80, 0xFF80, 0x7F00
    w = np.full((8, 1, 1), 0x3F80, np.uint16)
    w[3] = 0x7F00                        # 2^254 is no product
    zero, one = np.zeros(8, np.float32), np.ones(8, np.float32)
    spm, i, shape = place(config, WindowOp.MAC, dtype, x, w, zero, one)
    exceptions = Exceptions()
    got = run(config, dtype, spm, i, shape, exceptions)
    assert list(got[:4, 0, 0]) == [0x7FC0, 0x7F80, 0xFF80, 0x7F80]
    assert (exceptions.nan, exceptions.infinite) == (1, 2 + 3) and exceptions.overflow == 3
