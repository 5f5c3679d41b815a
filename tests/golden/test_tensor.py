# SPDX-License-Identifier: Apache-2.0
"""TENSOR against a convolution written as loops, and its faults."""

import numpy as np
import pytest

from golden.fault import MachineFault
from golden.results import Exceptions
from golden.tensor import Tensor
from isa.config import PARAM_WORDS, Config
from isa.instructions import DType, Fault, Instruction, Opcode
from isa.presets import PRESETS
from tests.bad_instructions import BASE, scratchpad


def direct(x: np.ndarray, w: np.ndarray, stride: int, pad: int) -> np.ndarray:
    """``x`` [C, H, W], ``w`` [N, C, R, S] as integers: the convolution's sums, by definition."""
    n, c, r, s = w.shape
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    oh = (padded.shape[1] - r) // stride + 1
    ow = (padded.shape[2] - s) // stride + 1
    out = np.zeros((n, oh, ow), np.int64)
    for y in range(oh):
        for xx in range(ow):
            window = padded[:, y * stride:y * stride + r, xx * stride:xx * stride + s]
            out[:, y, xx] = (w * window).sum(axis=(1, 2, 3))
    return out


def place(config: Config, m_split: int) -> tuple[np.ndarray, dict[str, int], np.ndarray]:
    """A 3x3 stride-2 convolution of 2L channels of 7x6 to L + 1 channels on a scratchpad: the
    scratchpad, the instruction's fields, and the expected output [blocks, y, x, L]."""
    rng = np.random.default_rng(7)
    lanes, per = config.lanes, config.granules
    c, h, wd, n, stride, pad = 2 * lanes, 7, 6, lanes + 1, 2, 1
    x = rng.integers(-128, 128, (c, h, wd))
    w = rng.integers(-128, 128, (n, c, 3, 3))
    bias = rng.integers(-1000, 1000, n)
    scale = rng.uniform(1e-3, 4e-3, n).astype(np.float32)
    oh, ow = 4, 3
    gm, blocks = 1 << m_split, 2
    gn = config.tiles // gm
    groups = -(-blocks // gn)
    spm = rng.integers(0, 256, (config.spm_words, lanes), np.uint8)
    a_at, o_at, w_at = 8, 300, 512
    spm[a_at:a_at + 2 * h * wd] = (x.reshape(2, lanes, h, wd).transpose(0, 2, 3, 1)
                                   .reshape(-1, lanes).astype(np.int8).view(np.uint8))
    full = np.zeros((groups * gn * lanes, c, 3, 3), np.int64)
    full[:n] = w
    stream = []
    for group in range(groups):
        mine = full.reshape(groups, gn, lanes, 2, lanes, 3, 3)[group]
        for r in range(3):
            for s in range(3):
                for cb in range(2):
                    stream += [mine[k, :, cb, :, r, s].astype(np.int8).view(np.uint8)
                               for k in range(gn)]
        for k in range(gn):
            at = (group * gn + k) * lanes
            params = np.zeros((2, lanes), np.float32)
            params[1] = 1
            words = np.zeros((2, lanes), np.int32)
            count = max(0, min(lanes, n - at))
            words[0, :count] = bias[at:at + count]
            params[1, :count] = scale[at:at + count]
            words[1] = params[1].view(np.int32)
            stream.append(words.view(np.uint8).reshape(PARAM_WORDS, lanes))
    stream_words = np.concatenate(stream)
    spm[w_at:w_at + len(stream_words)] = stream_words
    ny, nx = 2 if gm == 1 else 1, 2
    rows = -(-oh // gm)
    fields = dict(
        nx=nx, ny=ny, ncb=2, ns=3, nr=3, nnb=groups, ntx=2, nty=-(-rows // ny), nx_last=1,
        ny_last=rows - (-(-rows // ny) - 1) * ny,
        a_base=per * (a_at - pad), a_x=per * stride, a_s=per, a_cb=per * h * wd,
        a_row=-per * pad * wd, a_y=per * gm * stride * wd, a_r=per * wd, a_m=per * stride * wd,
        ix0=-pad, ix_x=stride, ix_s=1, iy0=-pad, iy_y=gm * stride, iy_r=1, iy_m=stride,
        iw=wd, ih=h, a_signed=1, w_base=w_at, w_signed=1, m_split=m_split,
        m_last=oh - (rows - 1) * gm, n_last=blocks - (groups - 1) * gn,
        o_base=o_at, o_x=1, o_n=oh * ow, o_y=gm * ow, o_m=ow, z1=3, lo1=-128, hi1=127)
    sums = direct(x, w, stride, pad) + bias[:, None, None]
    want = np.rint(sums.astype(np.float32) * scale[:, None, None]) + 3
    out = np.zeros((blocks * lanes, oh, ow), np.int64)
    out[n:] = 3
    out[:n] = np.clip(want, -128, 127)
    out = out.reshape(blocks, lanes, oh, ow).transpose(0, 2, 3, 1).astype(np.int8)
    return spm, fields, out


@pytest.mark.parametrize("name,m_split", [("tiny", 0), ("ecp5", 0), ("core256", 0),
                                          ("core1024", 0), ("core1024", 1), ("core1024", 2)])
def test_convolution(name: str, m_split: int) -> None:
    config = PRESETS[name]
    spm, fields, want = place(config, m_split)
    before = spm.copy()
    Tensor(config).execute(Instruction(Opcode.TENSOR, fields), 0, spm)
    at, size = fields["o_base"], want.size // config.lanes
    got = spm[at:at + size].view(np.int8).reshape(want.shape)
    assert np.array_equal(got, want)
    before[at:at + size] = spm[at:at + size]
    assert np.array_equal(before, spm), "wrote outside its output"


def test_a_reduction_in_two_instructions() -> None:
    """HOLD and ACC: kernel rows 0 and 1, then row 2, give what one instruction gives."""
    config = PRESETS["core256"]
    spm, fields, want = place(config, 0)
    whole = dict(fields, nnb=1, ntx=1, nx=3, nx_last=3, ny=4, nty=1, ny_last=4, n_last=1)
    engine = Tensor(config)
    per, lanes = config.granules, config.lanes
    first = dict(whole, nr=2, hold=1)
    second = dict(whole, nr=1, acc=1, a_row=whole["a_row"] + 2 * whole["a_r"],
                  iy0=whole["iy0"] + 2, w_base=whole["w_base"] + 2 * 3 * 2 * lanes)
    assert per == 4
    engine.execute(Instruction(Opcode.TENSOR, first), 0, spm)
    engine.execute(Instruction(Opcode.TENSOR, second), 1, spm)
    got = spm[fields["o_base"]:][:12].view(np.int8).reshape(4, 3, lanes)
    assert np.array_equal(got, want[0])


@pytest.mark.parametrize("at", [0, 1])
def test_overflows_of_a_held_bank(at: int) -> None:
    """A BF16 product that overflows in either of two instructions which share a bank is counted,
    once for each of its sums, when they are written."""
    config = PRESETS["tiny_fp"]
    spm = np.zeros((config.spm_words, config.lanes), np.uint8)
    numbers, huge = spm.view(np.uint16), 0x7F00     # 2^127, squared 2^240 above the anchor
    a_at, w_at, o_at = (8, 9), (64, 128), 512
    numbers[a_at[at]] = huge
    for first in w_at:
        numbers[first:first + config.lanes, 0] = huge
        spm[first + config.lanes:][:PARAM_WORDS].reshape(2, -1).view(np.float32)[1] = 1
    fields = {name: 1 for name in ("nx", "ny", "ncb", "ns", "nr", "nnb", "ntx", "nty", "nx_last",
                                   "ny_last", "m_last", "n_last", "iw", "ih", "o_n")}
    fields |= dict(dtype=DType.BF16, o_type=DType.BF16, lo_f=0xFC00, hi_f=0x7C00, o_base=o_at)
    exceptions = Exceptions()
    engine = Tensor(config, exceptions)
    for index, flag in enumerate(("hold", "acc")):
        engine.execute(Instruction(Opcode.TENSOR, dict(
            fields, a_base=config.granules * a_at[index], w_base=w_at[index], **{flag: 1})),
            index, spm)
    assert (numbers[o_at:o_at + 2] == 0x7F80).all()
    assert (exceptions.overflow, exceptions.infinite) == (config.lanes, config.lanes)


@pytest.mark.parametrize("change,code", [
    ({"nx": 0}, Fault.BAD_FIELD), ({"ny": 200, "ny_last": 2}, Fault.BAD_FIELD),
    ({"m_split": 1}, Fault.BAD_FIELD), ({"w_base": 513}, Fault.BAD_FIELD),
    ({"a_base": 4 * 32768}, Fault.SPM_RANGE), ({"o_base": -40}, Fault.SPM_RANGE),
    ({"w_base": 32766}, Fault.SPM_RANGE)])
def test_faults(change: dict[str, int], code: Fault) -> None:
    config = PRESETS["core256"]
    spm, fields, _ = place(config, 0)
    with pytest.raises(MachineFault) as e:
        Tensor(config).execute(Instruction(Opcode.TENSOR, {**fields, **change}), 5, spm)
    assert (e.value.code, e.value.index) == (code, 5)


def test_passes_of_a_held_bank_add_up() -> None:
    """Over any number of instructions: the longest reduction is that of all of them."""
    config = PRESETS["tiny_fp"]
    tensor, spm = Tensor(config), scratchpad(config)
    base = {**BASE[Opcode.TENSOR], "dtype": DType.FP16, "o_type": DType.FP16}
    for fields, passes in (({"hold": 1, "nr": 3}, 3), ({"hold": 1, "acc": 1, "nr": 2, "ns": 2}, 7),
                           ({"hold": 1, "acc": 1}, 8), ({"hold": 1, "nr": 2}, 2)):
        tensor.execute(Instruction(Opcode.TENSOR, {**base, **fields}), 0, spm)
        assert tensor.passes == passes
