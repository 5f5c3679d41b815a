# SPDX-License-Identifier: Apache-2.0
"""What the interconnect promises: places for all that is asked for, each beat to whom it belongs,
once and in order, and turns.

Beats carry as data where they belong: the low bits of their own address, in beats. Bursts have up
to two beats, so one that begins in the last beat of a block is cut.
"""

from amaranth.hdl import Assert, Assume, Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.chip.channel_reads import ChannelReads, owner_layout
from hw.chip.core_reads import IDS
from hw.chip.depths import Depths
from hw.chip.hub import Hub
from hw.chip.interleave import INTERLEAVE_BYTES
from hw.chip.read_path import ReadPath
from isa.config import Config
from prove.bus import Bursts
from prove.checker import Design
from prove.streams import stays

CHANNELS = 2
DEPTHS = Depths(bursts=1, pieces=2, beats=3)


class Places(Design):
    """Whatever a core asks for and whenever it takes it: what a channel sends of what it was asked
    for has a place. That is an assertion of the path itself."""

    addr: Signal
    len: Signal
    offers: Signal
    asks: Signal
    beats: Signal
    take: Signal

    def __init__(self, config: Config):
        self._block = exact_log2(INTERLEAVE_BYTES // config.bus_bytes)
        self._path = ReadPath(config, CHANNELS, DEPTHS)
        self._beat = exact_log2(config.bus_bytes)
        super().__init__({
            "addr": In(self._block + 1), "len": In(1), "offers": In(1), "asks": In(CHANNELS),
            "beats": In(CHANNELS), "take": In(1), "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.path = path = self._path
        m.d.comb += [
            path.bursts.valid.eq(self.offers), path.bursts.payload.len.eq(self.len),
            path.bursts.payload.addr.eq(self.addr << self._beat), path.r.ready.eq(self.take)]
        for c, (ask, beat) in enumerate(zip(path.asks, path.beats, strict=True)):
            m.d.comb += [ask.ready.eq(self.asks[c]), beat.valid.eq(self.beats[c])]
            self._memory(m, c, ask, beat)
        return m

    def _memory(self, m, c, ask, beat):
        owed = Signal(range(DEPTHS.beats + 3), name=f"owed{c}")
        m.d.sync += owed.eq(owed + Mux(ask.valid & ask.ready, ask.payload.len + 1, 0) - beat.valid)
        m.d.comb += [Assume(~beat.valid | (owed != 0)), Assert(owed <= DEPTHS.beats)]
        if c == 0:
            m.d.comb += self.reached.eq(owed == DEPTHS.beats)


class Reads(Places):
    """Each beat that a core asks for comes once, in the order of its bursts, with ``last`` at
    their ends, whichever channel is first; a piece is in its channel and within a block."""

    MOST = 6

    def elaborate(self, platform: object) -> Elaboratable:
        m = super().elaborate(platform)
        path = self._path
        core = Bursts(m, path.bursts, path.r, self.MOST, self.addr)
        wanted = Signal(self._block + 1)
        m.d.comb += [wanted.eq(core.kept + core.place), Assume(core.count <= self.MOST)]
        with m.If(path.r.valid):
            m.d.comb += [Assert(core.count != 0), Assert(path.r.payload.last == core.ends),
                         Assert(path.r.payload.data[:len(wanted)] == wanted),
                         self.reached.eq(core.over & (core.place == 1) & (wanted[:-1] == 0))]
        return m

    def _memory(self, m, c, ask, beat):
        at = ask.payload.addr[self._beat:][:self._block + 1]
        bursts = Bursts(m, ask, beat, DEPTHS.beats, at)
        with m.If(ask.valid):
            m.d.comb += [Assert(at[-1] == c), Assert((at + ask.payload.len)[self._block] == c)]
        m.d.comb += [Assume(~beat.valid | (bursts.count != 0)),
                     beat.payload.data.eq(bursts.kept + bursts.place),
                     beat.payload.last.eq(bursts.ends)]
