# SPDX-License-Identifier: Apache-2.0
"""Behind three pins a block still gets every input, and every output is seen."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from synth.serial import Serial


class Swap(wiring.Component):
    """``c`` and ``d`` are ``a`` and ``b``, one of them inverted."""

    a: Signal
    b: Signal
    c: Signal
    d: Signal

    def __init__(self):
        super().__init__({"a": In(3), "b": In(2), "c": Out(2), "d": Out(3)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.c.eq(~self.b), self.d.eq(self.a)]
        return m


def test_every_bit_passes() -> None:
    """The parity of five bits, two of them inverted, three cycles after the fifth."""
    dut, bits, seen = Serial(Swap()), [1, 0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 1, 0, 1, 0, 0], []

    async def bench(ctx):
        for bit in bits:
            ctx.set(dut.give, bit)
            await ctx.tick()
            seen.append(ctx.get(dut.take))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    want = [sum(bits[t - 6:t - 1]) % 2 for t in range(6, len(bits))]
    assert seen[6:] == want and 0 < sum(want) < len(want)
