# SPDX-License-Identifier: Apache-2.0
"""Which registers take their next value themselves; that they take the same one is held by
tests/sim/test_same_machine.py."""

import re

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.top import verilog_of
from sim.registers import registers


class Counter(wiring.Component):
    """Counts, and shows what it will be; keeps a byte in parts."""

    up: Signal
    byte: Signal
    coming: Signal
    kept: Signal

    def __init__(self) -> None:
        super().__init__({"up": In(1), "byte": In(8), "coming": Out(4), "kept": Out(8)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        count, following = Signal(4, init=3), Signal(4)
        with m.If(self.up):
            m.d.comb += following.eq(count + 1)
        with m.Else():
            m.d.comb += following.eq(count)
        m.d.comb += self.coming.eq(following)
        m.d.sync += count.eq(following)
        with m.If(self.up):
            m.d.sync += self.kept[:4].eq(self.byte[4:])
        with m.Else():
            m.d.sync += self.kept[4:].eq(self.byte[:4])
        return m


def clocked(text: str, name: str) -> str:
    """The clocked block that assigns a register."""
    blocks = re.findall(r"^  always @\(posedge clk\).*\n(?:    .*\n)*", text, re.MULTILINE)
    (mine,) = (block for block in blocks if re.search(rf"^ +{name}.*<= ", block, re.MULTILINE))
    return str(mine)


def test_a_value_that_only_the_register_reads_is_gone() -> None:
    before = verilog_of(Counter(), "counter")
    after = registers(before)
    assert clocked(before, "kept").count("<=") == 1
    block = clocked(after, "kept")
    assert block.count("kept[3:0] <= ") == block.count("kept[7:4] <= ") == 1
    assert block.count("kept <= 8'h00") == 1 and "if (rst)" in block
    assert before.count("always @*") == 3 and after.count("always @*") == 1


def test_a_value_that_others_read_stays() -> None:
    after = registers(verilog_of(Counter(), "counter"))
    (block,) = re.findall(r"^  always @\* begin\n(?:    .*\n)*", after, re.MULTILINE)
    assert block.count("coming = ") == 2
    assert len(re.findall(r"<= coming;", after)) == 1


def test_other_text_is_left_alone() -> None:
    text = "module makalu(input clk, output reg y);\n  always @(posedge clk) y <= ~y;\nendmodule\n"
    assert registers(text) == text
