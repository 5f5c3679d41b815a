# SPDX-License-Identifier: Apache-2.0
"""The reads of a channel: whose burst is next, and whose beats come back.

::

    asks of each core: LOAD ─┬─ in turns ─┐
                       fetch ┘            ├─ in turns ─► ar   (ID: who asked)
                       ...               ─┤
         LOAD in groups ──► Meeting ──────┤─► whose, a list for each group
         fetch in groups ─► Meeting ──────┘─► likewise
    r ─► register ─► beats of whom the ID names, or the list of the group that it names

The cores take turns burst by burst, and in a core its two kinds of reads do; groups together have
a turn for each kind. What is asked for here has places, so ``r`` is always ready. The memory may
answer different IDs in any order, beats of different bursts mixed. A group has an ID for each kind,
hence is answered in the order of its list.
"""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from hw.chip.core_reads import IDS, kinds
from hw.chip.meeting import Meeting
from hw.chip.read_path import ask_layout, beat_layout
from hw.memory.axi import ID_BITS, Resp, address_layout, read_layout
from hw.parts.choice import one_of, turns
from hw.parts.delay import later
from hw.parts.fifo import Fifo
from hw.parts.repeated import repeated
from hw.parts.skid import Skid
from isa.config import Config


def owner_layout(cores: int, groups: int) -> data.StructLayout:
    """The ID on a channel: the ID that the core gave, and the number of the core; the numbers
    behind the last core are those of groups."""
    return data.StructLayout({"id": ID_BITS, "core": ceil_log2(cores + groups)})


