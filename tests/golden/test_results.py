# SPDX-License-Identifier: Apache-2.0
"""Clipping and rounding of float results: signs of zeros, NaN in a value and in a bound."""

import numpy as np
import pytest

from golden.results import clip, convert
from isa.instructions import DType, Instruction, Opcode


@pytest.mark.parametrize("value, low, high, want", [
    (-0.0, 0.0, 6.0, -0.0), (0.0, -0.0, 6.0, 0.0),      # a zero is no less than the other
    (-0.0, -6.0, 0.0, -0.0), (0.0, -6.0, -0.0, 0.0),
    (-1.0, 0.0, 6.0, 0.0), (-1.0, -0.0, 6.0, -0.0), (1.0, -6.0, -0.0, -0.0),
    (7.0, 0.0, 6.0, 6.0), (6.0, 0.0, 6.0, 6.0), (-np.inf, -2.0, 6.0, -2.0),
    (np.nan, 0.0, 6.0, np.nan), (-9.0, np.nan, 6.0, -9.0), (9.0, 0.0, np.nan, 9.0)])
def test_clip(value: float, low: float, high: float, want: float) -> None:
    got = clip(np.array([value], np.float32), np.float32(low), np.float32(high))
    assert np.isnan(got[0]) if np.isnan(want) else got.tobytes() == np.float32(want).tobytes()


def test_nan_as_an_integer_is_the_zero_point() -> None:
    value = np.array([np.nan, np.inf, -np.inf, 2.5, 3.5], np.float32)
    got = convert(value, DType.INT8, Instruction(Opcode.VECTOR), 10, -20, 100).view(np.int8)
    assert got.tolist() == [10, 100, -20, 12, 14]
