# SPDX-License-Identifier: Apache-2.0
"""The numeric contract: requantization and residual addition in binary32, each step rounded.

Every function works element by element on arrays. Rounding is to nearest, ties to even, in each
conversion, product and sum, which is what IEEE 754 hardware and numpy's float32 do.
"""

import numpy as np

from isa.numerics import SCALE_MAX, SCALE_MIN


def check_scale(scale: np.ndarray) -> np.ndarray:
    """``scale`` (binary32), if it is legal.

    Raises
    ------
    ValueError
        If an element is not in [SCALE_MIN, SCALE_MAX).
    """
    scale = np.asarray(scale, np.float32)
    if not (scale.min() >= SCALE_MIN and scale.max() < SCALE_MAX):
        raise ValueError(f"a scale is outside [2^-100, 2^32): {scale.min()} … {scale.max()}")
    return scale


def check_factor(factor: np.ndarray) -> np.ndarray:
    """``factor`` (binary32, of either sign), if its magnitude is a legal scale.

    Raises
    ------
    ValueError
        If one is not in [SCALE_MIN, SCALE_MAX).
    """
    check_scale(np.abs(factor))
    return np.asarray(factor, np.float32)


def factor_from_bits(bits: int) -> np.ndarray:
    """The binary32 number with the given bit pattern, of either sign, checked."""
    return check_factor(np.array([bits], np.uint32).view(np.float32))[0]


def scale_from_bits(bits: int) -> np.ndarray:
    """The binary32 number with the given bit pattern, checked."""
    return check_scale(np.array([bits], np.uint32).view(np.float32))[0]


def finish(value: np.ndarray, zero_point: int, low: int, high: int) -> np.ndarray:
    """``clip(rint(value) + zero_point, low, high)`` of binary32 numbers (INT32)."""
    # the sum is exact below 2^24, beyond it saturates whatever it is
    return (np.rint(value) + zero_point).clip(low, high).astype(np.int32)


def requantize(acc: np.ndarray, scale: np.ndarray, zero_point: int, low: int,
               high: int) -> np.ndarray:
    """``clip(rint(f32(f32(acc) * scale)) + zero_point, low, high)`` for INT32 ``acc``."""
    return finish(acc.astype(np.float32) * scale, zero_point, low, high)


def add(a: np.ndarray, scale_a: np.ndarray, b: np.ndarray, scale_b: np.ndarray, zero_point: int,
        low: int, high: int) -> np.ndarray:
    """``clip(rint(f32(f32(a * scale_a) + f32(b * scale_b))) + zero_point, low, high)`` for integers
    ``a`` and ``b`` of up to ten bits."""
    total = a.astype(np.float32) * scale_a + b.astype(np.float32) * scale_b
    return finish(total, zero_point, low, high)


def operand(raw: np.ndarray, signed: int, zero_point: int, dtype: type = np.int32) -> np.ndarray:
    """Bytes as integers less their zero point, in the nine bits that the machine keeps.

    With a zero point in the range of the bytes' type nothing is lost.
    """
    low, high = (-128, 127) if signed else (0, 255)
    value: np.ndarray = raw.view(np.int8 if signed else np.uint8).astype(dtype)
    if zero_point:
        value -= zero_point
    if low - zero_point < -256 or high - zero_point > 255:
        value = (value + 256) % 512 - 256
    return value
