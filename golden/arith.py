# SPDX-License-Identifier: Apache-2.0
"""The numeric contract: requantization and residual addition in binary32, each step rounded.

Every function works element by element on arrays. Rounding is to nearest, ties to even, in each
conversion, product and sum, which is what IEEE 754 hardware and numpy's float32 do.
"""

import numpy as np

from isa.numerics import SCALE_MAX, SCALE_MIN


def from_bits(bits: int) -> np.ndarray:
    """The binary32 number with the given bit pattern."""
    return np.array([bits], np.uint32).view(np.float32)[0]


def is_scale(value: np.ndarray) -> bool:
    """Whether every element (binary32) lies in [SCALE_MIN, SCALE_MAX)."""
    with np.errstate(invalid="ignore"):     # signaling NaNs
        return bool(value.min() >= SCALE_MIN and value.max() < SCALE_MAX)


def is_factor(value: np.ndarray) -> bool:
    """The same of the elements' magnitudes."""
    return is_scale(np.abs(value))


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
