# SPDX-License-Identifier: Apache-2.0
"""The vector engine's functions against binary64, over every FP16 input and random binary32, and
their tables."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from golden.functions import evaluate, lookup
from isa.functions import INVERSE, POWER, ROOTS, TAILS, VALUE_BITS, Table
from isa.instructions import VectorOp


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.where(x >= 0, 1 / (1 + np.exp(-x)), np.exp(x) / (1 + np.exp(x)))


def erfc(x: np.ndarray) -> np.ndarray:
    return np.frompyfunc(math.erfc, 1, 1)(x).astype(np.float64)


def gelu(x: np.ndarray) -> np.ndarray:
    return np.where(x == -np.inf, -0.0, x * erfc(-x / 2 ** 0.5) / 2)


def tail(t: np.ndarray) -> np.ndarray:
    return np.exp(t * t / 2) * erfc(t / 2 ** 0.5)


EXACT: dict[VectorOp, Callable[[np.ndarray], np.ndarray]] = {
    VectorOp.EXP: np.exp, VectorOp.RECIPROCAL: lambda x: 1 / x, VectorOp.SIGMOID: sigmoid,
    VectorOp.TANH: np.tanh, VectorOp.RSQRT: lambda x: 1 / np.sqrt(x), VectorOp.GELU: gelu}

ULP = {VectorOp.EXP: 0.5002, VectorOp.RECIPROCAL: 0.5000, VectorOp.SIGMOID: 0.5002,
       VectorOp.TANH: 0.5032, VectorOp.RSQRT: 0.5000, VectorOp.GELU: 0.5001}
"""Largest errors after rounding to FP16, in units of the last place; docs/numerics.md states
them."""

RELATIVE = {VectorOp.EXP: 2 ** -20.7, VectorOp.RECIPROCAL: 2 ** -21.9,
            VectorOp.SIGMOID: 2 ** -20.7, VectorOp.TANH: 2 ** -15.8, VectorOp.RSQRT: 2 ** -22.8,
            VectorOp.GELU: 2 ** -20.2}
"""Largest relative errors in binary32, of FP16 inputs."""

SINGLE = {**RELATIVE, VectorOp.EXP: 2 ** -20.3, VectorOp.RECIPROCAL: 2 ** -21.8,
          VectorOp.SIGMOID: 2 ** -20.3, VectorOp.TANH: 2 ** -14.9}
"""The same of binary32 inputs, results below 2^-125 apart."""


@pytest.mark.parametrize("op", EXACT)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_half(op: VectorOp) -> None:
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    want = EXACT[op](x.astype(np.float64))
    single = evaluate(op, x.astype(np.float32))
    half = single.astype(np.float16)
    nearest = want.astype(np.float16)
    np.testing.assert_array_equal(np.isnan(half), np.isnan(want))
    number = ~np.isnan(want) & np.isfinite(nearest)
    infinite = ~np.isnan(want) & ~np.isfinite(nearest)
    np.testing.assert_array_equal(half[infinite], nearest[infinite])
    place = 2.0 ** (np.maximum(np.floor(np.log2(np.maximum(np.abs(want), 2.0 ** -40))), -14) - 10)
    assert (np.abs(half.astype(np.float64) - want) / place)[number].max() <= ULP[op]
    assert (half != nearest)[number].sum() <= 20
    normal = number & (np.abs(want) > 2.0 ** -100)
    assert (np.abs(single - want) / np.abs(want))[normal].max() <= RELATIVE[op]


@pytest.mark.parametrize("op", EXACT)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_singles(op: VectorOp) -> None:
    """Random patterns, and random magnitudes from 2^-17 to 2^6."""
    rng = np.random.default_rng(op)
    patterns = rng.integers(0, 1 << 32, 1 << 17, np.uint32).view(np.float32)
    sized = (np.exp2(rng.uniform(-17, 6, 1 << 17)) * rng.choice([-1, 1], 1 << 17))
    x = np.concatenate([patterns, sized.astype(np.float32)])
    x = x[~(np.abs(x) < 2.0 ** -126)]
    want = EXACT[op](x.astype(np.float64))
    got = evaluate(op, x)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    normal = (np.abs(want) >= 2.0 ** -125) & (np.abs(want) < 2.0 ** 127)
    assert (np.abs(got - want) / np.abs(want))[normal].max() <= SINGLE[op]
    assert (np.abs(got[np.abs(want) < 2.0 ** -125]) <= 2.0 ** -125).all()
    np.testing.assert_array_equal(np.signbit(got)[normal], np.signbit(want)[normal])


@pytest.mark.parametrize("op,x,want", [
    (VectorOp.EXP, [0.0, -0.0, -np.inf, np.inf, 88.8, -87.4, 1e38], [1, 1, 0, np.inf, np.inf, 0,
                                                                    np.inf]),
    (VectorOp.RECIPROCAL, [1.0, -2.0, 0.0, -0.0, -np.inf, 2.0 ** -127, 2.0 ** 126, 2.0 ** 127],
     [1, -0.5, np.inf, -np.inf, -0.0, np.inf, 2.0 ** -126, 0]),
    (VectorOp.SIGMOID, [0.0, -0.0, np.inf, -np.inf, 1e38, -1e38, -87.4],
     [0.5, 0.5, 1, 0, 1, 0, 0]),
    (VectorOp.TANH, [-0.0, np.inf, -np.inf, 2.0 ** -149, 1e38], [-0.0, 1, -1, 2.0 ** -149, 1]),
    (VectorOp.RSQRT, [1.0, 4.0, 2.0 ** -126, 2.0 ** 126, 0.0, -0.0, 2.0 ** -127, -2.0 ** -149,
                      np.inf],
     [1, 0.5, 2.0 ** 63, 2.0 ** -63, np.inf, -np.inf, np.inf, -np.inf, 0]),
    (VectorOp.GELU, [0.0, -0.0, np.inf, -np.inf, 1e38, -1e38, 64.0, -14.5, 2.0 ** -149,
                     -(2.0 ** -120)],
     [0, -0.0, np.inf, -0.0, 1e38, -0.0, 64, -0.0, 0, -(2.0 ** -121)])])
def test_ends(op: VectorOp, x: list[float], want: list[float]) -> None:
    """Overflow, underflow, and what is exact, signs of zeros included."""
    got = evaluate(op, np.array(x, np.float32))
    np.testing.assert_array_equal(got.view(np.uint32), np.array(want, np.float32).view(np.uint32))


def test_no_roots() -> None:
    """Of numbers below zero there is no square root."""
    assert np.isnan(evaluate(VectorOp.RSQRT, np.array([-(2.0 ** -126), -1, -np.inf], np.float32))
                    ).all()


def test_small_tangents() -> None:
    """Below 2^-8 the argument itself; there, as the tables have it."""
    edge = np.float32(2.0 ** -8)
    x = np.array([np.nextafter(edge, np.float32(0)), edge], np.float32)
    for signed in (x, -x):
        got = evaluate(VectorOp.TANH, signed)
        assert (got == signed).tolist() == [True, False]
        assert np.abs(got / np.tanh(signed.astype(np.float64)) - 1).max() <= 2 ** -15.8


@pytest.mark.parametrize("table,exact", [
    (POWER, np.exp2), (INVERSE, lambda f: 1 / (1 + f)), (ROOTS[0], lambda f: (1 + f) ** -0.5),
    (ROOTS[1], lambda f: (2 * (1 + f)) ** -0.5), (TAILS[0], tail),
    *((t, lambda f, w=2 ** n: w * tail(w * (1 + f))) for n, t in enumerate(TAILS[1:]))])
def test_tables(table: Table, exact: Callable[[np.ndarray], np.ndarray]) -> None:
    """Every value of the tables (of GELU's, one of 64), and that they stay where the hardware's
    words can hold them and their products."""
    step = 64 if table in TAILS else 1
    f = np.arange(0, 1 << table.fraction_bits, step, dtype=np.int64)
    got = lookup(table, f)
    want = exact(f / 2.0 ** table.fraction_bits)
    assert np.abs(got / 2.0 ** VALUE_BITS - want).max() < 2.0 ** -21.9
    low = 1.0 if table is POWER else 0.33 if table in TAILS else 0.5
    assert got.min() >= low * (1 << VALUE_BITS)
    assert got.max() < 2 << VALUE_BITS if table is POWER else got.max() <= 1 << VALUE_BITS
