# SPDX-License-Identifier: Apache-2.0
"""Partial sums of one tile: two banks, so that one drains while the other accumulates.

::

    cycle     0              1          2                        3
           add.index ─► read ─► register ─► + sums (or sums alone) ─► write

With floating point an entry is three segments of 32 bits, whose carries are kept beside them until
the entry is revisited or drained, so that no addition is longer than a segment.

The read-add-write takes four cycles, and there is no bypass: a pass of four pixels or more takes
that long, the weights of a pass of one take four cycles to load (:class:`isa.config.Config` sees to
it), and a pass of two or three waits a cycle or two where it has to (:mod:`hw.tensor.engine`).
"""

from amaranth.hdl import Array, Assert, Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.sums import SEGMENT_BITS, entry_layout
from hw.engine.ports import view_of
from hw.tensor.column import compress, sum_layout
from isa.config import Config


def add_layout(config: Config) -> data.StructLayout:
    """An accumulation: ``valid``, PSUM ``bank`` and ``index``, and whether it starts afresh."""
    return data.StructLayout({"valid": 1, "bank": 1, "index": range(config.psum_depth),
                              "overwrite": 1})


def accumulate(m: Module, name: str, config: Config, total: data.View, old: Value,
               column: data.View) -> None:
    """Register ``total``: the entry ``old`` with a column's sum."""
    entry = data.View(entry_layout(config), old)
    if not config.floats:
        m.d.sync += total.low.eq(entry.low + column.sum)
        return
    saved = Cat(entry.low, entry.middle, entry.high)
    a, b = compress(m, name, [saved, column.sum, column.carry])
    carries = (Const(0, 1), entry.to_middle, entry.to_high)
    parts = []
    for s, carry in enumerate(carries):
        part = Signal(SEGMENT_BITS + 1, name=f"{name}_segment{s}")
        at = slice(s * SEGMENT_BITS, (s + 1) * SEGMENT_BITS)
        m.d.comb += part.eq(a[at] + b[at] + carry)
        parts.append(part)
    m.d.sync += [
        *(total[name].eq(part) for name, part in zip(("low", "middle", "high"), parts,
                                                     strict=True)),
        total.to_middle.eq(parts[0][-1]), total.to_high.eq(parts[1][-1]),
        total.flags.eq(entry.flags.as_value() | column.flags.as_value())]


class Accumulator(wiring.Component):
    """Latency: LATENCY cycles from ``add`` to a drain that sees it, one from ``drain_en`` to
    ``drained``. Throughput: an accumulation and a read a cycle, of different banks; an entry can be
    revisited after four cycles. There is no stall.

    Parameters
    ----------
    config : Config
        Depth and columns.

    Members
    -------
    add : In(add_layout)
        What to accumulate, LEAD cycles ahead of ``sums``; visible to a drain that starts
        ``LATENCY`` cycles later.
    sums : In(array of sum_layout(config))
        Column sums.
    drain_en, drain_bank, drain_index : In
        Read an entry; ``drained`` shows it from the next cycle until the next read.
    drained : Out(array of entry_layout(config))
    """

    LATENCY, LEAD = 4, 2

    add: data.View
    sums: data.View
    drain_en: Signal
    drain_bank: Signal
    drain_index: Signal
    drained: data.View

    def __init__(self, config: Config):
        self._config = config
        self._entry = data.ArrayLayout(entry_layout(config), config.columns)
        super().__init__({
            "add": In(add_layout(config)),
            "sums": In(data.ArrayLayout(sum_layout(config), config.columns)),
            "drain_en": In(1), "drain_bank": In(1), "drain_index": In(range(config.psum_depth)),
            "drained": Out(self._entry)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        coming, now, then = (view_of(self.add.shape(), name=n) for n in ("coming", "now", "then"))
        m.d.sync += [coming.eq(self.add), now.eq(coming), then.eq(now)]
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
            for late in (coming, now, then):
                same = late.valid & (late.bank == bank) & (late.index == self.add.index)
                m.d.sync += Assert(~(mine & same),
                                   "a PSUM entry is revisited before it was written")
            outputs.append(read.data)
        old = view_of(self._entry, reset_less=True)
        m.d.sync += old.eq(Mux(coming.overwrite, 0, Array(outputs)[coming.bank].as_value()))
        for k in range(self._config.columns):
            accumulate(m, f"column{k}", self._config, total[k], old[k].as_value(), self.sums[k])
        drain_bank = Signal()
        with m.If(self.drain_en):
            m.d.sync += drain_bank.eq(self.drain_bank)
        m.d.comb += self.drained.eq(Array(outputs)[drain_bank])
        return m
