# SPDX-License-Identifier: Apache-2.0
"""Reads that several cores make together, at a channel: read once, and each gets it.

A group is a set of cores; a core is in one group at a time. Its members ask for the same pieces in
the same order, each among its own other reads. A piece is passed on when all members stand at it,
and so each has places for it; what comes is theirs all in one cycle. Groups wait for their members
alone.

Who asks for a group without being a member is passed on alone. So is the first of members that
stand at different pieces, and its data come with an error.
"""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.chip.read_path import ask_layout
from hw.memory.axi import LEN_BITS
from hw.parts.choice import any_before, one_of, turns
from hw.parts.delay import register
from isa.config import Config


def met_layout(config: Config, cores: int, groups: int) -> data.StructLayout:
    """A piece of a ``group``, from 0 on, and the ``cores`` that want it; they ``differ``."""
    return data.StructLayout({"addr": config.addr_bits, "len": LEN_BITS, "cores": cores,
                              "differ": 1, "group": range(max(2, groups))})


class Meeting(wiring.Component):
    """Where the members of groups meet. Latency: a cycle from the last member that comes.
    Throughput: of a group a piece in two cycles, of several in turns one a cycle.

    Parameters
    ----------
    config : Config
    cores : int
    groups : int

    Members
    -------
    asks : a stream of ``ask_layout(config, groups)`` for each core
        Stays until it is taken.
    members : ``cores`` bits for each group
        May change at any time: who waits does so for those who are members now.
    room : groups
        For whom there may be another piece in ``met``.
    met : stream of ``met_layout(config, cores, groups)``
    stand : cores
        The members that stand here, in the cycle before.
    """

    asks: list[stream.Interface]
    members: list[Signal]
    room: Signal
    met: stream.Interface
    stand: Signal

    def __init__(self, config: Config, cores: int, groups: int):
        self._cores, self._groups = cores, groups
        super().__init__({
            "asks": In(stream.Signature(ask_layout(config, groups))).array(cores),
            "members": In(cores).array(groups), "room": In(groups),
            "met": Out(stream.Signature(met_layout(config, cores, groups))), "stand": Out(cores)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        met, there = self.met, Signal(self._groups)
        goes = met.valid & met.ready
        who = turns(m, "group", there & self.room, goes)
        pieces = [Cat(ask.payload.addr, ask.payload.len) for ask in self.asks]
        found, stand = [], []
        for g, members in enumerate(self.members):
            here = Signal(self._cores, name=f"here{g}")
            m.d.comb += here.eq(Cat(ask.valid & (ask.payload.group == g + 1) for ask in self.asks))
            ready, whom, first, differ = self._group(m, g, here, members, pieces)
            # who stands there stays; but one that goes is still seen in this cycle
            m.d.sync += there[g].eq(ready & ~(goes & who[g]))
            found.append(Cat(one_of(first, pieces), whom, differ))
            stand.append(here & members)
        m.d.sync += self.stand.eq(reduce(or_, stand))
        m.d.comb += [
            met.valid.eq(who.any()),
            Cat(met.payload.addr, met.payload.len, met.payload.cores, met.payload.differ).eq(
                one_of(who, found)),
            met.payload.group.eq(one_of(who, range(self._groups))),
            *(ask.ready.eq(goes & bit)
              for ask, bit in zip(self.asks, met.payload.cores, strict=True))]
        return m

    def _group(self, m: Module, g: int, here: Value, members: Signal, pieces: Sequence[Value]
               ) -> tuple[Signal, Signal, Signal, Signal]:
        """Of a group, with whom of its cores is ``here``: whether a piece may go; and a cycle later
        whose it is, the first of those, and whether the members differ."""
        ready, alone, differ = (Signal(name=f"{n}{g}") for n in ("ready", "alone", "differ"))
        strays, first, leader = (Signal(self._cores, name=f"{n}{g}")
                                 for n in ("strays", "first", "leader"))
        piece = Signal(len(pieces[0]), name=f"piece{g}")
        same = Cat(each == piece for each in pieces)
        m.d.comb += [
            leader.eq(members & ~any_before(members)), piece.eq(one_of(leader, pieces)),
            strays.eq(here & ~members), alone.eq(strays.any()),
            ready.eq(alone | members.any() & (here | ~members).all()),
            differ.eq(~alone & ~(same | ~members).all()),
            first.eq(Mux(alone, strays & ~any_before(strays), leader))]
        return (ready, register(m, f"whom{g}", Mux(alone | differ, first, members)),
                register(m, f"one{g}", first), register(m, f"differs{g}", differ))
