# SPDX-License-Identifier: Apache-2.0
"""What a core's side of an exchange promises: bursts are those of their instructions, words land
once and in order, a count rises once for each signal and not before its words are there, and an
AWAIT is complete when its counter is far enough.
"""

from typing import Any

from amaranth.hdl import Array, Assert, Assume, Cat, Const, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.exchange.landing import Landing
from hw.exchange.ports import COUNTER
from hw.exchange.send import SendEngine
from hw.exchange.signals import Signals
from hw.memory.lane_writer import WAYS, write_ports
from hw.memory.lanes import Lanes
from isa.config import Config
from isa.instructions import SIGNAL_BITS, SIGNALS
from prove.bus import Bursts
from prove.checker import Design
from prove.streams import stays


class Awaits(Design):
    """Counters of signals and AWAIT: a counter is the number of its signals since the last gang; an
    AWAIT is complete a cycle after it is as far as the threshold, modulo 2**16, and not before; but
    two cycles after it was taken at the soonest, and never on a machine that halts."""

    counter: Signal
    threshold: Signal
    offers: Signal
    rises: Signal
    whose: Signal
    zero: Signal
    halt: Signal

    def __init__(self) -> None:
        self._signals = Signals()
        super().__init__({"counter": In(COUNTER), "threshold": In(SIGNAL_BITS), "offers": In(1),
                          "rises": In(1), "whose": In(COUNTER), "zero": In(1), "halt": In(1),
                          "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.signals = signals = self._signals
        engine, instr = signals.engine, signals.instr
        counts = [Signal(SIGNAL_BITS, name=f"count{k}") for k in range(SIGNALS)]
        for k, count in enumerate(counts):
            m.d.sync += count.eq(Mux(self.zero, 0, count + (self.rises & (self.whose == k))))
        which, threshold = Signal(COUNTER), Signal(SIGNAL_BITS)
        beyond = Signal(SIGNAL_BITS)
        under_way, far, before, new = Signal(), Signal(), Signal(), Signal()
        taken = instr.valid & instr.ready
        m.d.comb += [
            instr.valid.eq(self.offers), instr.payload.counter.eq(self.counter),
            instr.payload.threshold.eq(self.threshold), signals.rises.eq(self.rises),
            signals.counter.eq(self.whose), signals.zero.eq(self.zero),
            engine.halt.eq(self.halt), Assert(engine.start == taken),
            Assume(~(self.zero & (under_way | taken))),
            beyond.eq(Array(counts)[which] - threshold), far.eq(~beyond[-1]),
            # who waits sees its counter before it is behind again, half of the range later
            Assume(~under_way | (beyond != (1 << SIGNAL_BITS - 1) - 1)),
            Assert(engine.done == under_way & ~new & before), Assert(~engine.done | far),
            Assert(~(taken & under_way)), Assert(engine.busy == under_way),
            self.reached.eq(engine.done & (threshold == 2))]
        with m.If(taken):
            m.d.sync += [under_way.eq(1), which.eq(self.counter), threshold.eq(self.threshold)]
        with m.Elif(engine.done | self.halt):
            m.d.sync += under_way.eq(0)
        m.d.sync += [before.eq(far), new.eq(taken)]
        return m


class Landings(Design):
    """What lands in a scratchpad that takes and makes writes when it likes: of the words of beats
    each is written once, in order, to its address; bursts land in order, and each but once; when
    one has landed, its words have been written and the writes been made; a count rises with each
    that is a signal, by the counter that it says, and with no other. There is room again three
    cycles after the scratchpad takes whatever it is given."""

    SLOW = 3

    row: Signal
    tag: Signal
    mask: Signal
    last: Signal
    signal: Signal
    offers: Signal
    takes: Signal
    pending: Signal
    mark: Signal
    port: Signal

    def __init__(self, config: Config):
        self._config, self._words = config, Lanes(config).words
        self._landing = Landing(config)
        ports = write_ports(config)
        super().__init__({
            "row": In(2), "tag": In(1), "mask": In(self._words), "last": In(1), "signal": In(1),
            "offers": In(1), "takes": In(ports), "pending": In(ports), "mark": In(2),
            "port": In(range(ports)), "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.landing = landing = self._landing
        land, p = landing.land, landing.land.payload
        taken = Signal()
        m.d.comb += [
            land.valid.eq(self.offers), p.spm.eq(self.row << exact_log2(self._words)),
            p.mask.eq(self.mask), p.last.eq(self.last), p.signal.eq(self.signal),
            p.counter.eq(self.row), taken.eq(land.valid & land.ready),
            *(p.data.word_select(k, 8 * self._config.word_bytes)[0].eq(self.tag)
              for k in range(self._words))]
        inside, writes = self._ports(m, taken)
        self._word(m, taken, inside, writes)
        self._burst(m, taken, inside, writes)
        flows, slow = Signal(), Signal(range(self.SLOW + 2))
        m.d.comb += [flows.eq(self.takes.all() & ~self.pending.any()),
                     Assert(land.ready | (slow < self.SLOW))]
        m.d.sync += slow.eq(Mux(~flows, 0, Mux(slow == self.SLOW, slow, slow + 1)))
        return m

    def _ports(self, m: Module, taken: Signal) -> tuple[list[Signal], list[Signal]]:
        """For each port the words that have come and are not written, those of this beat included,
        and whether one is written."""
        inside, writes = [], []
        for k, port in enumerate(self._landing.write):
            lane, way = divmod(k, WAYS)
            mine = taken & self.mask[lane] & (self.row[0] == way)
            count, now = (Signal(range(32), name=f"{what}{k}") for what in ("count", "now"))
            goes = Signal(name=f"goes{k}")
            m.d.comb += [port.ready.eq(self.takes[k]), port.pending.eq(self.pending[k]),
                         goes.eq(port.valid & port.ready), now.eq(count + mine),
                         Assert(~port.valid | (count != 0))]
            m.d.sync += count.eq(now - goes)
            inside.append(now)
            writes.append(goes)
        return inside, writes

    def _word(self, m: Module, taken: Signal, inside: list[Signal], writes: list[Signal]) -> None:
        """One of the words, any: it is written once those before it are, where it belongs."""
        marked, which, row, tag = Signal(), Signal.like(self.port), Signal(2), Signal()
        left, goes = Signal(range(32)), Signal()
        lane = Array(Const(k // WAYS, 2) for k in range(len(writes)))
        way = Array(Const(k % WAYS, 1) for k in range(len(writes)))
        port = [Array(getattr(w, name) for w in self._landing.write)[which]
                for name in ("addr", "data")]
        m.d.comb += goes.eq(marked & Array(writes)[which])
        with m.If(taken & self.mark[0] & ~marked & (self.row[0] == way[self.port])
                  & Array(self.mask[k // WAYS] for k in range(len(writes)))[self.port]):
            m.d.sync += [marked.eq(1), which.eq(self.port), row.eq(self.row), tag.eq(self.tag),
                         left.eq(Array(inside)[self.port] - Array(writes)[self.port])]
        with m.Elif(goes):
            m.d.sync += [left.eq(left - 1), marked.eq(left != 1)]
            with m.If(left == 1):
                m.d.comb += [Assert(port[0] == (row << exact_log2(self._words)) + lane[which]),
                             Assert(port[1][0] == tag)]

    def _burst(self, m: Module, taken: Signal, inside: list[Signal], writes: list[Signal]) -> None:
        """One of the bursts, any: of each port so many words have to be written, and then all
        writes of the port have to have been made."""
        landing = self._landing
        marked, signal, counter, ahead = Signal(), Signal(), Signal(COUNTER), Signal(range(64))
        under_way = Signal(range(64))
        ends = taken & self.last
        m.d.sync += under_way.eq(under_way + ends - landing.landed)
        m.d.comb += [Assert(~landing.landed | (under_way != 0)),
                     Assert(~landing.rises | landing.landed)]
        starts = ends & self.mark[1] & ~marked
        mine = marked & landing.landed & (ahead == 0)
        with m.If(starts):
            m.d.sync += [marked.eq(1), signal.eq(self.signal), counter.eq(self.row),
                         ahead.eq(under_way - landing.landed)]
        with m.Elif(marked & landing.landed):
            m.d.sync += ahead.eq(ahead - 1)
            with m.If(ahead == 0):
                m.d.sync += marked.eq(0)
        made = []
        for k, (count, goes) in enumerate(zip(inside, writes, strict=True)):
            left, was = Signal(range(32), name=f"left{k}"), Signal(name=f"made{k}")
            with m.If(starts):
                m.d.sync += [left.eq(count - goes), was.eq(0)]
            with m.Else():
                m.d.sync += [left.eq(left - (goes & (left != 0))),
                             was.eq(was | (left == 0) & ~self.pending[k])]
            made.append((left == 0) & (was | ~self.pending[k]))
        with m.If(mine):
            m.d.comb += [Assert(Cat(made).all()), Assert(landing.rises == signal),
                         Assert(landing.counter == counter),
                         self.reached.eq(signal & counter.any() & self.pending.any())]


class Sends(Design):
    """XFERs of up to four runs of a word, and SIGNALs: bursts go out in the order of their
    instructions, each run one, to where its first one says, for the ranks and with the counter of
    its instruction; a SIGNAL is one burst of which no word counts. Of what signals the last burst
    is a signal, and no other is. An instruction is complete with the answer to its last burst."""

    MOST = 6
    """Instructions under way."""

    runs: Signal
    peer: Signal
    to: Signal
    signal: Signal
    empty: Signal
    offers: Signal
    posts: Signal
    w: Signal
    b: Signal
    reads: Signal
    arrived: Signal

    def __init__(self, config: Config):
        self._config, self._engine, self._words = config, SendEngine(config), Lanes(config).words
        super().__init__({
            "runs": In(2), "peer": In(2), "to": In(3), "signal": In(1), "empty": In(1),
            "offers": In(1), "posts": In(1), "w": In(1), "b": In(1), "reads": In(self._words),
            "arrived": In(self._words), "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.engine = engine = self._engine
        i, shift = engine.instr.payload, exact_log2(self._words)
        m.d.comb += [
            engine.instr.valid.eq(self.offers), i.to.eq(self.to), i.signal.eq(self.signal),
            i.counter.eq(self.peer), Assume(~self.empty | (self.runs == 0))]
        with m.If(~self.empty):
            m.d.comb += [i.n0.eq(1), i.n1.eq(1 + self.runs[0]), i.n2.eq(1 + self.runs[1]),
                         i.n3.eq(1), i.peer.eq(self.peer << shift), i.peer_stride1.eq(4 << shift),
                         i.peer_stride2.eq(8 << shift)]
        for k, port in enumerate(engine.read):
            asked = Signal(range(32), name=f"asked{k}")
            m.d.comb += [port.ready.eq(self.reads[k]), port.arrived.eq(self.arrived[k]),
                         Assume(~port.arrived | (asked != 0))]
            m.d.sync += asked.eq(asked + (port.valid & port.ready) - port.arrived)
        counted: Any = stream.Signature(data.StructLayout({"len": 2})).create()
        m.d.comb += [counted.valid.eq(self.offers), counted.ready.eq(engine.instr.ready),
                     counted.payload.len.eq(self.runs[0] + Mux(self.runs[1], self.runs[0] + 1, 0))]
        of = Cat(self.peer, self.to, self.signal, self.empty, self.runs[0])
        self._posts(m, Bursts(m, counted, engine.post, self.MOST, of))
        self._answers(m, Bursts(m, counted, engine.b, self.MOST))
        return m

    def _posts(self, m: Module, sent: Bursts) -> None:
        post = self._engine.post
        p, kept = post.payload, sent.kept
        peer, to, signal, empty, inner = kept[:2], kept[2:5], kept[5], kept[6], kept[7]
        m.d.comb += [post.ready.eq(self.posts), Assume(sent.count <= self.MOST)]
        stays(m, post)
        with m.If(post.valid):
            m.d.comb += [
                Assert(sent.count != 0), Assert(p.to == to), Assert(p.counter == peer),
                Assert(p.empty == empty), Assert(p.len == 0),
                Assert(p.signal == (sent.ends & (signal | empty))),
                Assert(empty | (p.at == peer + (Mux(inner, sent.place, sent.place << 1) << 2)))]

    def _answers(self, m: Module, answered: Bursts) -> None:
        """Each burst is answered behind its last beat."""
        engine, written = self._engine, Signal(range(32))
        m.d.sync += written.eq(written + (engine.w.valid & engine.w.ready & engine.w.payload.last)
                               - self.b)
        m.d.comb += [
            engine.w.ready.eq(self.w), engine.b.valid.eq(self.b), Assume(~self.b | (written != 0)),
            Assume(answered.count <= self.MOST), Assert(~engine.engine.fault),
            Assert(~self.b | engine.b.ready & (answered.count != 0)),
            Assert(engine.engine.done == answered.over),
            self.reached.eq(answered.over & (answered.place == 1))]
