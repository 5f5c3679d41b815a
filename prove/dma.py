# SPDX-License-Identifier: Apache-2.0
"""What the DMA engines promise: to stay halted, and to keep the rules of the bus.

Their address generator is one that hands over any runs; the memory and the scratchpad answer when
they like, the memory by the rules of AXI.
"""

from amaranth.hdl import Assert, Assume, Elaboratable, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from hw.engine.ports import view_of
from hw.memory.axi import run_layout
from hw.memory.lanes import Lanes, Status, tag_layout
from hw.memory.lane_writer import write_ports
from hw.memory.load import LoadEngine
from hw.memory.pattern import Pattern
from hw.memory.store import StoreEngine
from hw.parts.delay import delay
from isa.config import Config
from isa.instructions import Fault, Opcode
from prove.bus import Bursts, legal_burst
from prove.checker import Design


class Halted(Design):
    """``halted`` of a DMA engine never falls, whatever the engine and the rest of the machine do;
    it is up in the cycle after an error response."""

    IN = ("start", "done", "bad", "response", "resp")

    halt: Signal

    def __init__(self) -> None:
        self._status = Status()
        members = self._status.signature.members
        super().__init__({**{name: members[name] for name in self.IN}, "halt": In(1),
                          "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.status = status = self._status
        before, error = Signal(), Signal()
        m.d.sync += [before.eq(status.halted), error.eq(status.error)]
        m.d.comb += [
            *(getattr(status, name).eq(getattr(self, name)) for name in self.IN),
            status.engine.halt.eq(self.halt), Assert(status.halted | ~(before | error)),
            self.reached.eq(before & (status.engine.fault_code == Fault.AXI_DECERR))]
        return m


class AnyRuns(Pattern):
    """An address generator that hands over ``run`` when ``offers`` is high, and has a fault when
    ``bad`` is."""

    def __init__(self, config: Config):
        super().__init__(config, Opcode.LOAD)
        self.run = view_of(run_layout(config, tag_layout(config)))
        self.offers, self.bad = Signal(), Signal()

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.d.comb += [self.runs.payload.eq(self.run), self.runs.valid.eq(self.offers),
                     self.instr.ready.eq(1), self.fault.eq(self.bad),
                     self.fault_code.eq(Fault.BAD_FIELD), Assume(self.run.beats != 0)]
        return m


class Stores(Design):
    """The STORE engine on the bus, whatever its runs, and whenever it is halted or an answer is an
    error."""

    run: data.View
    offers: Signal
    bad: Signal
    halt: Signal
    aw: Signal
    w: Signal
    b: Signal
    resp: Signal
    reads: Signal
    arrived: Signal

    def __init__(self, config: Config):
        self._config, self._runs = config, AnyRuns(config)
        super().__init__({
            "run": In(run_layout(config, tag_layout(config))), "offers": In(1), "bad": In(1),
            "halt": In(1), "aw": In(1), "w": In(1), "b": In(1), "resp": In(2),
            "reads": In(Lanes(config).words), "arrived": In(Lanes(config).words),
            "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self._config
        m.submodules.engine = engine = StoreEngine(config, self._runs)
        aw, w, b = engine.aw, engine.w, engine.b
        runs = self._runs
        halted = Signal()
        m.d.sync += halted.eq(halted | self.halt)
        m.d.comb += [runs.run.eq(self.run), runs.offers.eq(self.offers), runs.bad.eq(self.bad),
                     engine.engine.halt.eq(halted), aw.ready.eq(self.aw), w.ready.eq(self.w),
                     b.valid.eq(self.b), b.payload.resp.eq(self.resp),
                     Assume(self.resp != 1)]
        for k, port in enumerate(engine.read):
            asked = Signal(range(64), name=f"asked{k}")
            m.d.comb += [port.ready.eq(self.reads[k]), port.arrived.eq(self.arrived[k]),
                         Assume(~port.arrived | (asked != 0))]
            m.d.sync += asked.eq(asked + (port.valid & port.ready) - port.arrived)
        bursts = Bursts(m, aw, w, config.outstanding)
        written = Signal(range(config.outstanding + 2))
        m.d.sync += written.eq(written + bursts.over - self.b)
        unanswered = bursts.count + written
        legal_burst(m, config, aw)
        late, error = Signal(range(4)), Signal()
        m.d.sync += [error.eq(error | self.b & self.resp[1]),
                     late.eq(Mux((halted | error) & (bursts.count != 0) & ~w.valid, late + 1, 0))]
        m.d.comb += [
            Assume(~self.b | (written != 0)), Assert(~w.valid | (bursts.count != 0)),
            Assert(unanswered <= config.outstanding), Assert(engine.owed == (unanswered != 0)),
            Assert(late < 3), Assert(engine.engine.fault_code != Fault.AXI_PROTOCOL),
            Assert(~w.valid | (w.payload.last == bursts.ends)),
            self.reached.eq(bursts.over & error & halted)]
        return m


class Loads(Design):
    """The LOAD engine on the bus, whatever its runs, and whenever it is halted or an answer is an
    error."""

    run: data.View
    offers: Signal
    bad: Signal
    halt: Signal
    ar: Signal
    r: Signal
    resp: Signal
    writes: Signal
    pending: Signal

    def __init__(self, config: Config):
        self._config, self._runs = config, AnyRuns(config)
        ports = write_ports(config)
        super().__init__({
            "run": In(run_layout(config, tag_layout(config))), "offers": In(1), "bad": In(1),
            "halt": In(1), "ar": In(1), "r": In(1), "resp": In(2),
            "writes": In(ports), "pending": In(ports), "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config, runs = self._config, self._runs
        m.submodules.engine = engine = LoadEngine(config, runs)
        ar, r = engine.ar, engine.r
        halted, stopped = Signal(), Signal()
        m.d.sync += [halted.eq(halted | self.halt), stopped.eq(halted)]
        m.d.comb += [runs.run.eq(self.run), runs.offers.eq(self.offers), runs.bad.eq(self.bad),
                     engine.engine.halt.eq(halted), ar.ready.eq(self.ar), r.valid.eq(self.r),
                     r.payload.resp.eq(self.resp),
                     Assume(self.resp != 1)]
        for k, port in enumerate(engine.write):
            m.d.comb += [port.ready.eq(self.writes[k]), port.pending.eq(self.pending[k])]
        bursts = Bursts(m, ar, r, config.outstanding)
        legal_burst(m, config, ar)
        # an address and its data go through a register each
        there, goes = Signal.like(bursts.count), delay(m, ar.valid & ar.ready, 2, "goes")
        m.d.sync += there.eq(there + goes - bursts.over)
        m.d.comb += [
            Assume(~self.r | (there != 0)), r.payload.last.eq(bursts.ends),
            Assert(bursts.count <= config.outstanding), Assert(engine.owed == (bursts.count != 0)),
            Assert(~(stopped & ar.valid)), Assert(engine.engine.fault_code != Fault.AXI_PROTOCOL),
            self.reached.eq(bursts.over & stopped)]
        return m
