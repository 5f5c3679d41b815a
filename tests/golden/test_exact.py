# SPDX-License-Identifier: Apache-2.0
"""Exact sums against rational arithmetic, on the cases where floating point goes wrong."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from golden.exact import products, unit_of
from isa.config import REDUCTION
from isa.instructions import ABSENT, DType

NUMPY = {DType.FP16: np.float16, DType.BF16: ml_dtypes.bfloat16}
ANCHOR = -60


def patterns(values: list[float] | np.ndarray, dtype: DType) -> np.ndarray:
    """Numbers as uint16 patterns."""
    return np.asarray(values, np.float64).astype(NUMPY[dtype]).view(np.uint16)


def fraction(bits: int, dtype: DType) -> Fraction:
    """The rational value of a finite pattern."""
    return Fraction(float(np.array([bits], np.uint16).view(NUMPY[dtype])[0]))


def rounded(value: Fraction) -> float:
    """``value`` rounded to binary32, to nearest even, by comparing it with its neighbors."""
    guess = np.float32(float(value))
    around = [np.float32(np.nextafter(guess, np.float32(d))) for d in (-np.inf, np.inf)]
    best = min((guess, *around), key=lambda f: (abs(Fraction(float(f)) - value),
                                                int(np.array(f).view(np.uint32)) & 1))
    return float(best)


def window(a: int, w: int, dtype: DType) -> Fraction:
    """A product as the accumulator takes it."""
    if w == ABSENT:
        return Fraction(0)
    value = fraction(a, dtype) * fraction(w, dtype)
    units = value / Fraction(2) ** unit_of(dtype, ANCHOR)
    whole = abs(units.numerator) // units.denominator
    return Fraction(whole if units >= 0 else -whole) * Fraction(2) ** unit_of(dtype, ANCHOR)


def check(a: np.ndarray, w: np.ndarray, dtype: DType) -> None:
    sums, overflow = products(a, w, dtype, ANCHOR)
    assert not overflow.any()
    got = sums.to_float(unit_of(dtype, ANCHOR))
    for p in range(a.shape[0]):
        for c in range(w.shape[1]):
            want = sum(window(int(x), int(y), dtype) for x, y in zip(a[p], w[:, c], strict=True))
            assert float(got[p, c]) == rounded(Fraction(want)), (p, c)


def finite(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
    """Any finite patterns; BF16 of moderate exponents, some of whose products lose bits."""
    if dtype is DType.FP16:
        bits = rng.integers(0, 1 << 16, shape).astype(np.uint16)
        return np.where((bits >> 10 & 31) == 31, bits & 0x83FF, bits).astype(np.uint16)
    return patterns(rng.standard_normal(shape) * 2.0 ** rng.integers(-40, 9, shape), dtype)


@pytest.mark.parametrize("dtype", NUMPY)
@pytest.mark.parametrize("seed", range(4))
def test_random(dtype: DType, seed: int) -> None:
    rng = np.random.default_rng(seed)
    check(finite(rng, (5, 40), dtype), finite(rng, (40, 6), dtype), dtype)


def test_cancellation() -> None:
    """The largest products cancel, and what is left are the smallest."""
    big, tiny = 65504.0, 2.0 ** -24
    a = patterns([[big, tiny, -big, tiny], [tiny, big, big, big]], DType.FP16)
    w = patterns([[big], [tiny], [big], [tiny]], DType.FP16)
    sums, _ = products(a, w, DType.FP16, 0)
    assert sums.to_float(-48)[0, 0] == np.float32(2 * 2.0 ** -48)
    check(a, w, DType.FP16)


@pytest.mark.parametrize("sign", (1, -1))
def test_longest(sign: int) -> None:
    """As many of the largest products as a reduction may have."""
    a = np.full((1, REDUCTION), patterns([sign * 65504.0], DType.FP16)[0])
    w = np.full((REDUCTION, 1), patterns([65504.0], DType.FP16)[0])
    check(a, w, DType.FP16)


@pytest.mark.parametrize("low", (1, 2, 3))
def test_ties(low: int) -> None:
    """Half a unit in the last place of binary32, with and without a bit below it."""
    a = patterns([[2.0 ** 12, 2.0 ** -12, 2.0 ** -12, low * 2.0 ** -12],
                  [2.0 ** 12, 2.0 ** -12, 2.0 ** -12, 0]], DType.FP16)
    w = patterns([[2.0 ** 12], [0.5], [0.5], [2.0 ** -11]], DType.FP16)
    check(a, w, DType.FP16)
    w[0] = patterns([1.5 * 2.0 ** 12], DType.FP16)
    check(a, w, DType.FP16)


@pytest.mark.parametrize("dtype", NUMPY)
def test_order(dtype: DType) -> None:
    """Any order and any split of a sum gives the same bits."""
    rng = np.random.default_rng(5)
    a, w = finite(rng, (3, 64), dtype), finite(rng, (64, 5), dtype)
    whole, _ = products(a, w, dtype, ANCHOR)
    order = rng.permutation(64)
    mixed, _ = products(a[:, order], w[order], dtype, ANCHOR)
    parts = products(a[:, 40:], w[40:], dtype, ANCHOR)[0] + products(
        a[:, :40], w[:40], dtype, ANCHOR)[0]
    for other in (mixed, parts):
        for x, y in zip(whole.parts(), other.parts(), strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("dtype", NUMPY)
def test_special(dtype: DType) -> None:
    """NaN and infinities as IEEE 754 has them, and weights that are not there."""
    inf, nan = np.inf, np.nan
    values = [0.0, 1.5, -2.0, inf, -inf, nan]
    a = patterns(values, dtype)
    w = patterns([0.0, 1.0, -1.0, inf, -inf, nan], dtype)
    with np.errstate(invalid="ignore"):
        for second in values:
            pairs = np.stack([a, np.full_like(a, patterns([second], dtype)[0])], axis=1)
            both = np.stack([w, np.full_like(w, patterns([1.0], dtype)[0])], axis=0)
            sums, _ = products(pairs, both, dtype, ANCHOR)
            want = np.array(values)[:, None] * np.array([0.0, 1.0, -1.0, inf, -inf, nan]) + second
            np.testing.assert_array_equal(sums.to_float(unit_of(dtype, ANCHOR)), want)
    absent = np.full((1, 1), ABSENT, np.uint16)
    sums, _ = products(a[:, None], absent, dtype, ANCHOR)
    assert (sums.to_float(0) == 0).all()


def test_bf16_overflow() -> None:
    """A product above the window counts as an infinity of its sign."""
    a = patterns([[2.0 ** 20], [-2.0 ** 20], [2.0 ** 10]], DType.BF16)
    w = patterns([[2.0 ** 5]], DType.BF16)
    sums, overflow = products(a, w, DType.BF16, ANCHOR)
    np.testing.assert_array_equal(overflow[:, 0], [True, True, False])
    np.testing.assert_array_equal(sums.to_float(ANCHOR)[:, 0], [np.inf, -np.inf, 2.0 ** 15])


def test_bf16_overflow_begins_above_bit_64() -> None:
    """The lowest bit of 2^e times 2^f, significands of eight bits, is 2^(e + f - 14)."""
    exponent = ANCHOR + 14 + 64 - 9
    a = patterns([[2.0 ** exponent], [2.0 ** (exponent + 1)]], DType.BF16)
    sums, overflow = products(a, patterns([[2.0 ** 9]], DType.BF16), DType.BF16, ANCHOR)
    np.testing.assert_array_equal(overflow[:, 0], [False, True])
    np.testing.assert_array_equal(sums.to_float(ANCHOR)[:, 0], [2.0 ** (exponent + 9), np.inf])


@pytest.mark.parametrize("dtype", [DType.FP16, DType.BF16])
def test_integers_are_numbers(dtype: DType) -> None:
    """Every product with a 9-bit integer is that with its pattern, where none overflows."""
    rng = np.random.default_rng(5)
    w = np.arange(-256, 256, dtype=np.int16).reshape(16, 32)
    a = finite(rng, (8, 16), dtype)
    got, beyond = products(a, w, dtype, -60)
    want, _ = products(a, patterns(w.astype(np.float32), dtype), dtype, -60)
    assert not beyond.any()
    assert np.array_equal(got.to_float(unit_of(dtype, -60)),
                          want.to_float(unit_of(dtype, -60)))


def test_an_integer_times_infinity() -> None:
    inf = patterns([np.inf], DType.FP16).reshape(1, 1)
    for n, want in ((3, np.inf), (-2, -np.inf), (0, np.nan)):
        sums, _ = products(inf, np.array([[n]], np.int16), DType.FP16, 0)
        assert np.array_equal(sums.to_float(-48), [[want]], equal_nan=True)
