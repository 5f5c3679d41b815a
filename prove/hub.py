# SPDX-License-Identifier: Apache-2.0
"""What the interconnect promises: places for all that is asked for, each beat to whom it belongs,
once and in order, and turns.

Beats carry as data where they belong: the low bits of their own address, in beats. Bursts have up
to two beats, so one that begins in the last beat of a block is cut.
"""

from typing import Any

from amaranth.hdl import Assert, Assume, Cat, Const, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.chip.channel_reads import ChannelReads, owner_layout
from hw.chip.core_reads import IDS
from hw.chip.depths import Depths
from hw.chip.hub import Hub
from isa.chip import INTERLEAVE
from hw.chip.read_path import ReadPath
from hw.memory.axi import AXIPort
from isa.config import Config
from prove.bus import Bursts
from prove.checker import Design
from prove.streams import stays

CHANNELS = 2
DEPTHS = Depths(bursts=1, pieces=2, beats=3)


class ReadPlaces(Design):
    """Whatever a core asks for and whenever it takes it: what a channel sends of what it was asked
    for has a place. That is an assertion of the path itself."""

    addr: Signal
    len: Signal
    offers: Signal
    asks: Signal
    beats: Signal
    take: Signal

    def __init__(self, config: Config):
        self._block = exact_log2(INTERLEAVE // config.bus_bytes)
        self._path = ReadPath(config, CHANNELS, DEPTHS)
        self._beat = exact_log2(config.bus_bytes)
        super().__init__({
            "addr": In(self._block + 1), "len": In(1), "offers": In(1), "asks": In(CHANNELS),
            "beats": In(CHANNELS), "take": In(1), "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.path = path = self._path
        m.d.comb += [
            path.bursts.valid.eq(self.offers), path.bursts.payload.len.eq(self.len),
            path.bursts.payload.addr.eq(self.addr << self._beat), path.r.ready.eq(self.take)]
        for c, (ask, beat) in enumerate(zip(path.asks, path.beats, strict=True)):
            m.d.comb += [ask.ready.eq(self.asks[c]), beat.valid.eq(self.beats[c])]
            self._memory(m, c, ask, beat)
        self._core(m)
        return m

    def _core(self, m: Module) -> None:
        """What the core sees."""

    def _memory(self, m: Module, c: int, ask: stream.Interface, beat: stream.Interface) -> None:
        """A channel sends what it is asked for."""
        owed = Signal(range(DEPTHS.beats + 3), name=f"owed{c}")
        m.d.sync += owed.eq(owed + Mux(ask.valid & ask.ready, ask.payload.len + 1, 0) - beat.valid)
        m.d.comb += [Assume(~beat.valid | (owed != 0)), Assert(owed <= DEPTHS.beats)]
        if c == 0:
            m.d.comb += self.reached.eq(owed == DEPTHS.beats)


class ReadOrder(ReadPlaces):
    """Each beat that a core asks for comes once, in the order of its bursts, with ``last`` at
    their ends, whichever channel is first; a piece is in its channel and within a block."""

    MOST = 6

    def _core(self, m: Module) -> None:
        path = self._path
        core = Bursts(m, path.bursts, path.r, self.MOST, self.addr)
        wanted = Signal(self._block + 1)
        m.d.comb += [wanted.eq(core.kept + core.place), Assume(core.count <= self.MOST)]
        with m.If(path.r.valid):
            m.d.comb += [Assert(core.count != 0), Assert(path.r.payload.last == core.ends),
                         Assert(path.r.payload.data[:len(wanted)] == wanted),
                         self.reached.eq(core.over & (core.place == 1) & (wanted[:-1] == 0))]

    def _memory(self, m: Module, c: int, ask: stream.Interface, beat: stream.Interface) -> None:
        at = ask.payload.addr[self._beat:][:self._block + 1]
        bursts = Bursts(m, ask, beat, DEPTHS.beats, at)
        with m.If(ask.valid):
            m.d.comb += [Assert(at[-1] == c), Assert((at + ask.payload.len)[self._block] == c)]
        m.d.comb += [Assume(~beat.valid | (bursts.count != 0)),
                     beat.payload.data.eq(bursts.kept + bursts.place),
                     beat.payload.last.eq(bursts.ends)]


class ReadTurns(Design):
    """Reads of two cores at a channel, each of LOAD and instruction fetch: nobody who keeps asking
    is passed over more often than it has to be; each address that goes out is one that was
    taken, in that order, with the ID of who asked."""

    CORES = 2
    PASSED = 2 * (CORES - 1) + 1
    """A burst of the same core, and before each of both one of each other core."""

    addr: Signal
    asks: Signal
    ready: Signal

    def __init__(self, config: Config):
        self._side = ChannelReads(config, self.CORES)
        self._users = self.CORES * len(IDS)
        super().__init__({"addr": In(self._users), "asks": In(self._users), "ready": In(1),
                          "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.side = side = self._side
        users = [ask for kinds in side.asks for ask in kinds]
        taken, waiting = Signal(self._users), Signal(self._users)
        m.d.comb += side.ar.ready.eq(self.ready)
        for k, ask in enumerate(users):
            passed = Signal(range(self.PASSED + 2), name=f"passed{k}")
            m.d.comb += [ask.valid.eq(self.asks[k]), ask.payload.addr.eq(self.addr[k]),
                         taken[k].eq(ask.valid & ask.ready), waiting[k].eq(ask.valid & ~ask.ready)]
            stays(m, ask, Assume)
            with m.If(~waiting[k]):
                m.d.sync += passed.eq(0)
            with m.Elif(taken.any()):
                m.d.sync += passed.eq(passed + 1)
            m.d.comb += Assert(passed <= self.PASSED)
            if k == self._users - 1:
                m.d.comb += self.reached.eq(passed == self.PASSED)
        m.d.comb += Assert((taken & (taken - 1)) == 0)
        stays(m, side.ar)
        self._out(m, taken)
        return m

    def _out(self, m: Module, taken: Signal) -> None:
        """Those that were taken and have not gone out, two at most; a user's number is its ID."""
        ar = self._side.ar
        queue = [Signal(1 + ar.payload.id.shape().width, name=f"taken{k}") for k in range(2)]
        new, count, left = Signal.like(queue[0]), Signal(range(4)), Signal(range(4))
        goes = ar.valid & ar.ready
        m.d.comb += [left.eq(count - goes), Assert(ar.valid == (count != 0))]
        m.d.sync += count.eq(left + taken.any())
        for k in range(self._users):
            with m.If(taken[k]):
                m.d.comb += new.eq(Cat(self.addr[k], Const(k, 2)))
        with m.If(ar.valid):
            m.d.comb += Assert(Cat(ar.payload.addr[0], ar.payload.id) == queue[0])
        with m.If(goes):
            m.d.sync += queue[0].eq(queue[1])
        for k, entry in enumerate(queue):
            with m.If(taken.any() & (left == k)):
                m.d.sync += entry.eq(new)


class FewMet(ChannelReads):
    """With a short list of whose bursts are under way."""

    MET = 2


class ReadGroups(Design):
    """Reads of three cores at a channel in two groups, of any members, which may change: a burst is
    taken from all members in one cycle, the same from each, or, of a core that is none or members
    that differ, from one alone; each of its beats goes to all whose it is and to nobody else,
    whatever comes between for others, and says whether members differed."""

    CORES, GROUPS = 3, 2

    addr: Signal
    group: Signal
    asks: Signal
    members: Signal
    ready: Signal
    r: Signal
    other: Signal

    def __init__(self, config: Config):
        self._side = FewMet(config, self.CORES, self.GROUPS)
        super().__init__({
            "addr": In(self.CORES), "group": In(self.CORES), "asks": In(self.CORES),
            "members": In(self.CORES * self.GROUPS), "ready": In(1), "r": In(1), "other": In(1),
            "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.side = side = self._side
        before = [Signal(self.CORES, name=f"before{g}") for g in range(self.GROUPS)]
        m.d.comb += side.ar.ready.eq(self.ready)
        for g, members in enumerate(side.members):
            m.d.comb += members.eq(self.members.word_select(g, self.CORES))
            m.d.sync += before[g].eq(members)
        taken, apart = Signal(self.CORES), Signal()
        for k, kinds in enumerate(side.asks):
            ask = kinds[len(IDS)]
            m.d.comb += [
                ask.valid.eq(self.asks[k]), ask.payload.addr.eq(self.addr[k]),
                ask.payload.group.eq(self.group[k] + 1), taken[k].eq(ask.valid & ask.ready)]
            stays(m, ask, Assume)
        for k in range(self.CORES):
            mine, alone = Mux(self.group[k], before[1], before[0]), taken == (1 << k)
            differ = ((mine & self.addr) != 0) & ((mine & ~self.addr) != 0)
            with m.If(taken[k]):
                m.d.comb += [Assert(alone | (taken == mine) & ~differ),
                             Assert(~alone | ~mine[k] | differ | (mine == (1 << k))),
                             apart.eq(mine[k] & differ)]
        self._beats(m, taken, apart)
        return m

    def _beats(self, m: Module, taken: Signal, apart: Signal) -> None:
        """The first group is answered in the order in which its bursts were taken, which is that of
        ``ar``."""
        side, first = self._side, Const(self.CORES, 3)
        met: Any = stream.Signature(data.StructLayout({"len": 1})).create()
        came: Any = stream.Signature(1).create()
        owner = data.View(owner_layout(self.CORES, self.GROUPS), side.r.payload.id)
        mine = (taken & ~self.group).any()
        m.d.comb += [met.valid.eq(mine), met.ready.eq(1), came.ready.eq(1),
                     came.valid.eq(self.r), met.payload.len.eq(0)]
        bursts = Bursts(m, met, came, 4, Cat(taken, apart))
        there = Signal.like(bursts.count)
        asked = side.ar.valid & side.ar.ready & (
            data.View(owner.shape(), side.ar.payload.id).core == first)
        m.d.sync += there.eq(there + asked - self.r)
        m.d.comb += [
            Assume(~self.r | (there != 0)), Assume(~(self.r & self.other)),
            Assert(~self.r | (bursts.count != 0)), Assert(bursts.count <= FewMet.MET),
            side.r.valid.eq(self.r | self.other), side.r.payload.last.eq(1),
            owner.core.eq(Mux(self.r, first, 0)),
            self.reached.eq(bursts.over & (bursts.count == FewMet.MET)
                            & bursts.kept[:self.CORES].all())]
        wanted = Signal(self.CORES + 1)
        m.d.sync += wanted.eq(Mux(self.r, bursts.kept, 0))
        m.d.comb += Assert(side.whose[len(IDS)] == wanted[:self.CORES])
        with m.If(wanted[:self.CORES].any()):
            m.d.comb += Assert(side.beat.resp == wanted[-1])


class WriteOrder(Design):
    """Writes of two cores through a hub of two channels. What a core writes goes, once and in
    order, to its address in that channel; data of two bursts never mix; a burst is answered once,
    in order, when all of its pieces are."""

    CORES = 2
    MOST = 4

    def __init__(self, config: Config):
        self._block = exact_log2(INTERLEAVE // config.bus_bytes)
        self._beat = exact_log2(config.bus_bytes)
        self._hub = Hub(config, cores=self.CORES, channels=CHANNELS, depths=(DEPTHS,) * 3)
        super().__init__({
            "addr": In(self._block + 1).array(self.CORES), "len": In(self.CORES),
            "aw": In(self.CORES), "w": In(self.CORES), "b": In(self.CORES),
            "takes_aw": In(CHANNELS), "takes_w": In(CHANNELS), "answers": In(CHANNELS),
            "whom": In(CHANNELS), "reached": Out(1)})

    addr: list[Signal]
    len: Signal
    aw: Signal
    w: Signal
    b: Signal
    takes_aw: Signal
    takes_w: Signal
    answers: Signal
    whom: Signal

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.hub = hub = self._hub
        answered = [self._channel(m, c, bus) for c, bus in enumerate(hub.channels)]
        for k, bus in enumerate(hub.cores):
            self._core(m, k, bus, [each[k] for each in answered])
        return m

    def _channel(self, m: Module, c: int, bus: AXIPort) -> list[Signal]:
        """A memory that takes data behind their address. Returns who is answered."""
        aw, w, b = bus.aw, bus.w, bus.b
        asked, owner = (data.View(owner_layout(self.CORES, 0), x.payload.id) for x in (aw, b))
        at = aw.payload.addr[self._beat:][:self._block + 1]
        bursts = Bursts(m, aw, w, self.MOST, Cat(at, asked.core))
        m.d.comb += [
            aw.ready.eq(self.takes_aw[c]), w.ready.eq(self.takes_w[c] & (bursts.count != 0)),
            Assert(bursts.count <= self.MOST), b.valid.eq(self.answers[c]),
            owner.core.eq(self.whom[c])]
        with m.If(aw.valid):
            m.d.comb += [Assert(at[-1] == c), Assert((at + aw.payload.len)[self._block] == c)]
        with m.If(w.valid & w.ready):
            m.d.comb += [Assert(w.payload.data[:len(at) + 1] == bursts.kept + bursts.place),
                         Assert(w.payload.last == bursts.ends)]
        answered = []
        for k in range(self.CORES):
            written = Signal(range(2 * self.MOST), name=f"written{c}_{k}")
            whom = Signal(name=f"answered{c}_{k}")
            m.d.comb += [whom.eq(b.valid & (self.whom[c] == k)), Assume(~whom | (written != 0))]
            m.d.sync += written.eq(written + (bursts.over & (bursts.kept[-1] == k)) - whom)
            answered.append(whom)
        return answered

    def _core(self, m: Module, k: int, bus: AXIPort, answered: list[Signal]) -> None:
        """A core that sends data behind their address."""
        aw, w, b = bus.aw, bus.w, bus.b
        first, second = self.addr[k], Signal(self._block + 1, name=f"second{k}")
        bursts = Bursts(m, aw, w, self.MOST, first)
        m.d.comb += [
            aw.valid.eq(self.aw[k]), aw.payload.len.eq(self.len[k]),
            aw.payload.addr.eq(first << self._beat), Assume((first + self.len[k])[-1] == 0),
            second.eq(first + self.len[k]), Assume(bursts.count <= self.MOST),
            w.valid.eq(self.w[k] & (bursts.count != 0)),
            w.payload.data.eq(Cat((bursts.kept + bursts.place)[:len(first)], Const(k, 1))),
            b.ready.eq(self.b[k])]
        whole: Any = stream.Signature(data.StructLayout({"len": 1})).create()
        m.d.comb += [whole.valid.eq(aw.valid), whole.ready.eq(aw.ready)]
        owed = Bursts(m, whole, b, 2 * self.MOST,
                      Cat((first[-1] == c) | (second[-1] == c) for c in range(CHANNELS)))
        m.d.comb += Assume(owed.count <= 2 * self.MOST)
        for c, came in enumerate(answered):
            ready = Signal(range(2 * self.MOST), name=f"ready{c}_{k}")
            used = owed.over & owed.kept[c]
            m.d.sync += ready.eq(ready + came - used)
            m.d.comb += Assert(~used | (ready != 0))
        m.d.comb += Assert(~b.valid | (owed.count != 0))
        if k == 0:
            m.d.comb += self.reached.eq(owed.over & owed.kept.all())
