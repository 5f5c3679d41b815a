# SPDX-License-Identifier: Apache-2.0
"""The tensor engine on floating point against the golden model: types in, out and added. Every
combination of them, with random instructions, is in tests/e2e."""

from dataclasses import replace

import numpy as np
import pytest

from golden.fault import MachineFault
from golden.results import Exceptions
from golden.tensor import Tensor
from isa.config import PARAM_WORDS, Config
from isa.instructions import ABSENT, DType, Fault, Instruction, Opcode
from tests.hw.tensor.test_engine import SMALL, bench

FLOATS = ("int8", "fp16", "bf16")
MACHINES = {name: replace(SMALL[name], dtypes=FLOATS) for name in (
    "tiny", "8x8", "4 x 4x4")}
ANCHOR = -70


def numbers(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
    """Bytes of elements: numbers near one, some zeros, few special ones."""
    value = rng.standard_normal(shape) * 2.0 ** rng.integers(-6, 3, shape)
    value = np.where(rng.integers(0, 8, shape) == 0, 0, value).astype(np.float32)
    value = np.where(rng.integers(0, 500, shape) == 0, np.float32(np.inf), value)
    if dtype is DType.INT8:
        return rng.integers(0, 256, shape).astype(np.uint8)
    if dtype is DType.FP16:
        return value.astype(np.float16).view(np.uint8)
    if dtype is DType.BF16:
        return (value.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    return value.view(np.uint8)


def program(config: Config, dtype: DType, o_type: DType, r_type: DType | None, m_split: int,
            seed: int) -> tuple[np.ndarray, dict[str, int]]:
    """A 3 x 2 convolution with stride, padding and rectangles on a scratchpad, and its fields."""
    rng = np.random.default_rng(seed)
    lanes, per = config.lanes, config.granules
    gm, h, wd, ncb, blocks = 1 << m_split, 6, 5, 2, 3
    gn = config.tiles // gm
    groups, oh, ow = -(-blocks // gn), 4, 3
    spm = rng.integers(0, 256, (config.spm_words, lanes), np.uint8)
    per_word = lanes // dtype.size
    a_at = 8
    spm[a_at:a_at + ncb * h * wd] = numbers(rng, (ncb * h * wd, per_word), dtype)
    passes = 3 * 2 * ncb
    w_at = -(-(a_at + ncb * h * wd) // 4) * 4
    stream = []
    for _ in range(groups):
        weights = numbers(rng, (passes * gn * lanes, per_word), dtype)
        if dtype is not DType.INT8:
            patterns = weights.view(np.uint16)
            patterns[rng.integers(0, 10, patterns.shape) == 0] = ABSENT
        stream.append(weights)
        for _ in range(gn):
            params = np.zeros((2, lanes), np.uint32)
            if dtype is DType.INT8:
                params[0] = rng.integers(-2000, 2000, lanes).astype(np.int32).view(np.uint32)
                params[1] = rng.uniform(1e-3, 4e-3, lanes).astype(np.float32).view(np.uint32)
            else:
                params[0] = rng.standard_normal(lanes).astype(np.float32).view(np.uint32)
                params[1] = rng.choice([1.0, 0.37], lanes).astype(np.float32).view(np.uint32)
            if o_type is DType.INT8 and dtype is not DType.INT8:
                params[1] = np.float32(20).view(np.uint32)
            stream.append(params.view(np.uint8).reshape(PARAM_WORDS, lanes))
    words = np.concatenate(stream)
    spm[w_at:w_at + len(words)] = words
    o_at = w_at + len(words)
    out_words = groups * gn * o_type.size * oh * ow
    r_at = o_at + out_words
    assert r_at + out_words <= config.spm_words
    if r_type is not None:
        spm[r_at:r_at + out_words] = numbers(rng, (out_words, lanes // r_type.size), r_type)
    ny, rows = (2 if gm == 1 else 1), -(-oh // gm)
    scale = np.array([0.75, -0.4], np.float32).view(np.uint32)
    integers = dtype is o_type is DType.INT8 and r_type in (None, DType.INT8)
    fields = dict(
        nx=2, ny=ny, ncb=ncb, ns=2, nr=3, nnb=groups, ntx=2, nty=-(-rows // ny), nx_last=1,
        ny_last=rows - (-(-rows // ny) - 1) * ny,
        a_base=per * a_at, a_x=per * 2, a_s=per, a_cb=per * h * wd,
        a_row=-per * wd, a_y=per * gm * wd, a_r=per * wd, a_m=per * wd,
        ix0=0, ix_x=2, ix_s=1, iy0=-1, iy_y=gm, iy_r=1, iy_m=1, iw=wd, ih=h, a_signed=1,
        a_zp=3 if dtype is DType.INT8 else 0, w_base=w_at, w_signed=1, m_split=m_split,
        m_last=oh - (rows - 1) * gm, n_last=blocks - (groups - 1) * gn,
        o_base=o_at, o_x=1, o_n=oh * ow, o_y=gm * ow, o_m=ow, z1=3, lo1=-128, hi1=100,
        dtype=dtype, o_type=o_type, anchor=ANCHOR, lo_f=0xC400, hi_f=0x4800,
        w_skip=o_type.size // 2, scale_a=int(scale[0]), z2=1, lo2=-128, hi2=127,
        scale_r=int(scale[0] if integers else scale[1]))
    if r_type is not None:
        fields |= dict(residual=1, r_type=r_type, r_base=r_at, r_n=oh * ow, r_signed=1, r_zp=5)
    return spm, fields


def compare(config: Config, spm: np.ndarray, instructions: list[Instruction],
            rivalry: float = 0.0) -> Exceptions:
    """Golden model and RTL on the same instructions, scratchpad and counts."""
    want, counts = spm.copy(), Exceptions()
    golden = Tensor(config, counts)
    for index, i in enumerate(instructions):
        golden.execute(i, index, want)
    machine = bench(config)
    got, _, fault = machine.run(spm, instructions, rivalry=rivalry)
    assert fault is None
    different = np.argwhere((got != want).any(axis=1)).ravel()
    assert not different.size, f"words {different[:8]}: {got[different[0]]} {want[different[0]]}"
    assert machine.kinds == {"nan": counts.nan, "infinite": counts.infinite,
                           "overflow": counts.overflow}
    return counts


@pytest.mark.parametrize("name,m_split,dtype,o_type,r_type", [
    ("tiny", 0, DType.FP16, DType.FP16, DType.FP16), ("tiny", 0, DType.INT8, DType.FP16, None),
    ("tiny", 0, DType.BF16, DType.FP32, DType.BF16),
    ("tiny", 0, DType.INT8, DType.FP32, DType.FP32),
    ("8x8", 0, DType.FP16, DType.INT8, DType.INT8),
    ("4 x 4x4", 0, DType.BF16, DType.BF16, DType.INT8)])
def test_types(name: str, m_split: int, dtype: DType, o_type: DType, r_type: DType | None
               ) -> None:
    spm, fields = program(MACHINES[name], dtype, o_type, r_type, m_split, seed=2)
    compare(MACHINES[name], spm, [Instruction(Opcode.TENSOR, fields)], rivalry=0.4)


def test_one_after_the_other() -> None:
    """Instructions of different types follow one another without a wait."""
    config = MACHINES["tiny"]
    spm, fields = program(config, DType.FP16, DType.FP16, None, 0, seed=3)
    second = dict(fields, dtype=DType.BF16, o_type=DType.FP32, w_skip=0, ny=1, nty=1, ny_last=1,
                  nnb=1)
    third = dict(fields, dtype=DType.INT8, o_type=DType.INT8, w_skip=0, nnb=1)
    compare(config, spm, [Instruction(Opcode.TENSOR, f) for f in (fields, third, second, fields)])


def test_held_sums() -> None:
    """A reduction in two instructions gives the bits of one."""
    config = MACHINES["8x8"]
    spm, fields = program(config, DType.FP16, DType.FP16, None, 0, seed=4)
    one = dict(fields, nnb=1, ntx=1, nty=1, nx=3, nx_last=3, ny=2, ny_last=2, n_last=1, w_skip=0)
    half = len(range(3 * 2 * 2)) // 3 * config.lanes  # weights of a kernel row
    first = dict(one, nr=1, hold=1)
    rest = dict(one, nr=2, acc=1, w_base=fields["w_base"] + half,
                a_row=one["a_row"] + one["a_r"], iy0=one["iy0"] + 1)
    whole, parts = spm.copy(), spm.copy()
    Tensor(config).execute(Instruction(Opcode.TENSOR, one), 0, whole)
    golden = Tensor(config)
    for index, f in enumerate((first, rest)):
        golden.execute(Instruction(Opcode.TENSOR, f), index, parts)
    np.testing.assert_array_equal(whole, parts)
    compare(config, spm, [Instruction(Opcode.TENSOR, f) for f in (first, rest)])


@pytest.mark.parametrize("change", [
    {"dtype": DType.FP32}, {"lane_dx": 3}, {"w_skip": 2}, {"nr": 255, "ncb": 100},
    {"residual": 1, "r_type": DType.FP32, "scale_r": 0x3F800000}])
@pytest.mark.parametrize("floats", (True, False))
def test_faults(change: dict[str, int], floats: bool) -> None:
    """What the machine cannot do stops it, by name and place."""
    config = MACHINES["8x8"] if floats else SMALL["8x8"]
    spm, fields = program(MACHINES["8x8"], DType.FP16, DType.FP16, None, 0, seed=1)
    bad = Instruction(Opcode.TENSOR, {**fields, **change})
    with pytest.raises(MachineFault) as e:
        Tensor(config).execute(bad, 0, spm.copy())
    assert e.value.code == Fault.BAD_FIELD
    assert bench(config).run(spm, [bad])[2] == (Fault.BAD_FIELD, 0)
