# SPDX-License-Identifier: Apache-2.0
"""From scratchpad to scratchpad: one bus on which a core at a time sends to others of its gang.

::

    post of each core ─ in turns ─► whom it is for ─► a list ─┐
    w of each core ───────────────────────────────────────────┴─► land of each receiver
                                        b ◄─ answers, a list ◄─── landed, counted for each core

A beat goes to all receivers in one cycle, when each has a place for it. A burst is answered when
each of them has landed it: bursts land in the order in which they went. Nobody waits for a core
that does not take: what lands is always taken in the end, and a core that is no member of a gang
any longer, since it failed, is neither sent to nor waited for.

Latency: 5 cycles from ``post`` to ``land``, 3 from the last ``landed`` to ``b``. Throughput: a beat
a cycle, also across bursts.
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from hw.engine.ports import view_of
from hw.exchange.ports import Exchange, ExchangePort, landing_layout, post_layout
from hw.memory.axi import LEN_BITS, Resp
from hw.memory.lanes import Lanes
from hw.parts.choice import one_of, turns
from hw.parts.fifo import Fifo
from hw.parts.skid import Skid
from isa.config import Config


class ChipExchange(wiring.Component):
    """Carries bursts between cores.

    Parameters
    ----------
    config : Config
        Of each core, with ``exchange``.
    cores : int
    groups : int

    Members
    -------
    cores : array of :class:`hw.exchange.ports.Exchange`, as the other side
    gang, members
        As of :class:`hw.chip.hub.Hub`.
    base : range(cores) for each group
        The core of rank 0; the others follow it.
    """

    UNDER_WAY = 16
    """Bursts that have not been answered."""

    cores: list[ExchangePort]
    gang: list[Signal]
    members: list[Signal]
    base: list[Signal]

    def __init__(self, config: Config, cores: int, groups: int):
        self._config, self._count, self._groups = config, cores, groups
        super().__init__({
            "cores": In(Exchange(config)).array(cores),
            "gang": In(range(groups + 1)).array(cores), "members": In(cores).array(groups),
            "base": In(range(max(2, cores))).array(groups)})
        self._burst = data.StructLayout({
            **{name: post_layout(config)[name].shape
               for name in ("at", "len", "empty", "signal", "counter")},
            "who": cores, "to": cores, "bad": 1})
        self._answer = data.StructLayout({"who": cores, "to": cores, "bad": 1})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.bursts = bursts = Fifo(self._burst, 2)
        m.submodules.answers = answers = Fifo(self._answer, self.UNDER_WAY)
        self._choose(m, bursts.i)
        self._move(m, bursts.o, answers.i)
        self._answers(m, answers.o)
        return m

    def _choose(self, m: Module, to: stream.Interface) -> None:
        """Whose burst is next, and a cycle later which cores it is for."""
        raw = data.StructLayout({**post_layout(self._config).members, "who": self._count,
                                 "gang": range(self._groups + 1)})
        m.submodules.chosen = chosen = Skid(raw)
        asks = Cat(core.post.valid for core in self.cores)
        who = turns(m, "post", asks, chosen.i.valid & chosen.i.ready)
        picked = data.View(post_layout(self._config),
                           one_of(who, [core.post.payload.as_value() for core in self.cores]))
        m.d.comb += [
            chosen.i.valid.eq(asks.any()), chosen.i.payload.who.eq(who),
            chosen.i.payload.gang.eq(one_of(who, self.gang)),
            *(chosen.i.payload[name].eq(picked[name]) for name in picked.shape().members),
            *(core.post.ready.eq(chosen.i.ready & bit)
              for core, bit in zip(self.cores, who, strict=True))]
        p = chosen.o.payload
        members = Array([Const(0, self._count), *self.members])[p.gang]
        base = Array([Const(0), *self.base])[p.gang]
        ranks = Signal(len(p.to) + self._count)
        allowed = Cat(members & ~p.who, Const(0, len(p.to)))
        m.d.comb += [
            ranks.eq(p.to << base), to.valid.eq(chosen.o.valid), chosen.o.ready.eq(to.ready),
            *(to.payload[name].eq(p[name])
              for name in ("at", "len", "empty", "signal", "counter", "who")),
            to.payload.bad.eq((ranks & ~allowed).any() | ~ranks.any()),
            to.payload.to.eq(Mux(to.payload.bad, 0, ranks))]

    def _move(self, m: Module, bursts: stream.Interface, answers: stream.Interface) -> None:
        """The beats of a burst to those it is for."""
        config, lanes, burst = self._config, Lanes(self._config), bursts.payload
        done, goes, last = Signal(LEN_BITS), Signal(), Signal()
        w = data.View(self.cores[0].w.payload.shape(),
                      one_of(burst.who, [core.w.payload.as_value() for core in self.cores]))
        there = (Cat(core.w.valid for core in self.cores) & burst.who).any()
        places = [Skid(landing_layout(config)) for _ in self.cores]
        room = (Cat(place.i.ready for place in places) | ~burst.to).all()
        beat = view_of(landing_layout(config))
        words = Cat(w.strb[k * config.bus_bytes // lanes.words] for k in range(lanes.words))
        m.d.comb += [
            last.eq(done == burst.len), goes.eq(bursts.valid & there & room & answers.ready),
            bursts.ready.eq(goes & last), answers.valid.eq(goes & last),
            *(answers.payload[name].eq(burst[name]) for name in ("who", "to", "bad")),
            beat.mask.eq(Mux(burst.empty, 0, words)), beat.data.eq(w.data), beat.last.eq(last),
            beat.spm.eq((burst.at + done) << lanes.words_log2),
            beat.signal.eq(burst.signal), beat.counter.eq(burst.counter)]
        with m.If(goes):
            m.d.sync += done.eq(Mux(last, 0, done + 1))
        alive = reduce(or_, self.members)
        for k, (core, place) in enumerate(zip(self.cores, places, strict=True)):
            m.submodules[f"place{k}"] = place
            m.d.comb += [
                core.w.ready.eq(goes & burst.who[k]), place.i.valid.eq(goes & burst.to[k]),
                place.i.payload.eq(beat), core.land.payload.eq(place.o.payload),
                core.land.valid.eq(place.o.valid & alive[k]),
                place.o.ready.eq(core.land.ready | ~alive[k])]

    def _answers(self, m: Module, answers: stream.Interface) -> None:
        """When all receivers have landed a burst."""
        head, alive = answers.payload, reduce(or_, self.members)
        landed = [Signal(range(self.UNDER_WAY + 2), name=f"landed{k}")
                   for k in range(self._count)]
        here = Cat(count != 0 for count in landed)
        complete, answered = Signal(), Signal()
        m.d.comb += [
            complete.eq(answers.valid & (here | ~head.to | ~alive).all()),
            answered.eq(complete & (Cat(core.b.ready for core in self.cores) & head.who).any()),
            answers.ready.eq(answered)]
        for k, (core, count) in enumerate(zip(self.cores, landed, strict=True)):
            m.d.comb += [core.b.valid.eq(complete & head.who[k]),
                         core.b.payload.resp.eq(Mux(head.bad, Resp.DECERR, 0))]
            used = answered & head.to[k]
            m.d.sync += count.eq(Mux(alive[k], count + core.landed - (used & (count != 0)), 0))
