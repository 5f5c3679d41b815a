# SPDX-License-Identifier: Apache-2.0
"""From bursts to beats: which words of the scratchpad each data beat holds.

LOAD runs it beside the R channel, STORE in front of its scratchpad reads. A word's lane in the beat
is also its scratchpad port, so that data is never rotated: port ``p`` of a beat has the address
``spm + p``, and ``mask`` tells which ports take part (all but those before the run's first word
and behind its last one). When a word is wider than the bus, ``mask`` is 1 and ``part`` counts the
beats of the word.

Throughput one beat a cycle, also across bursts; latency 1 cycle.
"""

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.memory.axi import LEN_BITS, burst_layout
from hw.memory.lanes import Lanes, tag_layout
from isa.config import Config
from isa.instructions import INDEX_BITS


def beat_layout(config: Config) -> data.StructLayout:
    """``mask``: lanes that hold a word of the run; ``spm``: address of lane 0, modulo the
    scratchpad; ``part``: beat of its word; ``first``, ``last`` of its burst; ``final``: last beat
    of its instruction, whose position is ``index`` and which has ``group`` or not."""
    lanes = Lanes(config)
    return data.StructLayout({
        "mask": lanes.words, "spm": range(config.spm_words), "part": lanes.part,
        "first": 1, "last": 1, "final": 1, "index": INDEX_BITS,
        "group": 1})


class Beats(wiring.Component):
    """Expands bursts.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : stream of ``burst_layout(config, tag_layout(config))``
    o : stream of ``beat_layout(config)``
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: Config):
        self._lanes = Lanes(config)
        super().__init__({
            "i": In(stream.Signature(burst_layout(config, tag_layout(config)))),
            "o": Out(stream.Signature(beat_layout(config)))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        lanes, beat = self._lanes, self.o.payload
        burst = Signal.like(self.i.payload)
        valid, first, last = Signal(), Signal(), Signal()
        left = Signal(LEN_BITS)
        spm, spm_next = Signal.like(beat.spm), Signal.like(beat.spm)
        part, part_next = Signal(lanes.part), Signal(lanes.part)
        word_ends = part == lanes.beats - 1
        tag = burst.tag
        m.d.comb += [
            beat.first.eq(first), beat.last.eq(last), beat.spm.eq(spm), beat.part.eq(part),
            beat.final.eq(beat.last & burst.last & tag.final), beat.index.eq(tag.index),
            beat.group.eq(tag.group),
            spm_next.eq(spm + Mux(word_ends, lanes.words, 0)),
            part_next.eq(Mux(word_ends, 0, part + 1)),
            self.o.valid.eq(valid),
            self.i.ready.eq(~valid | (self.o.ready & beat.last)),
        ]
        for p in range(lanes.words):
            before = tag.first_lane > p if p < lanes.words - 1 else 0
            behind = tag.last_lane < p if p > 0 else 0
            m.d.comb += beat.mask[p].eq(~((first & burst.first & before)
                                          | (beat.last & burst.last & behind)))
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [left.eq(left - 1), last.eq(left == 1), first.eq(0), spm.eq(spm_next),
                         part.eq(part_next)]
            with m.If(beat.last):
                m.d.sync += valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [valid.eq(1), first.eq(1), burst.eq(self.i.payload),
                         left.eq(self.i.payload.len), last.eq(self.i.payload.len == 0)]
            with m.If(self.i.payload.first):
                m.d.sync += spm.eq(self.i.payload.tag.spm - self.i.payload.tag.first_lane)
        return m
