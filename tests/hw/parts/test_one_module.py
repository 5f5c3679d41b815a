# SPDX-License-Identifier: Apache-2.0
"""Equal modules of the Verilog are one, unequal ones are not; every simulation shows that the
design stays the same."""

import re

import pytest
from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.top import verilog_of


class Step(wiring.Component):
    """Adds ``amount`` with a register behind."""

    x: Signal
    y: Signal

    def __init__(self, amount: int):
        self._amount = amount
        super().__init__({"x": In(8), "y": Out(8)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.d.sync += self.y.eq(self.x + self._amount)
        return m


class Pair(wiring.Component):
    """Two steps, one behind the other."""

    x: Signal
    y: Signal

    def __init__(self, *amounts: int):
        self._amounts = amounts
        super().__init__({"x": In(8), "y": Out(8)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        value: Signal = self.x
        for k, amount in enumerate(self._amounts):
            m.submodules[f"step{k}"] = step = Step(amount)
            m.d.comb += step.x.eq(value)
            value = step.y
        m.d.comb += self.y.eq(value)
        return m


class Chain(Pair):
    """Three pairs, two of them alike."""

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        value: Signal = self.x
        for k, amounts in enumerate(((1, 1), (1, 1), (1, 4))):
            m.submodules[f"pair{k}"] = pair = Pair(*amounts)
            m.d.comb += pair.x.eq(value)
            value = pair.y
        m.d.comb += self.y.eq(value)
        return m


@pytest.fixture(scope="module")
def text() -> str:
    return verilog_of(Chain(), "chain")


def test_one_module_for_each_block(text: str) -> None:
    modules = re.findall(r"^module (\w+)", text, re.MULTILINE)
    assert sorted(modules) == ["chain", "chain_pair", "chain_pair_2", "chain_pair_step",
                               "chain_pair_step_2"]
    for name, count in (("chain_pair", 2), ("chain_pair_2", 1), ("chain_pair_step", 3),
                        ("chain_pair_step_2", 1)):
        assert len(re.findall(rf"^  {name} ", text, re.MULTILINE)) == count
