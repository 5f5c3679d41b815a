# SPDX-License-Identifier: Apache-2.0
"""The last steps of a float lane: clip, round to the type of the output, say what was no number.

It takes :data:`LATENCY` cycles; the arithmetic is that of :mod:`golden.results`.
"""

from amaranth.hdl import Cat, Module, Mux, Value
from amaranth.lib import data

from hw.arith import ieee
from hw.arith.ieee import STAGES
from hw.arith.normal import FLOAT
from hw.arith.requantize import CLIP, CODE, clip_register
from hw.engine.ports import view_of
from hw.parts.delay import delay, later
from isa.instructions import DType

OUTPUT = data.StructLayout({
    "o_type": 2, "lo_f": 16, "hi_f": 16, "z": CODE, "lo": CODE, "hi": CODE})
"""What stands still during an instruction."""

LATENCY = CLIP
assert LATENCY >= STAGES["clip"] + STAGES["convert"]


def output(m: Module, number: data.View, c: data.View) -> tuple[Value, Value]:
    """The result in the low bytes of 32 bits, and ``Cat(nan, infinite)``; ``c`` has the fields of
    :data:`OUTPUT`."""
    ends = (later(m, ieee.from_half(m, n, c[n], 1), 1, f"{n}_number") for n in ("lo_f", "hi_f"))
    early = later(m, number, LATENCY - STAGES["clip"] - STAGES["convert"], "early")
    clipped = ieee.clip(m, "clip", early, *ends)
    bits, kind = ieee.convert(m, "converted", clipped, c.o_type)

    finite = view_of(FLOAT, name="finite")
    m.d.comb += [finite.sign.eq(number.sign), finite.exp.eq(Mux(number.inf, 0, number.exp)),
                 finite.mant.eq(Mux(number.nan, 0, Mux(number.inf, 1 << 23, number.mant)))]
    integer = clip_register(m, "integer_out", finite, c.z, c.lo, c.hi)
    integer_kind = delay(m, Cat(number.nan, number.inf & ~number.nan), CLIP, "integer_kind")
    to_integer = c.o_type == DType.INT8
    return Mux(to_integer, integer[:8], bits), Mux(to_integer, integer_kind, kind)
