# SPDX-License-Identifier: Apache-2.0
"""A scratchpad port for several users that each want a word now and then.

::

    user 0 ─► ┐                          ┌─► user 0
    user 1 ─► ├─ fixed priority ─► port ─┤              whose word it is: a FIFO of the users
    user 2 ─► ┘                          └─► user 2     whose reads are under way

A port costs a multiplexer of all banks' words, and a place in the arbiter before each bank; sharing
one costs a multiplexer of addresses. Whose turn it is lies in flip-flops: of those that asked in
the cycle before, the first, so that the port rests for a cycle when it passes to a later user.
"""

from collections.abc import Sequence

from amaranth.hdl import Elaboratable, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.engine.ports import SpmRead, SpmReader, SpmWrite, SpmWriter
from hw.parts.choice import any_before, one_of
from hw.parts.fifo import Fifo
from hw.scratchpad.banks import Scratchpad
from isa.config import Config


def _choose(m: Module, users: Sequence[SpmReader | SpmWriter], port: SpmReader | SpmWriter,
            fields: Sequence[str]) -> Value:
    """Connects the user whose turn it is; gives the users' turns, one bit set at most."""
    asks, granted = Signal(len(users)), Signal(len(users))
    m.d.sync += granted.eq(asks & ~any_before(asks))
    m.d.comb += [
        *(ask.eq(user.valid) for ask, user in zip(asks, users, strict=True)),
        port.valid.eq((asks & granted).any()),
        *(user.ready.eq(port.ready & grant) for user, grant in zip(users, granted, strict=True)),
        *(getattr(port, f).eq(one_of(granted, [getattr(user, f) for user in users]))
          for f in fields)]
    return granted


class SharedRead(wiring.Component):
    """Latency: a cycle to be chosen, then the port's. Throughput: a word a cycle while one user
    asks. Stall: a user waits while an earlier one asks, or the port is not ready.

    Parameters
    ----------
    config : Config
    users : int

    Members
    -------
    users : In(SpmRead(config)).array(users)
    port : Out(SpmRead(config))
    """

    UNDER_WAY = 8
    """Reads that have been accepted and have not arrived: those of a slot and of the latency."""

    users: list[SpmReader]
    port: SpmReader

    def __init__(self, config: Config, users: int):
        assert self.UNDER_WAY >= Scratchpad.LATENCY + 2, "a slot holds two"
        super().__init__({"users": In(SpmRead(config)).array(users), "port": Out(SpmRead(config))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        granted = _choose(m, self.users, self.port, ("addr",))
        m.submodules.whose = whose = Fifo(len(self.users), self.UNDER_WAY)
        m.d.sync += [whose.i.payload.eq(granted),
                     whose.i.valid.eq(self.port.valid & self.port.ready)]
        m.d.comb += whose.o.ready.eq(self.port.arrived)
        for user, mine in zip(self.users, whose.o.payload, strict=True):
            m.d.comb += [user.arrived.eq(self.port.arrived & mine), user.data.eq(self.port.data)]
        return m


class SharedWrite(wiring.Component):
    """As :class:`SharedRead`, without data coming back. ``pending`` of a user says that some user's
    writes have not been made, which is over soon, since together they have less than a word a
    cycle.

    Parameters
    ----------
    config : Config
    users : int

    Members
    -------
    users : In(SpmWrite(config)).array(users)
    port : Out(SpmWrite(config))
    """

    users: list[SpmWriter]
    port: SpmWriter

    def __init__(self, config: Config, users: int):
        super().__init__({"users": In(SpmWrite(config)).array(users),
                          "port": Out(SpmWrite(config))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        _choose(m, self.users, self.port, ("addr", "data"))
        m.d.comb += [user.pending.eq(self.port.pending) for user in self.users]
        return m
