# SPDX-License-Identifier: Apache-2.0
"""Partial sums of one tile: two banks, so that one drains while the other accumulates.

::

    cycle     0                1                        2
           add.index ─► read ─► + sums (or sums alone) ─► write

An entry is revisited no sooner than a weight tile takes to load, which is at least four cycles
(:class:`isa.config.Config` sees to it); the read-add-write takes three, so there is no bypass.
"""

from amaranth.hdl import Array, Assert, Elaboratable, Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from hw.ports import view_of
from isa.config import Config

SUM_BITS = 32


def add_layout(config: Config) -> data.StructLayout:
    """An accumulation: ``valid``, PSUM ``bank`` and ``index``, and whether it starts afresh."""
    return data.StructLayout({"valid": 1, "bank": 1, "index": range(config.psum_depth),
                              "overwrite": 1})


class Accumulator(wiring.Component):
    """Parameters
    ----------
    config : Config
        Depth and columns.
    sum_bits : int
        Width of a column's sum.

    Members
    -------
    add : In(add_layout)
        What to accumulate, one cycle ahead of ``sums``; visible to a drain that starts
        ``LATENCY`` cycles later.
    sums : In(array of signed)
        Column sums.
    drain_en, drain_bank, drain_index : In
        Read an entry; ``drained`` shows it from the next cycle until the next read.
    drained : Out(array of signed(32))
    """

    LATENCY = 3

    add: data.View
    sums: data.View
    drain_en: Signal
    drain_bank: Signal
    drain_index: Signal
    drained: data.View

    def __init__(self, config: Config, sum_bits: int):
        self._config = config
        self._entry = data.ArrayLayout(signed(SUM_BITS), config.columns)
        super().__init__({
            "add": In(add_layout(config)),
            "sums": In(data.ArrayLayout(signed(sum_bits), config.columns)),
            "drain_en": In(1), "drain_bank": In(1), "drain_index": In(range(config.psum_depth)),
            "drained": Out(self._entry)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        now = view_of(self.add.shape())
        then = view_of(self.add.shape())
        m.d.sync += [now.eq(self.add), then.eq(now)]
        total = view_of(self._entry, reset_less=True)
        outputs = []
        for bank in range(2):
            ram: memory.Memory = memory.Memory(
                shape=self._entry, depth=self._config.psum_depth, init=[],
                attrs={"no_rw_check": 1})  # type: ignore[dict-item]  # stubs: only str
            m.submodules[f"bank{bank}"] = ram
            write, read = ram.write_port(), ram.read_port()
            mine = self.add.valid & (self.add.bank == bank) & ~self.add.overwrite
            drain = self.drain_en & (self.drain_bank == bank)
            m.d.comb += [
                read.en.eq(mine | drain),
                read.addr.eq(Mux(drain, self.drain_index, self.add.index)),
                write.en.eq(then.valid & (then.bank == bank)),
                write.addr.eq(then.index), write.data.eq(total)]
            m.d.sync += Assert(~(mine & drain), "a PSUM bank is drained while it accumulates")
            for late in (now, then):
                same = late.valid & (late.bank == bank) & (late.index == self.add.index)
                m.d.sync += Assert(~(mine & same),
                                   "a PSUM entry is revisited before it was written")
            outputs.append(read.data)
        old = Array(outputs)[now.bank]
        for k in range(self._config.columns):
            m.d.sync += total[k].eq(Mux(now.overwrite, 0, old[k]) + self.sums[k])
        drain_bank = Signal()
        with m.If(self.drain_en):
            m.d.sync += drain_bank.eq(self.drain_bank)
        m.d.comb += self.drained.eq(Array(outputs)[drain_bank])
        return m
