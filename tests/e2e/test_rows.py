# SPDX-License-Identifier: Apache-2.0
"""Softmax and layer normalization of tokens, whose channels lie in blocks, by VECTORs alone: golden
model and RTL bit for bit, and both against binary64."""

from collections.abc import Callable

import numpy as np
import pytest

from golden.machine import Machine
from isa.instructions import DType, Instruction, Opcode, VectorOp
from isa.presets import PRESETS
from sim.device import RtlDevice
from tests.e2e.programs import program

CONFIG = PRESETS["tiny_fp"]
TOKENS, CHANNELS = 7, 24
PER = CONFIG.lanes // 2
BLOCKS = CHANNELS // PER
X, ROW, WIDE, E, SQUARE, OUT, EPSILON = (256 * k for k in range(1, 8))
"""Words of operands, of a number for each token in FP16 and in FP32, and so on."""


def bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


def pass_over(vop: VectorOp, a: int, o: int, scale: float = 1.0, **fields: int) -> Instruction:
    """A VECTOR over all elements, FP16 unless ``fields`` say otherwise."""
    return Instruction(Opcode.VECTOR, {**dict(
        vop=vop, nx=TOKENS, ny=1, ncb=BLOCKS, ns=1, nr=1, a_base=a, a_x=1, a_cb=TOKENS, ix_x=1,
        iw=TOKENS, ih=1, b_x=1, o_base=o, o_x=1, o_cb=TOKENS, scale_a=bits(scale),
        scale_b=bits(1), a_type=DType.FP16, b_type=DType.FP16, o_type=DType.FP16, lo_f=0xFC00,
        hi_f=0x7C00), **fields})


def of_tokens(vop: VectorOp, a: int, o: int, o_type: DType, scale: float = 1.0) -> Instruction:
    """Maximum or sum over each token's channels: its blocks are the rows of a window."""
    return pass_over(vop, a, o, scale, ncb=1, nr=BLOCKS, a_r=TOKENS, fold=1, o_type=o_type)


def of_numbers(vop: VectorOp, **fields: int) -> Instruction:
    """A function of each token's number, FP32 at WIDE to FP16 at ROW: two words make one."""
    return pass_over(vop, WIDE, ROW, ncb=2, a_cb=0, a_type=DType.FP32, **fields)


def softmax(scale: float) -> list[Instruction]:
    """Of ``scale * x``."""
    return [
        of_tokens(VectorOp.MAX, X, ROW, DType.FP16),
        pass_over(VectorOp.EXP, X, E, scale, plus=1, b_base=ROW, scale_b=bits(-scale)),
        of_tokens(VectorOp.SUM, E, WIDE, DType.FP32),
        of_numbers(VectorOp.RECIPROCAL),
        pass_over(VectorOp.MUL, E, OUT, b_base=ROW)]


def layer_norm() -> list[Instruction]:
    return [
        of_tokens(VectorOp.SUM, X, ROW, DType.FP16, 1 / CHANNELS),
        pass_over(VectorOp.ADD, X, E, b_base=ROW, scale_b=bits(-1)),
        pass_over(VectorOp.MUL, E, SQUARE, b_base=E, b_cb=TOKENS),
        of_tokens(VectorOp.SUM, SQUARE, WIDE, DType.FP32, 1 / CHANNELS),
        of_numbers(VectorOp.RSQRT, plus=1, b_base=EPSILON, b_x=0, b_type=DType.FP32),
        pass_over(VectorOp.MUL, E, OUT, b_base=ROW)]


def exact_softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x / 2 - (x / 2).max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def exact_layer_norm(x: np.ndarray) -> np.ndarray:
    c = x - x.mean(axis=1, keepdims=True)
    return c / np.sqrt((c * c).mean(axis=1, keepdims=True) + 1e-5)


@pytest.mark.parametrize("made,exact,least", [
    (softmax(0.5), exact_softmax, 2 ** -10), (layer_norm(), exact_layer_norm, 1)],
    ids=["softmax", "layer norm"])
def test_rows(made: list[Instruction], exact: Callable[[np.ndarray], np.ndarray], least: float
              ) -> None:
    """Errors of ``least`` and more are relative, below absolute: a difference from the mean has
    lost what both have in common."""
    x = np.random.default_rng(2).normal(0.3, 2, (TOKENS, CHANNELS)).astype(np.float16)
    memory = np.zeros((CONFIG.spm_words, CONFIG.lanes), np.uint8)
    words = np.ascontiguousarray(x.reshape(TOKENS, BLOCKS, PER).transpose(1, 0, 2))
    memory[X:X + BLOCKS * TOKENS] = words.view(np.uint8).reshape(-1, CONFIG.lanes)
    memory[EPSILON].view(np.float32)[:] = 1e-5
    p = program(CONFIG, made)
    want = Machine(CONFIG).run(p.image, memory.reshape(-1), p.region_sizes)
    with RtlDevice(CONFIG) as device:
        device.load(p)
        got = device.execute(memory.reshape(-1)).outputs
    np.testing.assert_array_equal(got, want)
    out = got.reshape(memory.shape)[OUT:OUT + BLOCKS * TOKENS].view(np.float16)
    out = out.reshape(BLOCKS, TOKENS, PER).transpose(1, 0, 2).reshape(TOKENS, CHANNELS)
    reference = exact(x.astype(np.float64))
    assert (np.abs(out - reference) / np.maximum(np.abs(reference), least)).max() < 2 ** -10
