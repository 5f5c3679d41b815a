# SPDX-License-Identifier: Apache-2.0
"""What the memory controller, the splitter of runs and instruction fetch promise."""

from amaranth.hdl import Assert, Assume, Elaboratable, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.control.fetch import Fetch
from hw.engine.settings import REGION
from hw.memory.axi import BOUNDARY_BYTES, FETCH_ID, BurstSplitter, run_layout
from hw.memory.controller import MemoryController
from hw.parts.delay import delay
from isa.config import Config
from isa.instructions import HEAD, INDEX_BITS, UNIT_BYTES, Fault
from prove.bus import Bursts, legal_burst
from prove.checker import Design
from prove.streams import stays


class Requests(Design):
    """The controller's side of the bus, whatever the engines do, withdrawn requests included: an
    offered address or beat stays as it is until it is taken, and none of the two readers is passed
    over while it keeps asking."""

    TURNS = 2
    """Addresses that are taken before that of a reader that keeps asking is."""

    IN = ("fetch_ar", "load_ar", "store_aw", "store_w")

    def __init__(self, config: Config):
        self._memory = memory = MemoryController(config)
        members = memory.signature.members
        super().__init__({
            **{f"{name}_free": In(members[name].signature.members["payload"].shape)
               for name in self.IN},
            **{f"{name}_valid": In(1) for name in self.IN},
            "aw": In(1), "w": In(1), "ar": In(1), "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.memory = memory = self._memory
        bus = memory.bus
        for name in self.IN:
            source = getattr(memory, name)
            m.d.comb += [source.payload.eq(getattr(self, f"{name}_free")),
                         source.valid.eq(getattr(self, f"{name}_valid"))]
        m.d.comb += [getattr(bus, c).ready.eq(getattr(self, c)) for c in ("aw", "w", "ar")]
        for channel in (bus.aw, bus.w, bus.ar):
            stays(m, channel)
        for name, mine, other in (("fetch", memory.fetch_ar, memory.load_ar),
                                  ("load", memory.load_ar, memory.fetch_ar)):
            passed = Signal(range(self.TURNS + 2), name=f"passed_{name}")
            waits = mine.valid & ~mine.ready
            with m.If(~waits):
                m.d.sync += passed.eq(0)
            with m.Elif(other.valid & other.ready):
                m.d.sync += passed.eq(passed + 1)
            m.d.comb += Assert(passed <= self.TURNS)
        m.d.comb += self.reached.eq(bus.ar.valid & (passed == 1))
        return m


class Splits(Design):
    """Bursts of the splitter are legal and together are the run, without a gap, whatever the run,
    as long as it stays within the address space."""

    run: data.View
    offers: Signal
    ready: Signal

    def __init__(self, config: Config):
        self._config = config
        super().__init__({"run": In(run_layout(config, 1)), "offers": In(1), "ready": In(1),
                          "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.splitter = splitter = BurstSplitter(self._config, 1)
        i, o = splitter.i, splitter.o
        window = min(self._config.max_burst, BOUNDARY_BYTES // self._config.bus_bytes)
        # one run is followed: where it is, and what is left of it
        following, at, left = Signal(), Signal.like(i.payload.beat), Signal.like(i.payload.beats)
        second = Signal()
        space = 1 << len(at)
        m.d.comb += [
            i.payload.eq(self.run), i.valid.eq(self.offers & ~following), o.ready.eq(self.ready),
            Assume(self.run.beats != 0), Assume(self.run.beat + self.run.beats <= space),
            Assert(~o.valid | following)]
        with m.If(i.valid & i.ready):
            m.d.sync += [following.eq(1), at.eq(i.payload.beat), left.eq(i.payload.beats)]
        with m.If(o.valid):
            size = o.payload.len + 1
            m.d.comb += [
                Assert(o.payload.beat == at), Assert(size <= left),
                Assert(at[:exact_log2(window)] + size <= window),
                Assert(o.payload.last == (size == left)),
                Assert(o.payload.first == ~second),
                self.reached.eq(o.payload.last & second & (size != window))]
        with m.If(o.valid & o.ready):
            m.d.sync += [at.eq(at + size), left.eq(left - size),
                         following.eq(~o.payload.last), second.eq(~o.payload.last)]
        return m


class Fetches(Design):
    """Instruction fetch on the bus, whatever the region and the program's place in it, however
    often it is started, stopped or halted: it asks for legal bursts only, never for more than it
    has room for, and takes nothing that keeps the rules for a breach of them. An instruction has as
    many bus words as its first one says, whatever that is."""

    region: data.View
    program: Signal
    start: Signal
    stop: Signal
    halt: Signal
    ar: Signal
    r: Signal
    size: Signal
    take: Signal

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "region": In(REGION), "program": In(32), "start": In(1), "stop": In(1), "halt": In(1),
            "ar": In(1), "r": In(1), "size": In(HEAD[1].width), "take": In(1), "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.fetch = fetch = Fetch(self._config)
        ar, r = fetch.ar, fetch.r
        halted, begun = Signal(), Signal()
        settings = Signal(len(self.region.as_value()) + 32)
        given = Signal.like(settings)
        m.d.sync += [halted.eq(halted | self.halt), begun.eq(begun | self.start),
                     settings.eq(given)]
        m.d.comb += [
            given.eq(Mux(begun, settings, self.region.as_value() | self.program << 128)),
            fetch.region.eq(given[:128]), fetch.program.eq(given[128:] & ~127),
            Assume(self.region.base[:5] == 0), Assume(self.region.base[32:] == 0),
            fetch.start.eq(self.start), fetch.stop.eq(self.stop), fetch.halt.eq(halted),
            ar.ready.eq(self.ar), r.valid.eq(self.r), fetch.instr.ready.eq(self.take),
            r.payload.id.eq(FETCH_ID), r.payload.data.eq(self.size << HEAD[0].width)]
        bursts = Bursts(m, ar, r, 8)
        there, goes = Signal.like(bursts.count), delay(m, ar.valid & ar.ready, 2, "goes")
        legal_burst(m, self._config, ar)
        m.d.sync += there.eq(there + goes - bursts.over)
        m.d.comb += [
            Assume(~self.r | (there != 0)), r.payload.last.eq(bursts.ends),
            Assume(bursts.count <= 8), Assert(~r.valid | r.ready),
            Assert(fetch.owed == (bursts.count != 0)),
            Assert(~fetch.instr.valid | (fetch.instr.payload.fault != Fault.AXI_PROTOCOL)),
            self.reached.eq(fetch.instr.valid & fetch.instr.payload.last
                            & ~fetch.instr.payload.first & (fetch.instr.payload.fault == 0))]
        self._lengths(m, fetch)
        return m

    def _lengths(self, m: Module, fetch: Fetch) -> None:
        """Words are counted until the last one of an instruction, of which the first said how many
        there are; none is left out of the count of instructions."""
        instr, per_unit = fetch.instr.payload, exact_log2(UNIT_BYTES // self._config.bus_bytes)
        place, size, index = Signal(8), Signal(8), Signal(INDEX_BITS)
        said = instr.word[HEAD[0].width:][:HEAD[1].width]
        wanted = Mux(place == 0, Mux(said == 0, 1, said) << per_unit, size)
        with m.If(fetch.instr.valid & fetch.instr.ready):
            m.d.sync += [size.eq(wanted), place.eq(Mux(instr.last, 0, place + 1)),
                         index.eq(index + instr.last)]
            m.d.comb += Assert(instr.index == index)
            with m.If(instr.fault == 0):
                m.d.comb += [Assert(instr.first == (place == 0)),
                             Assert(instr.last == (place + 1 == wanted))]
        with m.If(self.stop | fetch.start & fetch.idle):
            m.d.sync += [place.eq(0), index.eq(0)]
