# SPDX-License-Identifier: Apache-2.0
"""What a lane of the array multiplies: bytes less their zero point, or floats.

A machine that has floating point takes the bytes of a word in pairs. A pair is two INT8 operands,
or one FP16 or BF16 float, whose significand goes through the multiplier of the first.
"""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data

from hw.engine.ports import view_of
from isa.config import Config
from isa.instructions import ABSENT, DType

OPERAND_BITS = 9
"""A byte of either signedness less its zero point."""

SIGNIFICAND_BITS = 12
"""A significand of FP16 with its sign."""

SHIFT_BITS = 11
"""Exponents of BF16 relative to the anchor."""

PAIR = data.StructLayout({
    "first": signed(SIGNIFICAND_BITS), "second": signed(OPERAND_BITS), "shift": signed(SHIFT_BITS),
    "negative": 1, "zero": 1, "inf": 1, "nan": 1, "absent": 1})
"""``first``, ``second``: two integers, or the significand with its sign and nothing. Of a float:
``first * 2**shift``, unless it is one of the others; ``absent``: it is -0, which as a weight makes
no product, but as an activation is a ``zero`` like any."""


WHOLE = {DType.FP16: 24, DType.BF16: 133}
"""Shift of a significand whose lowest bit weighs 1: the exponent of the smallest subnormal."""


def type_shapes(config: Config) -> dict[str, Shape]:
    """Shapes of ``dtype`` and ``base`` of :func:`assign`, as far as the machine needs them."""
    return {**({"dtype": unsigned(2)} if config.floats else {}),
            **({"base": signed(SHIFT_BITS)} if "bf16" in config.dtypes else {})}


def field(view: data.View, name: str) -> Value:
    """``dtype`` or ``base`` of a view; INT8 and 0 where it has none."""
    return view[name] if name in view.shape().members else Const(0, 2)


def known(config: Config, dtype: Value) -> Value:
    """Whether the machine has a type."""
    if not config.floats:
        return dtype == DType.INT8
    return Array(t.needs in config.dtypes or t is DType.FP32 for t in DType)[dtype]


def vector_layout(config: Config) -> data.ArrayLayout:
    """The operands in a word."""
    if config.floats:
        return data.ArrayLayout(PAIR, config.lanes // 2)
    return data.ArrayLayout(signed(OPERAND_BITS), config.lanes)


def integer(byte: Value, is_signed: Value, zero_point: Value) -> Value:
    """A byte less its zero point; its low :data:`OPERAND_BITS` bits are of account."""
    return Cat(byte, byte[7] & is_signed).as_signed() - zero_point


def whole(m: Module, name: str, pair: data.View, value: Value, dtype: Value) -> None:
    """Make ``pair`` of an integer of :data:`OPERAND_BITS` in place of a float's significand, whose
    lowest bit weighs 1."""
    n = Signal(signed(OPERAND_BITS), name=f"{name}_whole")
    m.d.comb += [
        n.eq(value), pair.first.eq(n), pair.negative.eq(n[-1]), pair.zero.eq(n == 0),
        pair.inf.eq(0), pair.nan.eq(0), pair.absent.eq(0),
        pair.shift.eq(Mux(dtype == DType.BF16, WHOLE[DType.BF16], WHOLE[DType.FP16]))]


def assign(m: Module, name: str, vector: Value | data.View, word: Value, integers: list[Value],
           dtype: Value, base: Value | int, wholes: Value | None = None) -> None:
    """Make ``vector`` (:func:`vector_layout`) of a ``word``.

    Parameters
    ----------
    integers : list of Value
        What the bytes are if they are INT8.
    dtype : Value
        INT8, FP16 or BF16; a machine without floating point does not look at it.
    base : Value or int
        Added to the shift of a number.
    wholes : Value, optional
        The first integer of each pair is its number, whatever the float type.
    """
    assert isinstance(vector, data.View)
    if vector.shape().elem_shape != PAIR:
        m.d.comb += [vector[k].eq(v) for k, v in enumerate(integers)]
        return
    for k in range(len(integers) // 2):
        pair = view_of(PAIR, name=f"{name}_pair{k}")
        m.d.comb += vector[k].eq(pair)
        with m.Switch(dtype):
            with m.Case(DType.INT8):
                m.d.comb += [pair.first.eq(integers[2 * k][:OPERAND_BITS].as_signed()),
                             pair.second.eq(integers[2 * k + 1])]
            for t, mantissa in ((DType.FP16, 10), (DType.BF16, 7)):
                with m.Case(t):
                    _number(m, pair, word[16 * k:16 * k + 16], mantissa, base)
        if wholes is not None:
            with m.If(wholes):
                whole(m, f"{name}_pair{k}", pair, integers[2 * k], dtype)


def _number(m: Module, pair: data.View, raw: Value, mantissa: int, base: Value | int) -> None:
    low, exponent = raw[:mantissa], raw[mantissa:15]
    special, hidden = exponent.all(), exponent.any()
    significand = Mux(special, 0, Cat(low, hidden))
    m.d.comb += [
        pair.first.eq(Mux(raw[15], -significand, significand)),
        pair.shift.eq(exponent.as_unsigned() - hidden + base), pair.negative.eq(raw[15]),
        pair.zero.eq(raw[:15] == 0), pair.absent.eq(raw == ABSENT),
        pair.inf.eq(special & (low == 0)), pair.nan.eq(special & (low != 0))]
