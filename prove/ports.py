# SPDX-License-Identifier: Apache-2.0
"""What the scratchpad's arbiters promise: of a port that several users share, and of the banks."""

from typing import Any

from amaranth.hdl import Assert, Assume, Cat, Elaboratable, Module, Signal, Value
from amaranth.lib.wiring import In, Out

from hw.parts.delay import delay
from hw.scratchpad.banks import Scratchpad
from hw.scratchpad.port_share import SharedRead
from isa.config import Config
from prove.checker import Design


class Shared(Design):
    """Users of one read port, which answers in the order of the reads, two cycles later at the
    soonest: what it takes is a request of one user; an answer goes to the user who asked,
    in the order of the requests; a user who asks is passed over for earlier ones only, and has the
    port a cycle after none of those asks."""

    USERS = 3

    asks: Signal
    ready: Signal
    arrived: Signal
    mark: Signal

    def __init__(self, config: Config):
        self._shared = SharedRead(config, self.USERS)
        super().__init__({
            **{f"addr{k}": In(self._shared.port.addr.shape()) for k in range(self.USERS)},
            "asks": In(self.USERS), "ready": In(1), "arrived": In(1), "mark": In(1),
            "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.shared = shared = self._shared
        port, users = shared.port, shared.users
        taken, answered = Signal(self.USERS), Signal(self.USERS)
        for k, user in enumerate(users):
            m.d.comb += [user.valid.eq(self.asks[k]), user.addr.eq(getattr(self, f"addr{k}")),
                         taken[k].eq(user.valid & user.ready), answered[k].eq(user.arrived)]
            with m.If(taken[k]):
                m.d.comb += Assert(port.addr == user.addr)
        m.d.comb += [port.ready.eq(self.ready), port.arrived.eq(self.arrived),
                     Assert(taken.any() == (port.valid & port.ready)),
                     Assert((taken & (taken - 1)) == 0)]
        self._turns(m, taken)
        self._answers(m, taken, answered)
        return m

    def _turns(self, m: Module, taken: Signal) -> None:
        """Who is taken, and who has to be."""
        asked = Signal(self.USERS)
        m.d.sync += asked.eq(self.asks)
        for k in range(self.USERS):
            # k has asked for a cycle: no later one is taken
            with m.If(asked[k]):
                m.d.comb += Assert(~taken[k + 1:].any())
            with m.If(asked[k] & self.asks[k] & ~asked[:k].any() & self.ready):
                m.d.comb += Assert(taken[k])

    def _answers(self, m: Module, taken: Signal, answered: Signal) -> None:
        """One request, any of them, is marked; those before it are counted until its answer."""
        count, ahead = (Signal(range(SharedRead.UNDER_WAY + 2), name=n)
                        for n in ("count", "ahead"))
        marked, whose = Signal(), Signal(self.USERS)
        due = Signal.like(count)
        goes = taken.any()
        m.d.sync += [count.eq(count + goes - self.arrived),
                     due.eq(due + delay(m, goes, 1, "goes") - self.arrived)]
        m.d.comb += [Assume(~self.arrived | (due != 0)),
                     Assume(count <= Scratchpad.LATENCY + 2),
                     Assert(answered.any() == self.arrived),
                     self.reached.eq(marked & self.arrived & (ahead == 0) & (count > 3))]
        with m.If(goes & self.mark & ~marked):
            m.d.sync += [marked.eq(1), whose.eq(taken), ahead.eq(count - self.arrived)]
        with m.If(marked & self.arrived):
            m.d.sync += ahead.eq(ahead - 1)
            with m.If(ahead == 0):
                m.d.comb += Assert(answered == whose)
                m.d.sync += marked.eq(0)


class Ranks(Design):
    """Two read ports and a write port of the scratchpad, from the highest rank to the lowest: the
    first never waits, and has its words after the latency; a read has one answer; nothing of a port
    waits any more when it and those above it have been silent for two cycles each."""

    PORTS = 3

    asks: Signal

    def __init__(self, config: Config):
        self._config = config
        address = range(config.spm_words)
        super().__init__({**{f"addr{k}": In(address) for k in range(self.PORTS)},
                          "asks": In(self.PORTS), "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.spm = spm = Scratchpad(self._config, reads=2, writes=1)
        ports: list[Any] = [*spm.read, *spm.write]
        taken = Signal(self.PORTS)
        for k, port in enumerate(ports):
            m.d.comb += [port.valid.eq(self.asks[k]), port.addr.eq(getattr(self, f"addr{k}")),
                         taken[k].eq(port.valid & port.ready)]
        first, second, write = ports
        m.d.comb += [Assert(first.ready),
                     Assert(first.arrived == delay(m, taken[0], Scratchpad.LATENCY, "first"))]
        owed = Signal(4)
        m.d.sync += owed.eq(owed + taken[1] - second.arrived)
        m.d.comb += [Assert(~second.arrived | (owed != 0)),
                     Assert(owed <= Scratchpad.LATENCY + 2)]
        self._progress(m, taken, second.arrived, owed, write.pending)
        return m

    def _progress(self, m: Module, taken: Signal, arrived: Signal, owed: Signal,
                  pending: Signal) -> None:
        """When a port and those above it have asked for nothing for two cycles each, both places
        of a slot, nothing of it waits; it has its words after the latency."""
        def silent(ports: int, cycles: int, name: str) -> Value:
            """No request of the first ports has been taken for so many cycles."""
            past = [delay(m, taken[:ports].any(), k, f"{name}{k}") for k in range(1, cycles + 1)]
            return ~Cat(*past).any()

        for ports, waits, cycles, name in ((2, owed != 0, 4 + Scratchpad.LATENCY, "read"),
                                           (3, pending, 6, "write")):
            with m.If(silent(ports, cycles, name) & self._running(m, cycles, name)):
                m.d.comb += Assert(~waits)
        m.d.comb += self.reached.eq(arrived & pending & (owed > 3))

    def _running(self, m: Module, cycles: int, name: str) -> Value:
        """So many cycles have passed since reset."""
        age = Signal(range(cycles + 1), name=f"age_{name}")
        with m.If(age != cycles):
            m.d.sync += age.eq(age + 1)
        return age == cycles
