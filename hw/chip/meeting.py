# SPDX-License-Identifier: Apache-2.0
"""Reads that several cores make together, at a channel: read once, and each gets it.

A group is a set of cores. Its members ask for the same pieces in the same order, each among its own
other reads. A piece is passed on when all members stand at it, and so each has places for it; what
comes is theirs all in one cycle. Groups wait for their members alone. If the orders in which the
cores ask for the pieces of different groups agree, none waits for ever.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.chip.read_path import ask_layout
from hw.memory.axi import LEN_BITS
from hw.parts.choice import any_before, one_of, turns
from hw.parts.delay import register
from isa.config import Config


def met_layout(config: Config, cores: int) -> data.StructLayout:
    """A piece and the cores that want it."""
    return data.StructLayout({"addr": config.addr_bits, "len": LEN_BITS, "cores": cores})


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
    met : stream of ``met_layout(config, cores)``
    differs : a bit for each group
        Its members stand at different pieces. They wait there.
    """

    asks: list[stream.Interface]
    members: list[Signal]
    met: stream.Interface
    differs: Signal

    def __init__(self, config: Config, cores: int, groups: int):
        self._cores, self._groups = cores, groups
        super().__init__({
            "asks": In(stream.Signature(ask_layout(config, groups))).array(cores),
            "members": In(cores).array(groups),
            "met": Out(stream.Signature(met_layout(config, cores))), "differs": Out(groups)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        met, there = self.met, Signal(self._groups)
        goes = met.valid & met.ready
        who = turns(m, "group", there, goes)
        pieces = [Cat(ask.payload.addr, ask.payload.len) for ask in self.asks]
        wanted, whose, taken = [], [], Signal(self._cores)
        for g, members in enumerate(self.members):
            stand = Cat(ask.valid & (ask.payload.group == g + 1) for ask in self.asks)
            first = members & ~any_before(members)
            piece = one_of(first, pieces)
            same = Cat(each == piece for each in pieces)
            complete, agree = Signal(name=f"complete{g}"), Signal(name=f"agree{g}")
            whom, one = register(m, f"whom{g}", members), register(m, f"one{g}", first)
            m.d.comb += [complete.eq(members.any() & (stand | ~members).all()),
                         agree.eq((same | ~members).all())]
            # who stands there stays; but one that goes is still seen in this cycle
            m.d.sync += [there[g].eq(complete & agree & ~(goes & who[g])),
                         self.differs[g].eq(complete & ~agree)]
            wanted.append(one_of(one, pieces))
            whose.append(whom)
        addr, of = len(self.met.payload.addr), one_of(who, wanted)
        m.d.comb += [
            met.valid.eq(there.any()), met.payload.cores.eq(one_of(who, whose)),
            met.payload.addr.eq(of[:addr]), met.payload.len.eq(of[addr:]),
            taken.eq(met.payload.cores & goes.replicate(self._cores)),
            *(ask.ready.eq(bit) for ask, bit in zip(self.asks, taken, strict=True))]
        return m
