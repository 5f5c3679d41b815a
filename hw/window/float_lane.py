# SPDX-License-Identifier: Apache-2.0
"""One output lane of the window engine for FP16 and BF16.

::

    complete sum ─ carry ─ round ─┬─ × scale ─ + bias ─ clip ─ to FP16, BF16
    maximum ──────────────────────┘

The arithmetic is that of :mod:`golden.window`. There is no stall: what enters in cycle ``t`` is out
in ``t + LATENCY``. What an element needs travels with it, but for the bounds of the clip, which are
looked at ``CLIP`` cycles after it has entered.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arith import ieee
from hw.arith.float_lane import KIND
from hw.arith.ieee import STAGES, UNIT
from hw.arith.sums import UNIT_BITS
from hw.parts.delay import delay, later, register
from hw.window.pair import HIGH_BITS, LOW_BITS, PAIR_SUM


class WindowFloat(wiring.Component):
    """Latency: LATENCY cycles. Throughput: an element a cycle. There is no stall.

    Members
    -------
    sum : In(PAIR_SUM)
    scale, bias : In(32)
        binary32 patterns.
    dtype, max : In
        Type of the element; whether it is a maximum.
    unit : In(signed(UNIT_BITS))
        Exponent of a sum's lowest bit.
    lo_f, hi_f : In(16)
        Bounds, binary16 patterns, of the element that is to be clipped.
    out : Out(16)
    kind : Out(KIND)
    """

    RESOLVE = 1
    CLIP = RESOLVE + STAGES["round_fixed"] + STAGES["multiply"] + STAGES["add"] - 1
    LATENCY = CLIP + 1 + STAGES["clip"] + STAGES["convert"]

    sum: data.View
    scale: Signal
    bias: Signal
    dtype: Signal
    max: Signal
    unit: Signal
    lo_f: Signal
    hi_f: Signal
    out: Signal
    kind: data.View

    def __init__(self) -> None:
        super().__init__({
            "sum": In(PAIR_SUM), "scale": In(32), "bias": In(32), "dtype": In(2), "max": In(1),
            "unit": In(signed(UNIT_BITS)), "lo_f": In(16), "hi_f": In(16), "out": Out(16),
            "kind": Out(KIND)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        number, key = self.sum.number, self.sum.key
        value = register(m, "value", Cat(number.low, (number.high + number.to_high)[:HIGH_BITS]))
        assert len(value) == LOW_BITS + HIGH_BITS
        flags = later(m, number.flags, self.RESOLVE, "flags")
        unit = delay(m, self.unit, self.RESOLVE + UNIT, "unit")
        total = ieee.round_fixed(m, "total", value.as_signed(), unit, flags)
        at = self.RESOLVE + STAGES["round_fixed"]
        dtype = delay(m, self.dtype, at, "dtype")
        maximum = delay(m, Cat(Mux(key < 0, ~key, key)[:15], key < 0), at, "maximum")
        element = ieee.unpack(m, "element", maximum, dtype, maximum[:10].as_signed())
        is_max = delay(m, self.max, at, "max")
        chosen = ieee.named("chosen")
        m.d.comb += chosen.eq(Mux(is_max, element.as_value(), total.as_value()))
        scale = ieee.from_pattern(m, "scale", delay(m, self.scale, at, "scale_later"))
        scaled = ieee.multiply(m, "scaled", chosen, scale)
        at += STAGES["multiply"]
        bias = ieee.from_pattern(m, "bias", delay(m, self.bias, at, "bias_later"))
        biased = ieee.add(m, "biased", scaled, bias)

        low, high = (later(m, ieee.from_half(m, n, getattr(self, n)), cycles, f"{n}_later")
                     for n, cycles in (("lo_f", 1), ("hi_f", 2)))
        clipped = ieee.clip(m, "clip", biased, low, high)
        # convert looks at the type in its last cycle
        late = delay(m, dtype, STAGES["multiply"] + STAGES["add"] + STAGES["clip"]
                     + STAGES["convert"] - 1, "dtype_late")
        bits, kind = ieee.convert(m, "converted", clipped, late)
        overflow = delay(m, number.flags.overflow & ~self.max, self.LATENCY, "overflow")
        m.d.comb += [self.out.eq(bits), Cat(self.kind.nan, self.kind.infinite).eq(kind),
                     self.kind.overflow.eq(overflow)]
        return m
