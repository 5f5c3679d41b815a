# SPDX-License-Identifier: Apache-2.0
"""The constants of the numeric contract, by their values."""

import ml_dtypes
import numpy as np

from isa import numerics
from isa.instructions import READ_ONLY, REGION_ALIGN, Region


def test_values():
    assert numerics.SCALE_MIN == 7.888609052210118e-31
    assert numerics.SCALE_MAX == 4294967296
    assert numerics.ZERO_POINT_BITS == 9
    assert numerics.MAX_START == -32768
    assert numerics.PRODUCT_SHIFT_MAX == 64
    assert numerics.ELEMENT_SHIFT_MAX == 40
    assert READ_ONLY == (Region.PROGRAM, Region.INPUT) == (0, 2)
    assert REGION_ALIGN == 32


def test_units_are_the_smallest_subnormals():
    smallest = float(np.finfo(np.float16).smallest_subnormal)
    assert smallest == 2.0 ** numerics.FP16_UNIT
    brain = float(ml_dtypes.finfo(ml_dtypes.bfloat16).smallest_subnormal)
    assert brain == 2.0 ** numerics.BF16_UNIT
    assert smallest * smallest == 2.0 ** numerics.FP16_PRODUCT_UNIT
    assert numerics.BF16_PRODUCT_UNIT == -266
