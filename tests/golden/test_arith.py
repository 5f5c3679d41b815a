# SPDX-License-Identifier: Apache-2.0
"""The contract's formulas against exact rational arithmetic, rounded step by step by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest

from golden import arith


def to_binary32(value: Fraction) -> Fraction:
    """``value`` rounded to the nearest binary32 number, ties to even (normal range)."""
    if value == 0:
        return value
    exponent = math.floor(math.log2(abs(value)))
    while abs(value) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while abs(value) < Fraction(2) ** exponent:
        exponent -= 1
    ulp = Fraction(2) ** (exponent - 23)
    return round(value / ulp) * ulp          # Fraction's round goes to even


def clip(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


def test_requantize() -> None:
    rng = np.random.default_rng(0)
    acc = np.concatenate([[0, 5, -5, 3, 2**31 - 1, -2**31, 16777217, 33554435],
                          rng.integers(-2**31, 2**31, 300), rng.integers(-4000, 4000, 700)])
    scale = np.concatenate([[1, 0.5, 0.5, 0.5, 2.0**-24, 2.0**-25, 2.0**-20, 2.0**-21],
                            10 ** rng.uniform(-10, -6, 300),
                            10 ** rng.uniform(-3, -1, 700)]).astype(np.float32)
    got = arith.requantize(acc.astype(np.int32), scale, 3, -128, 127)
    for a, s, g in zip(acc, scale, got, strict=True):
        product = to_binary32(to_binary32(Fraction(int(a))) * Fraction(float(s)))
        assert g == clip(round(product) + 3, -128, 127), (a, s)


def test_add() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(-255, 256, (2, 1000))
    for scale_a, scale_b in ((0.5, 0.25), (0.0371, 1.913), (0.1, 0.3)):
        p, q = np.float32(scale_a), np.float32(scale_b)
        got = arith.add(a, p, b, q, -5, 0, 255)
        for x, y, g in zip(a, b, got, strict=True):
            left = to_binary32(int(x) * Fraction(float(p)))
            right = to_binary32(int(y) * Fraction(float(q)))
            assert g == clip(round(to_binary32(left + right)) - 5, 0, 255)


def test_operand_keeps_nine_bits() -> None:
    raw = np.array([0, 1, 127, 128, 255], np.uint8)
    assert arith.operand(raw, 0, 255).tolist() == [-255, -254, -128, -127, 0]
    assert arith.operand(raw, 1, -128).tolist() == [128, 129, 255, 0, 127]
    assert arith.operand(raw, 0, -200).tolist() == [200, 201, -185, -184, -57]


LOW, HIGH = (int(np.float32(v).view(np.uint32)) for v in (2.0 ** -100, 2.0 ** 32))
MINUS = 1 << 31


def beside_one(bits: int) -> np.ndarray:
    """1 and the number of a pattern (binary32)."""
    return np.array([0x3F80_0000, bits], np.uint32).view(np.float32)


@pytest.mark.parametrize("bits", [0, 1, LOW - 1, HIGH, 0x7F80_0000, 0x7F80_0001, 0x7FC0_0000])
def test_illegal_scales(bits: int) -> None:
    for scales in (beside_one(bits), beside_one(MINUS | bits)):
        assert not arith.is_scale(scales) and not arith.is_factor(scales)


@pytest.mark.parametrize("bits", [LOW, HIGH - 1])
def test_legal_scales(bits: int) -> None:
    plus, minus = beside_one(bits), beside_one(MINUS | bits)
    assert arith.is_scale(plus) and arith.is_factor(plus)
    assert not arith.is_scale(minus) and arith.is_factor(minus)
