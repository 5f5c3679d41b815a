# SPDX-License-Identifier: Apache-2.0
"""The bus of a cluster: one of its cores at a time sends to cores of its team.

::

    post of each core ─ in turns ─► whom it is for ─► a list ─┐
    w of each core ───────────────────────────────────────────┴─► beats
                                        b ◄─ answers, a list ◄─── landed by all whom they were for
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.exchange.ports import landing_layout, post_layout
from hw.memory.axi import LEN_BITS, RESPONSE, Resp, write_layout
from hw.memory.lanes import Lanes
from hw.parts.choice import one_of, turns
from hw.parts.fifo import Fifo
from hw.parts.skid import Skid
from isa.config import Config
from isa.instructions import MOST_RANKS


def beats_layout(config: Config, cores: int) -> data.StructLayout:
    """A beat that lands at the cores ``to``: at none if its burst is an error."""
    return data.StructLayout({**landing_layout(config).members, "to": cores})


class ExchangeBus(wiring.Component):
    """Latency: 4 cycles from ``post`` to ``beats``, a cycle from ``landed`` to ``b``. Throughput: a
    beat a cycle, also across bursts.

    Parameters
    ----------
    config : Config
    cores : int
        Of the chip.
    here : range
        Those that send on this bus.
    gangs : int
    under_way : int
        Bursts that have not been answered, at most.

    Members
    -------
    post : a stream of ``post_layout(config)`` for each of ``here``
    w : a stream of ``write_layout(config)`` for each
    b : a stream of ``RESPONSE`` for each
    gang : range(gangs + 1) for each
        That it is a member of, from 1 on, or none, 0.
    base : range(cores) for each
        The core of rank 0 of its team; the others follow it.
    members : ``cores`` bits for each gang
    teams : range(MOST_RANKS) for each gang
        Cores of a team, less one.
    beats : stream of ``beats_layout(config, cores)``
    landed : cores
        Which have landed a burst whose end came on this bus and which it has not ``answered``.
    answered : cores
        Strobe for each: of that burst.
    """

    post: list[stream.Interface]
    w: list[stream.Interface]
    b: list[stream.Interface]
    gang: list[Signal]
    base: list[Signal]
    members: list[Signal]
    teams: list[Signal]
    beats: stream.Interface
    landed: Signal
    answered: Signal

    def __init__(self, config: Config, cores: int, here: range, gangs: int, under_way: int):
        self._config, self._cores, self._here = config, cores, here
        self._under_way = under_way
        count = len(here)
        super().__init__({
            "post": In(stream.Signature(post_layout(config))).array(count),
            "w": In(stream.Signature(write_layout(config))).array(count),
            "b": Out(stream.Signature(RESPONSE)).array(count),
            "gang": In(range(gangs + 1)).array(count),
            "base": In(range(max(2, cores))).array(count), "members": In(cores).array(gangs),
            "teams": In(range(MOST_RANKS)).array(gangs),
            "beats": Out(stream.Signature(beats_layout(config, cores))), "landed": In(cores),
            "answered": Out(cores)})
        self._burst = data.StructLayout({
            **{name: post_layout(config)[name].shape
               for name in ("at", "len", "empty", "signal", "counter")},
            "who": count, "to": cores, "bad": 1})
        self._answer = data.StructLayout({"who": count, "to": cores, "bad": 1})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.bursts = bursts = Fifo(self._burst, 2)
        m.submodules.answers = answers = Fifo(self._answer, self._under_way)
        self._choose(m, bursts.i)
        self._move(m, bursts.o, answers.i)
        self._answers(m, answers.o)
        return m

    def _choose(self, m: Module, to: stream.Interface) -> None:
        """Whose burst is next, and a cycle later which cores it is for."""
        raw = data.StructLayout({**post_layout(self._config).members, "who": len(self._here),
                                 "gang": self.gang[0].shape(), "base": self.base[0].shape()})
        m.submodules.chosen = chosen = Skid(raw)
        asks = Cat(post.valid for post in self.post)
        who = turns(m, "post", asks, chosen.i.valid & chosen.i.ready)
        picked = data.View(post_layout(self._config),
                           one_of(who, [post.payload.as_value() for post in self.post]))
        m.d.comb += [
            chosen.i.valid.eq(asks.any()), chosen.i.payload.who.eq(who),
            chosen.i.payload.gang.eq(one_of(who, self.gang)),
            chosen.i.payload.base.eq(one_of(who, self.base)),
            *(chosen.i.payload[name].eq(picked[name]) for name in picked.shape().members),
            *(post.ready.eq(chosen.i.ready & bit)
              for post, bit in zip(self.post, who, strict=True))]
        p = chosen.o.payload
        ranks = Signal(MOST_RANKS + self._cores)
        m.d.comb += [
            ranks.eq(p.to << p.base), to.valid.eq(chosen.o.valid), chosen.o.ready.eq(to.ready),
            *(to.payload[name].eq(p[name])
              for name in ("at", "len", "empty", "signal", "counter", "who")),
            to.payload.bad.eq((ranks & ~self._mates(p)).any() | ~p.to.any()),
            to.payload.to.eq(Mux(to.payload.bad, 0, ranks))]

    def _mates(self, p: data.View) -> Cat:
        """The cores, and as many ranks behind them, that a burst may be for: members of its gang,
        of its team, and not who sends it."""
        members = Array([Const(0, self._cores), *self.members])[p.gang]
        team = Array([Const(0), *self.teams])[p.gang]
        own = Const(0, self._here.start), p.who, Const(0, self._cores - self._here.stop)
        all_ranks = Cat(Const(1, 1), *(team >= rank for rank in range(1, MOST_RANKS)))
        return Cat(members & ~Cat(*own) & (all_ranks << p.base), Const(0, MOST_RANKS))

    def _move(self, m: Module, bursts: stream.Interface, answers: stream.Interface) -> None:
        """The beats of a burst."""
        config, lanes, burst = self._config, Lanes(self._config), bursts.payload
        done, goes, last = Signal(LEN_BITS), Signal(), Signal()
        w = data.View(self.w[0].payload.shape(),
                      one_of(burst.who, [w.payload.as_value() for w in self.w]))
        there = (Cat(w.valid for w in self.w) & burst.who).any()
        beats, beat = self.beats, self.beats.payload
        words = Cat(w.strb[k * config.bus_bytes // lanes.words] for k in range(lanes.words))
        m.d.comb += [
            last.eq(done == burst.len), beats.valid.eq(bursts.valid & there & answers.ready),
            goes.eq(beats.valid & beats.ready), bursts.ready.eq(goes & last),
            answers.valid.eq(goes & last),
            *(answers.payload[name].eq(burst[name]) for name in ("who", "to", "bad")),
            beat.to.eq(burst.to), beat.mask.eq(Mux(burst.empty, 0, words)), beat.data.eq(w.data),
            beat.last.eq(last), beat.spm.eq((burst.at + done) << lanes.words_log2),
            beat.signal.eq(burst.signal), beat.counter.eq(burst.counter),
            *(w.ready.eq(goes & mine) for w, mine in zip(self.w, burst.who, strict=True))]
        with m.If(goes):
            m.d.sync += done.eq(Mux(last, 0, done + 1))

    def _answers(self, m: Module, answers: stream.Interface) -> None:
        """When all whom it was for have landed a burst, but those that are no members any more."""
        head, alive = answers.payload, reduce(or_, self.members)
        complete, answered = Signal(), Signal()
        m.d.comb += [
            complete.eq(answers.valid & (self.landed | ~head.to | ~alive).all()),
            answered.eq(complete & (Cat(b.ready for b in self.b) & head.who).any()),
            answers.ready.eq(answered), self.answered.eq(Mux(answered, head.to, 0))]
        for b, mine in zip(self.b, head.who, strict=True):
            m.d.comb += [b.valid.eq(complete & mine),
                         b.payload.resp.eq(Mux(head.bad, Resp.DECERR, 0))]
