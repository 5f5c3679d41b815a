# SPDX-License-Identifier: Apache-2.0
"""From scratchpad to scratchpad: a bus for each cluster, on which a core at a time sends to others
of its team, in whatever clusters those are.

::

    post, w of a cluster's cores ─► ExchangeBus ─┐ beats              ┌─► land of a cluster's cores
                              ...  ─► ExchangeBus ─┼─ who is before ─┤
    b ◄─ ExchangeBus ◄─ landed, counted for each core                 └─► ...

A beat goes to all receivers in one cycle, when each has a place for it. Buses that send into
different clusters do so in the same cycle; of those that want the same one, the one that has had a
burst there the longest ago is first. A burst is answered when each of its receivers has landed it:
bursts land in the order in which they went. Nobody waits for a core that does not take: what lands
is always taken in the end, and a core that is no member of a gang any longer, since it failed, is
neither sent to nor waited for.

Latency: 5 cycles from ``post`` to ``land``, 3 from the last ``landed`` to ``b``. Throughput: on
each bus a beat a cycle, also across bursts.
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, connect, flipped

from hw.chip.exchange_bus import ExchangeBus
from hw.engine.ports import view_of
from hw.exchange.ports import Exchange, ExchangePort, landing_layout
from hw.parts.choice import one_of
from hw.parts.fifo import Fifo
from hw.parts.skid import Skid
from isa.config import Config
from isa.instructions import MOST_RANKS


class ChipExchange(wiring.Component):
    """Carries bursts between cores.

    Parameters
    ----------
    config : Config
        Of each core, with ``exchange``.
    cores : int
    gangs : int
    cluster : int
        Cores on a bus; those that follow one another.

    Members
    -------
    cores : array of :class:`hw.exchange.ports.Exchange`, as the other side
    gang, base : for each core
    members, teams : for each gang
        As of :class:`hw.chip.exchange_bus.ExchangeBus`.
    """

    UNDER_WAY = 16
    """Bursts of a bus that have not been answered."""

    cores: list[ExchangePort]
    gang: list[Signal]
    base: list[Signal]
    members: list[Signal]
    teams: list[Signal]

    def __init__(self, config: Config, cores: int, gangs: int, cluster: int):
        self._config = config
        self._clusters = [range(first, min(first + cluster, cores))
                          for first in range(0, cores, cluster)]
        self._buses = [ExchangeBus(config, cores, here, gangs, self.UNDER_WAY)
                       for here in self._clusters]
        super().__init__({
            "cores": In(Exchange(config)).array(cores), "gang": In(range(gangs + 1)).array(cores),
            "base": In(range(max(2, cores))).array(cores), "members": In(cores).array(gangs),
            "teams": In(range(MOST_RANKS)).array(gangs)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        count = len(self.cores)
        self._alive, self._room = Signal(count), Signal(count)
        m.d.comb += self._alive.eq(reduce(or_, self.members))
        for b, (here, bus) in enumerate(zip(self._clusters, self._buses, strict=True)):
            m.submodules[f"bus{b}"] = bus
            self._connect(m, here, bus)
        moves = self._moves(m)
        for d, there in enumerate(self._clusters):
            beat = self._beat(m, d)
            for k in there:
                self._place(m, k, beat, [bus_moves & bus.beats.payload.to[k]
                                         for bus_moves, bus in zip(moves, self._buses)])
        return m

    def _connect(self, m: Module, here: range, bus: ExchangeBus) -> None:
        """A bus and the cores of its cluster."""
        for inner, k in enumerate(here):
            core = self.cores[k]
            connect(m, flipped(core.post), bus.post[inner])
            connect(m, flipped(core.w), bus.w[inner])
            connect(m, bus.b[inner], flipped(core.b))
            m.d.comb += [bus.gang[inner].eq(self.gang[k]), bus.base[inner].eq(self.base[k])]
        m.d.comb += [to.eq(of) for name in ("members", "teams")
                     for of, to in zip(getattr(self, name), getattr(bus, name), strict=True)]

    def _moves(self, m: Module) -> Signal:
        """The buses whose beat goes: nobody is before them at a cluster that they send into, and
        all receivers have room."""
        buses, count = self._buses, len(self._buses)
        goes, clear, ends = (Signal(count, name=f"{n}_of_buses") for n in ("goes", "clear", "ends"))
        self._wants = [Signal(count, name=f"wants{b}") for b in range(count)]
        first = {(a, b): Signal(init=1, name=f"first{a}_{b}")
                 for a in range(count) for b in range(a + 1, count)}
        for (a, b), before in first.items():
            with m.If(ends[a] ^ ends[b]):
                m.d.sync += before.eq(ends[b])
        for b, bus in enumerate(buses):
            beats = bus.beats
            others = [(first[a, b] if a < b else ~first[b, a])
                      & (self._wants[a] & self._wants[b]).any() for a in range(count) if a != b]
            m.d.comb += [
                self._wants[b].eq(Cat(beats.payload.to[here.start:here.stop].any()
                                      for here in self._clusters)
                                  & beats.valid.replicate(count)),
                clear[b].eq(~reduce(or_, others, Const(0))),
                beats.ready.eq(clear[b] & (self._room | ~beats.payload.to).all()),
                goes[b].eq(beats.valid & beats.ready), ends[b].eq(goes[b] & beats.payload.last)]
        self._clear = clear
        return goes

    def _beat(self, m: Module, d: int) -> data.View:
        """The beat for a cluster: of the one bus that nobody is before."""
        payloads = [bus.beats.payload.as_value() for bus in self._buses]
        beat = view_of(self._buses[0].beats.payload.shape(), name=f"beat{d}")
        m.d.comb += beat.eq(payloads[0] if len(payloads) == 1 else one_of(
            [clear & wants[d] for clear, wants in zip(self._clear, self._wants)], payloads))
        return beat

    def _place(self, m: Module, k: int, beat: data.View, comes: list[Value]) -> None:
        """Where beats wait for a core, each of one of the buses; and the bursts that it has landed
        and that are not answered."""
        core, alive, comes_at_all = self.cores[k], self._alive[k], reduce(or_, comes)
        m.submodules[f"place{k}"] = place = Skid(landing_layout(self._config))
        m.d.comb += [
            self._room[k].eq(place.i.ready), place.i.valid.eq(comes_at_all),
            *(place.i.payload[name].eq(beat[name]) for name in place.i.payload.shape().members),
            core.land.payload.eq(place.o.payload), core.land.valid.eq(place.o.valid & alive),
            place.o.ready.eq(core.land.ready | ~alive)]
        count = Signal(range(self.UNDER_WAY + 2), name=f"landed{k}")
        used = reduce(or_, (bus.answered[k] for bus in self._buses)) & (count != 0)
        m.d.sync += count.eq(Mux(alive, count + core.landed - used, 0))
        whose: Value = Const(1, 1)
        if len(self._buses) > 1:
            m.submodules[f"order{k}"] = order = Fifo(len(self._buses), self.UNDER_WAY)
            m.d.comb += [
                self._room[k].eq(place.i.ready & order.i.ready), order.i.payload.eq(Cat(comes)),
                order.i.valid.eq(comes_at_all & beat.last), order.o.ready.eq(used | ~alive)]
            whose = order.o.payload
        m.d.comb += [bus.landed[k].eq((count != 0) & mine)
                     for bus, mine in zip(self._buses, whose, strict=True)]
