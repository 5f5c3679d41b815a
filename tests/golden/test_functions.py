# SPDX-License-Identifier: Apache-2.0
"""The vector engine's functions against binary64, over every FP16 input, and their tables."""

from collections.abc import Callable

import numpy as np
import pytest

from golden.functions import evaluate, lookup
from isa.functions import INVERSE, POWER, VALUE_BITS, Table
from isa.instructions import VectorOp


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.where(x >= 0, 1 / (1 + np.exp(-x)), np.exp(x) / (1 + np.exp(x)))


EXACT: dict[VectorOp, Callable[[np.ndarray], np.ndarray]] = {
    VectorOp.EXP: np.exp, VectorOp.RECIPROCAL: lambda x: 1 / x, VectorOp.SIGMOID: sigmoid,
    VectorOp.TANH: np.tanh}

ULP = {VectorOp.EXP: 0.5002, VectorOp.RECIPROCAL: 0.5000, VectorOp.SIGMOID: 0.5002,
       VectorOp.TANH: 0.5032}
"""Largest errors after rounding to FP16, in units of the last place; docs/numerics.md states
them."""

RELATIVE = {VectorOp.EXP: 2 ** -20.7, VectorOp.RECIPROCAL: 2 ** -21.9,
            VectorOp.SIGMOID: 2 ** -20.7, VectorOp.TANH: 2 ** -15.8}
"""Largest relative errors in binary32, of FP16 inputs."""


@pytest.mark.parametrize("op", EXACT)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_half(op: VectorOp) -> None:
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    want = EXACT[op](x.astype(np.float64))
    single = evaluate(op, x.astype(np.float32))
    half = single.astype(np.float16)
    nearest = want.astype(np.float16)
    np.testing.assert_array_equal(np.isnan(half), np.isnan(x))
    number = ~np.isnan(x) & np.isfinite(nearest)
    infinite = ~np.isnan(x) & ~np.isfinite(nearest)
    np.testing.assert_array_equal(half[infinite], nearest[infinite])
    place = 2.0 ** (np.maximum(np.floor(np.log2(np.maximum(np.abs(want), 2.0 ** -40))), -14) - 10)
    assert (np.abs(half.astype(np.float64) - want) / place)[number].max() <= ULP[op]
    assert (half != nearest)[number].sum() <= 20
    normal = number & (np.abs(want) > 2.0 ** -100)
    assert (np.abs(single - want) / np.abs(want))[normal].max() <= RELATIVE[op]


@pytest.mark.parametrize("op,x,want", [
    (VectorOp.EXP, [0.0, -0.0, -np.inf, np.inf, 88.8, -87.4, 1e38], [1, 1, 0, np.inf, np.inf, 0,
                                                                    np.inf]),
    (VectorOp.RECIPROCAL, [1.0, -2.0, 0.0, -0.0, -np.inf, 2.0 ** -127, 2.0 ** 126, 2.0 ** 127],
     [1, -0.5, np.inf, -np.inf, -0.0, np.inf, 2.0 ** -126, 0]),
    (VectorOp.SIGMOID, [0.0, -0.0, np.inf, -np.inf, 1e38, -1e38, -87.4],
     [0.5, 0.5, 1, 0, 1, 0, 0]),
    (VectorOp.TANH, [-0.0, np.inf, -np.inf, 2.0 ** -149, 1e38], [-0.0, 1, -1, 2.0 ** -149, 1])])
def test_ends(op: VectorOp, x: list[float], want: list[float]) -> None:
    """Overflow, underflow, and what is exact, signs of zeros included."""
    got = evaluate(op, np.array(x, np.float32))
    np.testing.assert_array_equal(got.view(np.uint32), np.array(want, np.float32).view(np.uint32))


def test_small_tangents() -> None:
    """Below 2^-8 the argument itself; there, as the tables have it."""
    edge = np.float32(2.0 ** -8)
    x = np.array([np.nextafter(edge, np.float32(0)), edge], np.float32)
    for signed in (x, -x):
        got = evaluate(VectorOp.TANH, signed)
        assert (got == signed).tolist() == [True, False]
        assert np.abs(got / np.tanh(signed.astype(np.float64)) - 1).max() <= 2 ** -15.8


@pytest.mark.parametrize("table,exact", [(POWER, np.exp2), (INVERSE, lambda f: 1 / (1 + f))])
def test_tables(table: Table, exact: Callable[[np.ndarray], np.ndarray]) -> None:
    """Every value of the tables, and that they stay where the hardware's words can hold them."""
    f = np.arange(1 << table.fraction_bits, dtype=np.int64)
    got = lookup(table, f)
    want = exact(f / 2.0 ** table.fraction_bits)
    assert np.abs(got / 2.0 ** VALUE_BITS - want).max() < 2.0 ** -21.9
    assert got.min() >= 1 << (VALUE_BITS - (table is INVERSE))
    assert got.max() < 2 << VALUE_BITS
