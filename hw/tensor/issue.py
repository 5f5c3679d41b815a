# SPDX-License-Identifier: Apache-2.0
"""The drain's sequencer: entries as PSUM reads and as slices for the post-processors' lanes."""

from amaranth.hdl import Array, Elaboratable, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.engine.ports import view_of
from hw.parts.delay import register
from hw.tensor.drain_addresses import entry_layout
from hw.tensor.drain_walk import word_of
from hw.tensor.post import slice_columns, slices, types, unit
from isa.config import Config


class Issue(wiring.Component):
    """Latency: an entry is issued a cycle after it has been taken; its slices run from the next
    cycle on. Throughput: a slice a cycle, an entry every :func:`hw.tensor.post.slices` cycles.
    Stall: an entry waits in a register for ``ready``; slices do not stall.

    Parameters
    ----------
    config : Config

    Members
    -------
    o_type : In(2)
        Type of the output; settled two cycles before the first entry.
    entries : In(stream of entry_layout(config))
    waits, waiting : Out
        There is an entry that is to be issued (entry_layout(config)).
    ready : In(1)
        Whatever that entry needs is there.
    issue : Out(1)
        It is issued.
    running, first : Out
        A slice of the entry issued before, and its first column in units of
        :func:`hw.tensor.post.unit`.
    release, release_bank : Out
        In the last slice of a block: its bank has been read.
    idle : Out(1)
        No entry waits, no slice runs.
    """

    o_type: Signal
    entries: stream.Interface
    waits: Signal
    waiting: data.View
    ready: Signal
    issue: Signal
    running: Signal
    first: Signal
    release: Signal
    release_bank: Signal
    idle: Signal

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "o_type": In(2), "entries": In(stream.Signature(entry_layout(config))),
            "waits": Out(1), "waiting": Out(entry_layout(config)), "ready": In(1),
            "issue": Out(1),
            "running": Out(1), "first": Out(range(max(2, config.columns // unit(config)))),
            "release": Out(1), "release_bank": Out(1), "idle": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self._config
        every = types(config)
        final = register(m, "final", Array(slices(config, t) - 1 for t in every)[self.o_type])
        step = register(m, "step", Array(slice_columns(config, t) // unit(config)
                                         for t in every)[self.o_type])
        # first columns of the words of an entry are so far apart, in logarithms
        apart = register(m, "apart", Array(exact_log2(config.columns // t.size // unit(config))
                                           for t in every)[self.o_type])
        now = view_of(entry_layout(config), reset_less=True)
        waits, fetch, last = self.waits, Signal(), Signal()
        left = Signal(range(max(2, *(slices(config, t) for t in every))))
        closing, closing_bank = Signal(), Signal()
        m.d.comb += [
            self.waiting.eq(now), self.issue.eq(waits & (~self.running | last) & self.ready),
            fetch.eq(self.entries.valid & (~waits | self.issue)), self.entries.ready.eq(fetch),
            self.release.eq(self.running & last & closing), self.release_bank.eq(closing_bank),
            self.idle.eq(~waits & ~self.running)]
        m.d.sync += waits.eq(fetch | (waits & ~self.issue))
        with m.If(fetch):
            m.d.sync += now.eq(self.entries.payload)
        with m.If(self.issue):
            m.d.sync += [self.running.eq(1), left.eq(final), last.eq(final == 0),
                         closing.eq(now.last), closing_bank.eq(now.bank),
                         self.first.eq(word_of(now) << apart)]
        with m.Else():
            m.d.sync += [self.running.eq(self.running & ~last), left.eq(left - 1),
                         last.eq(left == 1), self.first.eq(self.first + step)]
        return m
