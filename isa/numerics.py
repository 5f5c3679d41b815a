# SPDX-License-Identifier: Apache-2.0
"""Constants of the numeric contract, which RTL, compiler and golden model share."""

SCALE_MIN, SCALE_MAX = 2.0 ** -100, 2.0 ** 32
"""Requantization scales are binary32 values in [SCALE_MIN, SCALE_MAX): no product is subnormal and
none overflows."""

ZERO_POINT_BITS = 9
"""Width of a zero point or a clip bound: every INT8 and every UINT8."""

MAX_START = -32768
"""The INT8 maximum of no taps at all."""

PRODUCT_SHIFT_MAX = 64
"""Largest left shift of a product of significands in the window of a sum; a BF16 product that needs
a larger one is an overflow."""

ELEMENT_SHIFT_MAX = 40
"""The same for an element that the vector engine sums."""

FP16_UNIT, BF16_UNIT = -24, -133
"""Exponent of the smallest subnormal: the unit of a sum of FP16 elements, and the lowest anchor
at which a BF16 element loses no bit."""

FP16_PRODUCT_UNIT, BF16_PRODUCT_UNIT = 2 * FP16_UNIT, 2 * BF16_UNIT
"""The same for products of two elements."""
