# SPDX-License-Identifier: Apache-2.0
"""From beats to the scratchpad: each lane's words through ports of their own, which stall each on
its own."""

from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import exact_log2

from hw.engine.ports import SpmWrite, SpmWriter
from hw.memory.lanes import Lanes
from hw.parts.fifo import Fifo
from hw.parts.skid import Skid
from hw.scratchpad.last_write import write_out
from isa.config import Config


def lines_layout(config: Config) -> data.StructLayout:
    """Words of a beat: those of ``mask``, to the addresses from that of lane 0 on, ``spm``, modulo
    the scratchpad; ``last`` of what has a completion of its own."""
    lanes = Lanes(config)
    return data.StructLayout({
        "mask": lanes.words, "spm": range(config.spm_words), "last": 1,
        "data": 8 * config.word_bytes * lanes.words})


WAYS = 2
"""Ports of a lane, which take its words in turns. Both the words that arrive and those that the
array reads walk from bank to bank; a single port that has lost a bank once is a step behind the
array and loses the next one, too, and gets half of its bandwidth."""


def write_ports(config: Config) -> int:
    """Scratchpad ports of a writer: those of the first lane, then those of the next."""
    return WAYS * Lanes(config).words


def banks(config: Config, port: int) -> int:
    """Banks that a port asks for, a bit for each: those with words of its way."""
    count, words, way = config.spm_banks, Lanes(config).words, port % WAYS
    mine = {a % count for a in range(count * words * WAYS) if a // words % WAYS == way}
    return sum(1 << b for b in mine)


class LaneWriter(wiring.Component):
    """Writes words of beats. Latency: 2 cycles from ``enters`` to ``write``. Throughput: a beat a
    cycle. Stall: a lane whose scratchpad port is not ready keeps its words in its FIFO; when one is
    full, there is no ``room``.

    Parameters
    ----------
    config : Config

    Members
    -------
    room : 1
        A beat may enter.
    enters : 1
        ``lines`` does, with or without words; not without ``room``.
    lines : lines_layout(config)
    done : 1
        Strobe: the scratchpad has accepted all words up to one that was ``last``.
    write : array of ``write_ports(config)`` SpmWrite
    ends : a bit for each port of ``write``
        Its last write of what is ``last``, if it has one there, is done with this cycle.
    blocked : 1
        A port waits for the scratchpad.
    """

    PORT_DEPTH = 8
    """Words that wait for a stalled scratchpad port."""

    room: Signal
    enters: Signal
    lines: data.View
    done: Signal
    write: list[SpmWriter]
    ends: Signal
    blocked: Signal

    def __init__(self, config: Config):
        self._config = config
        ports = write_ports(config)
        super().__init__({
            "room": Out(1), "enters": In(1), "lines": In(lines_layout(config)), "done": Out(1),
            "write": Out(SpmWrite(config)).array(ports), "ends": Out(ports), "blocked": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config, lanes, lines = self._config, Lanes(self._config), self.lines
        entry = data.StructLayout({"word": 1, "last": 1, "addr": lines.spm.shape(),
                                   "data": 8 * config.word_bytes})
        ports = [Fifo(entry, self.PORT_DEPTH) for _ in self.write]
        cuts = [Skid(entry, copies=2) for _ in ports]
        m.d.comb += self.room.eq(Cat(cut.go[1] for cut in cuts).all())
        ends = []
        for p, port in enumerate(ports):
            lane, way = divmod(p, WAYS)
            m.submodules[f"port{p}"] = port
            m.submodules[f"cut{p}"] = cut = cuts[p]
            connect(m, cut.o, port.i)
            i, o, write = cut.i.payload, port.o.payload, self.write[p]
            ended = Signal(name=f"ended{p}")
            mine = i.addr[lanes.words_log2:][:exact_log2(WAYS)] == way
            m.d.comb += [
                i.word.eq(lines.mask[lane] & mine), i.last.eq(lines.last),
                i.addr.eq(lines.spm + lane),
                i.data.eq(lines.data.word_select(lane, 8 * config.word_bytes)),
                cut.i.valid.eq(self.enters & (i.word | i.last)),
                write.addr.eq(o.addr), write.data.eq(o.data),
            ]
            leaves = write_out(m, f"port{p}", write, port.o.valid & ~(o.last & ended), o.word,
                               o.last)
            passing = leaves & o.last
            m.d.comb += [port.o.ready.eq(leaves), self.ends[p].eq(passing)]
            m.d.sync += ended.eq((ended | passing) & ~self.done)
            ends.append(ended | passing)
        m.d.comb += [
            self.done.eq(Cat(ends).all()),
            self.blocked.eq(Cat(write.valid & ~write.ready for write in self.write).any())]
        return m
