# SPDX-License-Identifier: Apache-2.0
"""One output lane of a machine with floating point, for everything that is not INT8 alone.

::

    PSUM entry ─ carries ─ (+ bias) ─ round ─ × scale ─ + bias ─┬─ + ─┬─ clip ─ to FP16, BF16, FP32
                                                 residual × scale_r   └─ integer + z, clip ─ to INT8

The arithmetic is that of :mod:`golden.tensor`. There is no stall: what enters in cycle ``t`` is out
in ``t + LATENCY``. The constants of the instruction stand still.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arith import ieee
from hw.arith.ieee import STAGES
from hw.arith.output import LATENCY as OUTPUT_LATENCY, OUTPUT, output
from hw.arith.sums import SEGMENT_BITS, SUM_BITS, UNIT_BITS, entry_layout
from hw.parts.delay import delay, later, register
from isa.config import Config

FLOAT_CONSTANTS = data.StructLayout({
    "floating": 1, "unit": signed(UNIT_BITS), "r_type": 2, "residual": 1, "scale_r": 32,
    **{name: field.shape for name, field in OUTPUT}})
"""What stands still during an instruction. ``floating``: entries are sums of floats; ``unit``:
exponent of their lowest bit."""

KIND = data.StructLayout({"nan": 1, "infinite": 1, "overflow": 1})
"""What is counted of a result."""


class FloatLane(wiring.Component):
    """Latency: LATENCY cycles for every element. Throughput: an element a cycle. There is no stall.

    Parameters
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
    LATENCY = (RESOLVE + STAGES["round_fixed"] + STAGES["multiply"] + 2 * STAGES["add"]
               + OUTPUT_LATENCY)

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
        total = ieee.round_fixed(m, "total", value, c.unit, flags)
        at = self.RESOLVE + STAGES["round_fixed"]
        scale = later(m, ieee.from_pattern(m, "scale_pattern", delay(
            m, self.scale, at - 1, "scale")), 1, "scale_number")
        scaled = ieee.multiply(m, "scaled", total, scale)
        at += STAGES["multiply"]
        # + 0 changes no integer
        bias = Mux(c.floating, delay(m, self.bias, at - 1, "bias"), 0)[:32]
        biased = ieee.add(m, "biased", scaled, later(
            m, ieee.from_pattern(m, "bias_pattern", bias), 1, "bias_number"))
        residual = self._residual(m, at)
        result = ieee.add(m, "result", biased, residual)
        at += 2 * STAGES["add"]
        out, kind = output(m, result, c)
        m.d.comb += [self.out.eq(out), Cat(self.kind.nan, self.kind.infinite).eq(kind)]
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
        wait = at + STAGES["add"] - STAGES["multiply"] - 2
        element = delay(m, self.b, wait, "b")
        integer = delay(m, self.b_integer, wait, "b_integer")
        number = later(m, ieee.unpack(m, "b_element", element, c.r_type, integer), 1, "b_number")
        factor = later(m, ieee.from_pattern(m, "scale_r", c.scale_r), 1, "scale_r_number")
        product = ieee.multiply(m, "residual", number, factor)
        used = ieee.named("residual_used")
        m.d.comb += used.eq(product)
        with m.If(~c.residual):
            ieee.assign(m, used, exp=ieee.LOWEST)
        return later(m, used, 1, "residual_last")