class ChannelReads(wiring.Component):
    """AR and R of a channel. Latency: a cycle each way. Throughput: a burst and a beat a cycle.
    A core that keeps asking is passed over for a burst of each other core at most, each of its two
    kinds of reads for one more of the other before that.

    Parameters
    ----------
    config : Config
    cores : int
    groups : int

    Members
    -------
    asks : for each core, a stream of ``ask_layout(config, groups)`` for each of
        ``kinds(groups)``
    beat : ``beat_layout(config)``
    whose : ``cores`` for each of ``kinds(groups)``
        Those that ``beat`` is for, and always take it.
    members : ``cores`` bits for each group
    stand : ``cores`` for each of :data:`hw.chip.core_reads.IDS`
        Who stands at its meeting, if there are groups.
    ar : stream of ``address_layout(config)`` with an ID of ``owner_layout(cores, groups)``
    r : stream of ``read_layout(config)`` with such an ID; always ready
    """

    MET = 16
    """Bursts of a group and kind under way."""

    asks: list[list[stream.Interface]]
    beat: data.View
    whose: list[Signal]
    members: list[Signal]
    stand: list[Signal]
    ar: stream.Interface
    r: stream.Interface

    def __init__(self, config: Config, cores: int, groups: int = 0):
        self._config, self._cores, self._groups = config, cores, groups
        self._owner = owner_layout(cores, groups)
        super().__init__({
            "asks": In(stream.Signature(ask_layout(config, groups))).array(cores, kinds(groups)),
            "beat": Out(beat_layout(config)), "whose": Out(cores).array(kinds(groups)),
            "members": In(cores).array(groups), "stand": Out(cores).array(len(IDS)),
            "ar": Out(stream.Signature(address_layout(config, self._owner.size))),
            "r": In(stream.Signature(read_layout(config, self._owner.size)))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.ar = out = Skid(self.ar.p.shape())
        connect(m, out.o, flipped(self.ar))
        m.d.comb += self.r.ready.eq(1)
        came, there = later(m, self.r.payload, 1, "came"), Signal()
        m.d.sync += there.eq(self.r.valid)
        owner = data.View(self._owner, came.id)
        asking = [self._core(m, core, asks) for core, asks in enumerate(self.asks)]
        differ: Value = Const(0)
        for kind, axi_id in enumerate(IDS if self._groups else ()):
            mine = Signal(self._groups, name=f"mine{kind}")
            m.d.comb += mine.eq(Cat(there & (owner.id == axi_id) & (owner.core == self._cores + g)
                                    for g in range(self._groups)))
            of_groups, cores, bad = self._meeting(m, platform, kind, mine, came.last)
            asking.append(of_groups)
            differ = differ | bad
            m.d.comb += self.whose[len(IDS) + kind].eq(cores)
        self._choose(m, asking, out.i)
        m.d.comb += [
            *(whose.eq(Cat(there & (owner.core == core) & (owner.id == axi_id)
                           for core in range(self._cores)))
              for axi_id, whose in zip(IDS, self.whose, strict=False)),
            self.beat.resp.eq(Mux(differ & (came.resp == 0), Resp.EXOKAY, came.resp)),
            self.beat.data.eq(came.data), self.beat.last.eq(came.last)]
        return m

    def _one(self, name: str) -> stream.Interface:
        """Where one asks for the channel: with an ID already."""
        return stream.Signature(self.ar.p.shape()).create(path=(name,))

    def _core(self, m: Module, core: int, asks: list[stream.Interface]) -> stream.Interface:
        """What a core asks for alone: of two kinds the one that was not the last, if both ask."""
        load, fetch = asks[:len(IDS)]
        fetch_first, fetches = (Signal(name=f"{n}{core}") for n in ("fetch_first", "fetches"))
        one = self._one(f"core{core}")
        owner = data.View(self._owner, one.payload.id)
        m.d.comb += [
            fetches.eq(fetch.valid & (fetch_first | ~load.valid)),
            one.valid.eq(load.valid | fetch.valid),
            one.payload.addr.eq(Mux(fetches, fetch.payload.addr, load.payload.addr)),
            one.payload.len.eq(Mux(fetches, fetch.payload.len, load.payload.len)),
            owner.id.eq(Mux(fetches, *reversed(IDS))), owner.core.eq(core),
            load.ready.eq(one.ready & ~fetches), fetch.ready.eq(one.ready & fetches)]
        with m.If(one.valid & one.ready):
            m.d.sync += fetch_first.eq(~fetches)
        return one

    def _meeting(self, m: Module, platform: object, kind: int, there: Signal, last: Value
                 ) -> tuple[stream.Interface, Value, Value]:
        """What groups ask for, of one of :data:`IDS`; of the beat that is ``there`` for one of
        them, whose it is, and whether those differ."""
        meeting = repeated(m, platform, "meeting", kind,
                           lambda: Meeting(self._config, self._cores, self._groups))
        for asks, ask in zip(self.asks, meeting.asks, strict=True):
            connect(m, flipped(asks[len(IDS) + kind]), ask)
        one, met = self._one(f"groups{kind}"), meeting.met
        owner = data.View(self._owner, one.payload.id)
        m.d.comb += [
            *(inner.eq(outer) for inner, outer in zip(meeting.members, self.members, strict=True)),
            self.stand[kind].eq(meeting.stand), one.valid.eq(met.valid), met.ready.eq(one.ready),
            one.payload.addr.eq(met.payload.addr), one.payload.len.eq(met.payload.len),
            owner.id.eq(IDS[kind]), owner.core.eq(self._cores + met.payload.group)]
        entries = []
        for g, mine in enumerate(there):
            m.submodules[f"whose{kind}_{g}"] = whose = Fifo(self._cores + 1, self.MET)
            m.d.comb += [
                meeting.room[g].eq(whose.i.ready),
                whose.i.valid.eq(met.valid & met.ready & (met.payload.group == g)),
                whose.i.payload.eq(Cat(met.payload.cores, met.payload.differ)),
                whose.o.ready.eq(mine & last)]
            entries.append(whose.o.payload)
        entry = Signal(self._cores + 1, name=f"whose{kind}")
        m.d.comb += entry.eq(one_of(there, entries))
        return one, entry[:-1], entry[-1]

    def _choose(self, m: Module, asking: list[stream.Interface], to: stream.Interface) -> None:
        """One of those that ask, in turns."""
        asks = Signal(len(asking))
        who = turns(m, "one", asks, to.valid & to.ready)
        m.d.comb += [
            asks.eq(Cat(one.valid for one in asking)), to.valid.eq(asks.any()),
            to.payload.eq(one_of(who, [one.p.as_value() for one in asking])),
            *(one.ready.eq(to.ready & bit) for one, bit in zip(asking, who, strict=True))]
