# SPDX-License-Identifier: Apache-2.0
"""Patterns of floats as integers of the same order."""

from amaranth.hdl import Cat, Const, Mux, Value


def ordered(raw: Value, mantissa: int) -> Value:
    """Integers in the order of the values of a format, +0 above -0, NaN above all."""
    magnitude = Cat(raw[:-1], Const(0, 1))
    nan = raw[mantissa:-1].all() & raw[:mantissa].any()
    return Mux(nan, (1 << len(raw) - 1) - 1, Mux(raw[-1], ~magnitude, magnitude).as_signed())
