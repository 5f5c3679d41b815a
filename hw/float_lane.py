# SPDX-License-Identifier: Apache-2.0
"""One output lane of a machine with floating point, for everything that is not INT8 alone.

::

    PSUM entry ─ carries ─ (+ bias) ─ round ─ × scale ─ + bias ─┬─ + ─┬─ clip ─ to FP16, BF16, FP32
                                                 residual × scale_r   └─ integer + z, clip ─ to INT8

The arithmetic is that of :mod:`golden.tensor`. There is no stall: what enters in cycle ``t`` is out
in ``t + LATENCY``. The constants of the instruction stand still.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw import float32
from hw.accumulator import SEGMENT_BITS, entry_layout
from hw.binary32 import FLOAT
from hw.column import SUM_BITS
from hw.delay import delay, later, register
from hw.float32 import STAGES
from hw.ports import view_of
from hw.requantize import clip_register
from isa.config import Config
from isa.instructions import DType

FLOAT_CONSTANTS = data.StructLayout({
    "floating": 1, "unit": signed(10), "o_type": 2, "r_type": 2, "residual": 1, "scale_r": 32,
    "lo_f": 16, "hi_f": 16, "z": signed(9), "lo": signed(9), "hi": signed(9)})
"""What stands still during an instruction. ``floating``: entries are sums of numbers; ``unit``:
exponent of their lowest bit."""

KIND = data.StructLayout({"nan": 1, "infinite": 1, "overflow": 1})
"""What is counted of a result."""


class FloatLane(wiring.Component):
    """Parameters
    ----------
    config : Config

    Members
    -------
    entry : In(entry_layout(config))
    bias, scale : In(32)
        INT32 or binary32, binary32.
    b, b_integer : In(32), In(signed(10))
        The residual's element, its first bytes, and its value if it is INT8.
    constants : In(FLOAT_CONSTANTS)
    out : Out(32)
        The result in the low bytes.
    kind : Out(KIND)
    """

    RESOLVE = 2
    LATENCY = (RESOLVE + STAGES["round_fixed"] + STAGES["multiply"] + 2 * STAGES["add"] + 1
               + STAGES["convert"])

    entry: data.View
    bias: Signal
    scale: Signal
    b: Signal
    b_integer: Signal
    constants: data.View
    out: Signal
    kind: data.View

    def __init__(self, config: Config):
        super().__init__({
            "entry": In(entry_layout(config)), "bias": In(32), "scale": In(32), "b": In(32),
            "b_integer": In(signed(10)), "constants": In(FLOAT_CONSTANTS), "out": Out(32),
            "kind": Out(KIND)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        c = self.constants
        value = self._resolve(m)
        flags = later(m, self.entry.flags, self.RESOLVE, "flags")
        total = float32.round_fixed(m, "total", value, c.unit, flags)
        at = self.RESOLVE + STAGES["round_fixed"]
        scale = float32.from_pattern(m, "scale_number", delay(m, self.scale, at, "scale"))
        scaled = float32.multiply(m, "scaled", total, scale)
        at += STAGES["multiply"]
        # + 0 changes no integer
        bias = Mux(c.floating, delay(m, self.bias, at, "bias"), 0)
        biased = float32.add(m, "biased", scaled,
                             float32.from_pattern(m, "bias_number", bias[:32]))
        residual = self._residual(m, at)
        result = float32.add(m, "result", biased, residual)
        at += 2 * STAGES["add"]
        self._finish(m, result)
        overflow = delay(m, self.entry.flags.overflow & c.floating, self.LATENCY, "overflow")
        m.d.comb += self.kind.overflow.eq(overflow)
        return m

    def _resolve(self, m: Module) -> Signal:
        """The entry as one number; an integer with its bias."""
        e, c = self.entry, self.constants
        low = register(m, "low", e.low)
        integer = register(m, "integer", (e.low + self.bias)[:SEGMENT_BITS].as_signed())
        middle = register(m, "middle", e.middle + e.to_middle)
        high, to_high = register(m, "high", e.high), register(m, "to_high", e.to_high)
        value = Signal(signed(SUM_BITS), reset_less=True)
        with m.If(c.floating):
            m.d.sync += value.eq(Cat(low, middle[:SEGMENT_BITS],
                                     (high + to_high + middle[SEGMENT_BITS])[:SEGMENT_BITS]))
        with m.Else():
            m.d.sync += value.eq(integer)
        return value

    def _residual(self, m: Module, at: int) -> data.View:
        """The residual times its scale, ready for the second addition; + 0 without one."""
        c = self.constants
        wait = at + STAGES["add"] - STAGES["multiply"]
        element = delay(m, self.b, wait, "b")
        integer = delay(m, self.b_integer, wait, "b_integer")
        number = float32.unpack(m, "b_number", element, c.r_type, integer)
        factor = float32.from_pattern(m, "scale_r", c.scale_r)
        product = float32.multiply(m, "residual", number, factor)
        used = float32.named("residual_used")
        m.d.comb += used.eq(product)
        with m.If(~c.residual):
            float32.assign(m, used, exp=float32.LOWEST)
        return used

    def _finish(self, m: Module, number: data.View) -> None:
        c = self.constants
        ends = (float32.from_half(m, n, c[n]) for n in ("lo_f", "hi_f"))
        clipped = later(m, float32.clip(m, "clip", number, *ends), 1, "clipped")
        bits, kind = float32.convert(m, "converted", clipped, c.o_type)

        whole = later(m, number, 1, "whole")
        finite = view_of(FLOAT)
        m.d.comb += [finite.sign.eq(whole.sign), finite.exp.eq(Mux(whole.inf, 0, whole.exp)),
                     finite.mant.eq(Mux(whole.nan, 0, Mux(whole.inf, 1 << 23, whole.mant)))]
        integer = clip_register(m, "integer_out", finite, c.z, c.lo, c.hi)
        integer_kind = register(m, "integer_kind", Cat(whole.nan, whole.inf & ~whole.nan))
        to_integer = c.o_type == DType.INT8
        m.d.comb += [self.out.eq(Mux(to_integer, Value.cast(integer)[:8], bits)),
                     Cat(self.kind.nan, self.kind.infinite).eq(
                         Mux(to_integer, integer_kind, kind))]
