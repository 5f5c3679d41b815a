# SPDX-License-Identifier: Apache-2.0
"""WINDOW against a depthwise convolution and a maximum written as loops, and its faults."""

import dataclasses

import numpy as np
import pytest

from golden import window
from golden.fault import MachineFault
from isa.config import PARAM_WORDS, Config
from isa.instructions import WINDOW_STEPS, Fault, Instruction, Opcode, WindowOp
from isa.presets import PRESETS

A_AT, W_AT, O_AT = 8, 512, 1200
ZERO = {"a_zp": -5, "w_zp": 3}

MOST = [((4, 7), 2), ((4, 5), 4)]
"""Kernels and strides that take WINDOW_STEPS steps at a tap a step; more taps reach fewer."""


def direct(op: WindowOp, x: np.ndarray, w: np.ndarray, stride: int, pad: int) -> np.ndarray:
    """``x`` [C, H, W], ``w`` [C, R, S] as integers: sums or maxima, by definition."""
    channels, height, width = x.shape
    _, rows, columns = w.shape
    oh, ow = (height + 2 * pad - rows) // stride + 1, (width + 2 * pad - columns) // stride + 1
    out = np.zeros((channels, oh, ow), np.int64)
    for c in range(channels):
        for y in range(oh):
            for xx in range(ow):
                taps = []
                for r in range(rows):
                    for s in range(columns):
                        iy, ix = y * stride - pad + r, xx * stride - pad + s
                        if 0 <= iy < height and 0 <= ix < width:
                            taps.append((int(x[c, iy, ix]), int(w[c, r, s])))
                out[c, y, xx] = (sum(a * b for a, b in taps) if op is WindowOp.MAC else
                                 max((a for a, b in taps if b), default=-32768))
    return out


