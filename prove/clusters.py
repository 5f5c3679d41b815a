# SPDX-License-Identifier: Apache-2.0
"""What several buses between cores promise together: a burst that goes from one cluster into
another one lands as it does within a cluster, and is answered by those that it is for.

Beats carry as data the low bits of their own address, in beats, and who sent them.
"""

from typing import Any

from amaranth.hdl import Array, Assert, Assume, Cat, Const, Elaboratable, Module, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.memory.lanes import Lanes
from isa.config import Config
from prove.between import FewUnderWay
from prove.bus import Bursts
from prove.checker import Design
from prove.streams import stays


class Clusters(Design):
    """Bursts of four cores in two clusters, all of them a gang. Of any core, those that are for any
    other one land there once, in order and unchanged; each of its bursts is answered once, in
    order, without an error, and not before that other one has landed it, whatever lands there of
    others."""

    CORES, CLUSTER = 4, 2
    QUEUED = 5
    """Bursts of a bus that have been taken and whose beats have not, and one more."""

    at: Signal
    len: Signal
    to: Signal
    posts: Signal
    w: Signal
    lands: Signal
    landed: Signal
    b: Signal
    who: Signal
    whom: Signal

    def __init__(self, config: Config):
        self._words = Lanes(config).words
        self._exchange = FewUnderWay(config, self.CORES, 1, self.CLUSTER)
        self._most = self.QUEUED + FewUnderWay.UNDER_WAY
        bits = {name: In(self.CORES) for name in ("len", "posts", "w", "lands", "landed", "b")}
        super().__init__({
            **bits, "at": In(2 * self.CORES), "to": In(self.CORES ** 2),
            "who": In(range(self.CORES)), "whom": In(range(self.CORES)), "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.exchange = exchange = self._exchange
        for name in ("who", "whom"):
            now = getattr(self, name)
            before, later = Signal.like(now, name=f"{name}_before"), Signal(name=f"{name}_later")
            m.d.sync += [before.eq(now), later.eq(1)]
            m.d.comb += Assume(~later | (now == before))
        m.d.comb += [exchange.members[0].eq(-1), exchange.teams[0].eq(-1),
                     *(gang.eq(1) for gang in exchange.gang)]
        self._burst = data.StructLayout({"for_whom": 1, "at": 2})
        sent = [self._core(m, k) for k in range(self.CORES)]
        taken: Any = stream.Signature(data.StructLayout({"len": 1, **self._burst.members})).create()
        m.d.comb += [taken.valid.eq(Array(each.valid for each in sent)[self.who]),
                     taken.payload.eq(Array(each.payload.as_value() for each in sent)[self.who]),
                     taken.ready.eq(1)]
        self._answers(m, taken, self._lands(m, taken))
        return m

    def _core(self, m: Module, k: int) -> Any:
        """Posts bursts and gives their beats when it may. Returns the bursts that are taken."""
        core = self._exchange.cores[k]
        taken: Any = stream.Signature(data.StructLayout({"len": 1, **self._burst.members})).create(
            path=(f"taken{k}",))
        beats: Any = stream.Signature(1).create(path=(f"beats{k}",))
        p, to = core.post.payload, self.to.word_select(k, self.CORES)
        m.d.comb += [
            core.post.valid.eq(self.posts[k]), p.to.eq(to), p.at.eq(self.at.word_select(k, 2)),
            p.len.eq(self.len[k]), Assume(~self.posts[k] | (to != 0) & ~to[k]),
            taken.valid.eq(core.post.valid & core.post.ready), taken.ready.eq(1),
            taken.payload.len.eq(p.len), taken.payload.at.eq(p.at),
            taken.payload.for_whom.eq((to & (1 << self.whom)).any())]
        stays(m, core.post, Assume)
        own = Bursts(m, taken, beats, self.QUEUED, taken.payload.at)
        m.d.comb += [
            core.w.valid.eq(self.w[k] & (own.count != 0)), core.w.payload.last.eq(own.ends),
            core.w.payload.data.eq(Cat((own.kept + own.place)[:3], Const(k, 2))),
            core.w.payload.strb.eq(-1), beats.valid.eq(core.w.valid & core.w.ready),
            beats.ready.eq(1), core.land.ready.eq(self.lands[k]), core.b.ready.eq(self.b[k])]
        return taken

    def _lands(self, m: Module, taken: Any) -> Value:
        """What ``whom`` gets of ``who``. Returns that it has landed a burst of that."""
        mine, beats = (stream.Signature(taken.payload.shape()).create() for _ in range(2))
        lands = [core.land for core in self._exchange.cores]
        comes = Array(land.valid & land.ready for land in lands)[self.whom]
        beat = data.View(lands[0].payload.shape(),
                         Array(land.payload.as_value() for land in lands)[self.whom])
        own = Signal()
        m.d.comb += [own.eq(beat.data[3:5] == self.who), beats.valid.eq(comes & own),
                     beats.ready.eq(1), mine.ready.eq(1), mine.payload.eq(taken.payload),
                     mine.valid.eq(taken.valid & taken.payload.for_whom)]
        came = Bursts(m, mine, beats, self._most, taken.payload.at)
        with m.If(beats.valid):
            where = (came.kept + came.place)[:3]
            m.d.comb += [
                Assert(came.count != 0), Assert(beat.last == came.ends),
                Assert(beat.spm == where << exact_log2(self._words)),
                Assert(beat.data[:3] == where), Assert(beat.mask == (1 << self._words) - 1)]
        return self._landed(m, comes & beat.last, own)

    def _landed(self, m: Module, over: Any, own: Signal) -> Value:
        """Each core lands what has come, in that order, when it likes."""
        count = Signal(range(2 * self._most + 2), name="waiting")
        order = [Signal(name=f"order{k}") for k in range(2 * self._most + 1)]
        landed, left = Signal(), Signal.like(count)
        for k, core in enumerate(self._exchange.cores):
            waiting = Signal.like(count, name=f"waiting{k}")
            m.d.sync += waiting.eq(waiting + (core.land.valid & core.land.ready
                                              & core.land.payload.last) - core.landed)
            m.d.comb += [core.landed.eq(self.landed[k]), Assume(~core.landed | (waiting != 0))]
        m.d.comb += [landed.eq(Array(core.landed for core in self._exchange.cores)[self.whom]),
                     left.eq(count - landed), Assert(count <= 2 * self._most)]
        m.d.sync += count.eq(left + over)
        with m.If(landed):
            m.d.sync += [a.eq(b) for a, b in zip(order, order[1:])]
        for k, each in enumerate(order):
            with m.If(over & (left == k)):
                m.d.sync += each.eq(own)
        return landed & order[0]

    def _answers(self, m: Module, taken: Any, landed: Value) -> None:
        """Who sends hears of each burst."""
        whole, answers = (stream.Signature(data.StructLayout({"len": 1})).create()
                          for _ in range(2))
        cores = self._exchange.cores
        m.d.comb += [
            whole.valid.eq(taken.valid), whole.ready.eq(1), answers.ready.eq(1),
            answers.valid.eq(Array(core.b.valid & core.b.ready for core in cores)[self.who])]
        owed = Bursts(m, whole, answers, self._most, taken.payload.for_whom)
        used, count = Signal(), Signal(range(self._most + 2))
        m.d.sync += count.eq(count + landed - used)
        with m.If(answers.valid):
            m.d.comb += [Assert(owed.count != 0), Assert(~owed.kept | (count != 0)),
                         used.eq(owed.kept)]
        m.d.comb += [Assert(owed.count <= self._most),
                     Assert(~Array(core.b.valid & core.b.payload.resp.any()
                                   for core in cores)[self.who]),
                     self.reached.eq(used & (self.who < self.CLUSTER)
                                     & (self.whom >= self.CLUSTER))]
