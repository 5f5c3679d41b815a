# SPDX-License-Identifier: Apache-2.0
"""Repeated parts are written once, with the parts within them, and the design stays the same."""

import re

import pytest
from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hw.chip.top import uncore_verilog
from hw.parts.repeated import Repeated, ports, repeated
from hw.top import verilog_of
from isa.chip import CHIPS


MEMBERS = {"x": In(stream.Signature(8, always_ready=True)), "y": Out(8)}


class Step(wiring.Component):
    """Adds one, with a register behind; a stream that is always ready has no port for that."""

    x: stream.Interface
    y: Signal

    def __init__(self) -> None:
        super().__init__(MEMBERS)

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        with m.If(self.x.valid):
            m.d.sync += self.y.eq(self.x.payload + 1)
        return m


class Steps(wiring.Component):
    """As many as are said, of ``kind``, one behind the other."""

    x: stream.Interface
    y: Signal

    def __init__(self, count: int, kind: type[wiring.Component] = Step) -> None:
        self._count, self._kind = count, kind
        super().__init__(MEMBERS)

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        value: Signal = self.x.payload
        for k in range(self._count):
            step = repeated(m, platform, self._kind.__name__, k, self._kind)
            m.d.comb += [step.x.payload.eq(value), step.x.valid.eq(self.x.valid)]
            value = step.y
        m.d.comb += self.y.eq(value)
        return m


class Two(Steps):
    def __init__(self) -> None:
        super().__init__(2)


def written(part, name, platform):
    return verilog_of(part, name, platform, {port: (signal, None)
                                             for port, _, signal in ports(part)})


def test_each_is_written_once_with_those_within():
    platform = Repeated()
    text = written(Steps(3, Two), "top", platform)
    assert len(re.findall(r"^  Two +\S+ +\(", text, re.MULTILINE)) == 3
    assert list(platform.parts) == ["Two"] and "module Two" not in text
    text = written(platform.parts["Two"], "Two", platform)
    assert list(platform.parts) == ["Two", "Step"]
    assert len(re.findall(r"^  Step +\S+ +\(", text, re.MULTILINE)) == 2
    text = written(platform.parts["Step"], "Step", platform)
    assert "ready" not in text


def test_another_platform_has_the_parts_themselves():
    design = Steps(3, Two)
    simulator = Simulator(design)
    simulator.add_clock(1e-6)

    async def bench(ctx):
        ctx.set(design.x.payload, 5)
        ctx.set(design.x.valid, 1)
        await ctx.tick().repeat(7)
        assert ctx.get(design.y) == 11

    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("name, kinds", [
    ("chip2_tiny", {"core_reads": 3, "core_writes": 3, "channel_reads": 2, "channel_writes": 2})])
def test_a_chip_has_one_module_of_each(name, kinds):
    text = uncore_verilog(CHIPS[name])
    for kind, count in {**kinds, "meeting": 2}.items():
        assert len(re.findall(rf"^module {kind}\(", text, re.MULTILINE)) == 1
        assert len(re.findall(rf"^  {kind} +\S+ +\(", text, re.MULTILINE)) == count