def place(config: Config, op: WindowOp, m_split: int, kernel: tuple[int, int] = (3, 3),
          stride: int = 1) -> tuple[np.ndarray, dict[str, int], np.ndarray]:
    """Three blocks of channels of 5x6: the scratchpad, the instruction's fields, and the expected
    output [blocks, y, x, L]."""
    rng = np.random.default_rng(7)
    lanes, blocks, h, wd, pad = config.lanes, 3, 5, 6, 1
    rows, columns = kernel
    x = rng.integers(-128, 128, (blocks * lanes, h, wd))
    w = rng.integers(-128, 128, (blocks * lanes, rows, columns))
    w[rng.random(w.shape) < 0.3] = ZERO["w_zp"]
    bias = rng.integers(-100, 100, blocks * lanes)
    scale = rng.uniform(1e-3, 4e-3, blocks * lanes).astype(np.float32)
    if op is WindowOp.MAX:
        scale *= 200
    spm = rng.integers(0, 256, (config.spm_words, lanes), np.uint8)
    spm[A_AT:A_AT + blocks * h * wd] = (
        x.reshape(blocks, lanes, h, wd).transpose(0, 2, 3, 1).reshape(-1, lanes).astype(np.int8)
        .view(np.uint8))
    taps = config.window_taps
    ng = len(range(0, len(range(0, columns, stride)), taps))
    words = stride * rows * ng * taps + PARAM_WORDS
    for b in range(blocks):
        mine, at = slice(b * lanes, (b + 1) * lanes), W_AT + b * words
        for p in range(stride):
            for r in range(rows):
                for k in range(ng * taps):
                    if p + k * stride < columns:     # the others stay random: they do not matter
                        spm[at] = w[mine, r, p + k * stride].astype(np.int8).view(np.uint8)
                    at += 1
        spm[at:at + 4] = bias[mine].astype(np.int32).view(np.uint8).reshape(4, lanes)
        spm[at + 4:at + 8] = scale[mine].view(np.uint8).reshape(4, lanes)
    sums = direct(op, x - ZERO["a_zp"], w - ZERO["w_zp"], stride, pad)
    _, oh, ow = sums.shape
    gm = 1 << m_split
    gn, units = config.tiles // gm, -(-oh // gm)
    fields = dict(
        wop=op, nx=ow, ny=units, nnb=-(-blocks // gn), ns=columns, nr=rows, stride=stride, ng=ng,
        a_base=A_AT - pad, a_x=1, a_n=h * wd, a_row=-pad * wd, a_y=gm * stride * wd, a_r=wd,
        a_m=stride * wd, ix0=-pad, ix_x=1, iy0=-pad, iy_y=gm * stride, iy_r=1, iy_m=stride, iw=wd,
        ih=h, a_signed=1, w_base=W_AT, w_n=words, w_signed=1, m_split=m_split,
        m_last=oh - (units - 1) * gm, n_last=(blocks - 1) % gn + 1, o_base=O_AT, o_x=1,
        o_n=oh * ow, o_y=gm * ow, o_m=ow, z=3, lo=-128, hi=120, **ZERO)
    want = np.rint((sums + bias[:, None, None]).astype(np.float32) * scale[:, None, None]) + 3
    out = np.clip(want, -128, 120).reshape(blocks, lanes, oh, ow).transpose(0, 2, 3, 1)
    return spm, fields, out.astype(np.int8)


@pytest.mark.parametrize("op", WindowOp)
@pytest.mark.parametrize("kernel,stride", [((3, 3), 1), ((3, 3), 2), ((2, 5), 1), ((1, 1), 2),
                                           ((4, 7), 3), ((1, 2), 3)])
@pytest.mark.parametrize("name,m_split", [("tiny", 0), ("core256", 0), ("core1024", 0),
                                          ("core1024", 1), ("core1024", 2)])
def test_definition(name: str, m_split: int, kernel: tuple[int, int], stride: int,
                    op: WindowOp) -> None:
    config = PRESETS[name]
    spm, fields, want = place(config, op, m_split, kernel, stride)
    assert len(np.unique(want)) > 15
    before = spm.copy()
    window.execute(Instruction(Opcode.WINDOW, fields), 0, spm, config)
    size = want.size // config.lanes
    assert np.array_equal(spm[O_AT:O_AT + size].view(np.int8).reshape(want.shape), want)
    before[O_AT:O_AT + size] = spm[O_AT:O_AT + size]
    assert np.array_equal(before, spm), "wrote outside its output"


@pytest.mark.parametrize("taps", [1, 2, 4])
def test_weight_order_follows_the_taps(taps: int) -> None:
    config = dataclasses.replace(PRESETS["core256"], window_taps=taps)
    spm, fields, want = place(config, WindowOp.MAC, 0, (3, 5), 2)
    window.execute(Instruction(Opcode.WINDOW, fields), 0, spm, config)
    got = spm[O_AT:O_AT + want.size // config.lanes].view(np.int8)
    assert np.array_equal(got.reshape(want.shape), want)


@pytest.mark.parametrize("kernel, stride", MOST)
def test_as_many_steps_as_the_weight_stores_hold(kernel: tuple[int, int], stride: int) -> None:
    config = dataclasses.replace(PRESETS["core256"], window_taps=1)
    spm, fields, want = place(config, WindowOp.MAC, 0, kernel, stride)
    assert fields["stride"] * fields["nr"] * fields["ng"] == WINDOW_STEPS
    window.execute(Instruction(Opcode.WINDOW, fields), 0, spm, config)
    got = spm[O_AT:O_AT + want.size // config.lanes].view(np.int8)
    assert np.array_equal(got.reshape(want.shape), want)


def test_rows_on_a_circle_and_shared_weights() -> None:
    """Rows that lie turned by two in their circle of five, and one block of weights for all, give
    what they give in their places."""
    config = PRESETS["core256"]
    spm, fields, _ = place(config, WindowOp.MAC, 0, (2, 3))
    wd = fields["iw"]
    fields |= dict(iy0=0, a_row=0, ny=4, o_n=24, w_n=0, a_n=0, nnb=1, n_last=1)
    turned = spm.copy()
    image = spm[A_AT:A_AT + 5 * wd].reshape(5, wd, -1)
    turned[A_AT:A_AT + 5 * wd] = np.roll(image, 2, axis=0).reshape(5 * wd, -1)
    window.execute(Instruction(Opcode.WINDOW, fields), 0, spm, config)
    window.execute(Instruction(Opcode.WINDOW, dict(fields, a_row=2 * wd, a_wrap=5 * wd, nnb=2)), 0,
                   turned, config)
    assert np.array_equal(turned[O_AT:O_AT + 24], spm[O_AT:O_AT + 24])
    assert np.array_equal(turned[O_AT + 24:O_AT + 48], spm[O_AT:O_AT + 24])


BAD = [
    *(({name: 0}, Fault.BAD_FIELD) for name in ("nx", "ny", "nnb", "ns", "nr", "stride", "ng",
                                                "m_last", "n_last")),
    ({"ng": 2}, Fault.BAD_FIELD), ({"ns": 7, "ng": 3, "nr": 7, "stride": 1}, None),
    ({"ns": 7, "ng": 1, "nr": 7, "stride": 5}, Fault.BAD_FIELD),
    ({"m_split": 1}, Fault.BAD_FIELD), ({"m_split": 3, "m_last": 1}, Fault.BAD_FIELD),
    ({"m_last": 2}, Fault.BAD_FIELD), ({"n_last": 2}, Fault.BAD_FIELD),
    ({"a_wrap": 20, "a_row": 25}, Fault.BAD_FIELD), ({"o_wrap": 3}, Fault.BAD_FIELD),
    ({"a_base": 2040}, Fault.SPM_RANGE), ({"a_base": -40}, Fault.SPM_RANGE),
    ({"o_base": -1}, Fault.SPM_RANGE), ({"w_base": 2040}, Fault.SPM_RANGE),
    ({"w_n": -600}, Fault.SPM_RANGE), ({"iw": 0, "a_base": 5000}, None),
]
"""Changes of a legal instruction on ``tiny``, and the fault that each is."""


@pytest.mark.parametrize("change,code", BAD)
def test_faults(change: dict[str, int], code: Fault | None) -> None:
    config = PRESETS["tiny"]
    spm, fields, _ = place(config, WindowOp.MAC, 0)
    i = Instruction(Opcode.WINDOW, {**fields, **change})
    if code is None:
        spm[W_AT:O_AT] = np.frombuffer(np.float32(0.01).tobytes(), np.uint8)
        window.execute(i, 5, spm, config)
        return
    with pytest.raises(MachineFault) as e:
        window.execute(i, 5, spm, config)
    assert (e.value.code, e.value.index) == (code, 5)
