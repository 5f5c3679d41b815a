# SPDX-License-Identifier: Apache-2.0
"""What the bus between cores promises: each burst reaches those that it is for, once, and nobody
else, and is answered when it has landed.

Beats carry as data where they belong: the low bits of their own address, in beats, and who sent
them.
"""

from typing import Any

from amaranth.hdl import Array, Assert, Assume, Cat, Const, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.chip.exchange import ChipExchange
from hw.memory.axi import Resp
from hw.memory.lanes import Lanes
from isa.config import Config
from prove.bus import Bursts
from prove.checker import Design
from prove.streams import stays


class FewUnderWay(ChipExchange):
    """With a short list of what has not been answered."""

    UNDER_WAY = 2


class Exchanges(Design):
    """Bursts of three cores, of which any are a gang, and the first of them any. A burst goes, beat
    by beat, once, in order and unchanged, to those that it is for, and to nobody else; if one of
    those is not in the gang, to nobody, and the answer is an error. Each burst is answered once, in
    order, and not before all whom it was for have landed it. Nobody who keeps posting is passed
    over more often than there are others; and while all give, take and land what they can, an
    answer comes in ``SLOW`` cycles."""

    SLOW = 6

    CORES = 3
    QUEUED = 5
    """Bursts that have been taken and whose beats have not, and one more."""

    at: Signal
    len: Signal
    to: Signal
    empty: Signal
    signal: Signal
    posts: Signal
    w: Signal
    lands: Signal
    landed: Signal
    b: Signal
    members: Signal
    base: Signal
    whom: Signal

    def __init__(self, config: Config):
        self._config, self._words = config, Lanes(config).words
        self._exchange = FewUnderWay(config, self.CORES, 1, self.CORES)
        bits = {name: In(self.CORES) for name in (
            "len", "empty", "signal", "posts", "w", "lands", "landed", "b", "members")}
        super().__init__({**bits, "at": In(2 * self.CORES), "to": In(self.CORES ** 2),
                          "base": In(1), "whom": In(range(self.CORES)), "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.exchange = exchange = self._exchange
        for name in ("members", "base", "whom"):
            now = getattr(self, name)
            before, later = Signal(len(now), name=f"{name}_before"), Signal(name=f"{name}_later")
            m.d.sync += [before.eq(now), later.eq(1)]
            m.d.comb += Assume(~later | (now == before))
        m.d.comb += [Assume(self.whom < self.CORES), exchange.members[0].eq(self.members),
                     exchange.teams[0].eq(-1), *(base.eq(self.base) for base in exchange.base),
                     *(exchange.gang[k].eq(self.members[k]) for k in range(self.CORES))]
        taken: Any = stream.Signature(data.StructLayout({"len": 1})).create()
        burst = Signal(data.StructLayout({
            "who": range(self.CORES), "to": self.CORES, "at": 2, "empty": 1, "signal": 1}))
        self._posts(m, taken, burst)
        self._beats(m, taken, burst)
        self._lands(m, taken, burst)
        self._answers(m, taken, burst)
        return m

    def _posts(self, m: Module, taken: Any, burst: Any) -> None:
        """Whose burst is taken, and the cores that it is for: none, if that is an error."""
        took = Signal(self.CORES)
        m.d.comb += [taken.valid.eq(took.any()), taken.ready.eq(1),
                     Assert((took & (took - 1)) == 0)]
        for k, core in enumerate(self._exchange.cores):
            post, to = core.post, self.to.word_select(k, self.CORES)
            p, passed = post.payload, Signal(range(self.CORES + 1), name=f"passed{k}")
            ranks = Signal(self.CORES + 1, name=f"ranks{k}")
            others = Mux(self.members[k], self.members & ~(1 << k), 0)
            m.d.comb += [
                post.valid.eq(self.posts[k]), p.at.eq(self.at.word_select(k, 2)),
                p.len.eq(self.len[k]), p.to.eq(to), p.empty.eq(self.empty[k]),
                p.signal.eq(self.signal[k]), p.counter.eq(self.at.word_select(k, 2)),
                took[k].eq(post.valid & post.ready), Assert(passed < self.CORES),
                ranks.eq(to << self.base)]
            stays(m, post, Assume)
            with m.If(~post.valid | post.ready):
                m.d.sync += passed.eq(0)
            with m.Elif(took.any()):
                m.d.sync += passed.eq(passed + 1)
            with m.If(took[k]):
                m.d.comb += [
                    taken.payload.len.eq(self.len[k]), burst.who.eq(k), burst.at.eq(p.at),
                    burst.empty.eq(p.empty), burst.signal.eq(p.signal),
                    burst.to.eq(Mux((ranks & ~Cat(others, Const(0, 1))).any(), 0, ranks))]

    def _beats(self, m: Module, taken: Any, burst: Any) -> None:
        """Who has posted gives beats, in order, when they are asked for."""
        beats: Any = stream.Signature(1).create()
        came = Signal(self.CORES)
        sent = Bursts(m, taken, beats, self.QUEUED, burst.as_value())
        head = data.View(burst.shape(), sent.kept)
        m.d.comb += [beats.valid.eq(came.any()), beats.ready.eq(1),
                     Assert(sent.count <= self.QUEUED), Assert((came & (came - 1)) == 0)]
        for k, core in enumerate(self._exchange.cores):
            m.d.comb += [
                core.w.valid.eq(self.w[k] & (sent.count != 0)), core.w.payload.last.eq(sent.ends),
                core.w.payload.data.eq(Cat((head.at + sent.place)[:3], Const(k, 2))),
                core.w.payload.strb.eq(-1), came[k].eq(core.w.valid & core.w.ready),
                Assert(~came[k] | (sent.count != 0) & (head.who == k))]

    def _lands(self, m: Module, taken: Any, burst: Any) -> None:
        """What one of the cores gets."""
        mine, beats = (stream.Signature(taken.payload.shape()).create() for _ in range(2))
        lands = [core.land for core in self._exchange.cores]
        land = Array(land.payload.as_value() for land in lands)[self.whom]
        beat = data.View(lands[0].payload.shape(), land)
        m.d.comb += [
            mine.valid.eq(taken.valid & (burst.to & (1 << self.whom)).any()), mine.ready.eq(1),
            mine.payload.eq(taken.payload), beats.ready.eq(1),
            beats.valid.eq(Array(land.valid & land.ready for land in lands)[self.whom]),
            *(land.ready.eq(self.lands[k]) for k, land in enumerate(lands))]
        came = Bursts(m, mine, beats, self.QUEUED + 2, burst.as_value())
        head = data.View(burst.shape(), came.kept)
        m.d.comb += Assert(came.count <= self.QUEUED + 2)
        with m.If(beats.valid):
            where = (head.at + came.place)[:3]
            m.d.comb += [
                Assert(came.count != 0), Assert(beat.last == came.ends),
                Assert(beat.spm == where << exact_log2(self._words)),
                Assert(beat.data[:5] == Cat(where, head.who)),
                Assert(beat.mask == Mux(head.empty, 0, (1 << self._words) - 1)),
                Assert(beat.signal == head.signal), Assert(beat.counter == head.at),
                self.reached.eq(came.over & came.place.any() & ~head.empty & self.base)]

    def _answers(self, m: Module, taken: Any, burst: Any) -> None:
        """Who lands a burst says so once."""
        whole, answers = (stream.Signature(taken.payload.shape()).create() for _ in range(2))
        got = Signal(self.CORES)
        m.d.comb += [whole.valid.eq(taken.valid), whole.ready.eq(1), answers.ready.eq(1),
                     answers.valid.eq(got.any()), Assert((got & (got - 1)) == 0)]
        most = self.QUEUED + FewUnderWay.UNDER_WAY
        owed = Bursts(m, whole, answers, most, burst.as_value())
        head = data.View(burst.shape(), owed.kept)
        fair, slow = Signal(), Signal(range(self.SLOW + 2))
        m.d.comb += [Assert(owed.count <= most), Assert(slow <= self.SLOW)]
        m.d.sync += slow.eq(Mux(fair & (owed.count != 0) & ~answers.valid, slow + 1, 0))
        willing = [self.w.all(), self.lands.all(), self.b.all()]
        for k, core in enumerate(self._exchange.cores):
            there, landed = (Signal(range(most + 2), name=f"{what}{k}")
                             for what in ("there", "landed"))
            willing.append(core.landed | (there == 0))
            over = core.land.valid & core.land.ready & core.land.payload.last
            used = answers.valid & head.to[k]
            m.d.sync += [there.eq(there + over - core.landed),
                         landed.eq(landed + core.landed - used)]
            m.d.comb += [
                core.landed.eq(self.landed[k]), Assume(~core.landed | (there != 0)),
                core.b.ready.eq(self.b[k]), got[k].eq(core.b.valid & core.b.ready),
                Assert(~used | (landed != 0))]
            with m.If(core.b.valid):
                m.d.comb += [Assert((owed.count != 0) & (head.who == k)),
                             Assert((core.b.payload.resp == Resp.DECERR) == (head.to == 0))]
        m.d.comb += fair.eq(Cat(willing).all())
