# SPDX-License-Identifier: Apache-2.0
"""One core.

::

    host ── AXI4-Lite ──► control ── settings, start, reset ─┐      ┌── events, faults
                                                             ▼      │
    DRAM ◄── AXI4 ──► memory ─► fetch ─► sequencer ─► queues: load │ tensor │ window │ vector │ …
                        ▲ ▲                            │         │        │        │        │
                        │ └──────── load ◄─────────────┘         │        │        │        │
                        └────────── store ◄──────────────────────┼────────┼────────┼────────┘
                    load, store, tensor, window, vector ◄────────┴────────┴────────┘
                                          │
                                  scratchpad (banks)

A configuration without window taps has no window engine. One with ``exchange`` has the parts of
:mod:`hw.exchange` besides. Everything but the control registers is reset by them.

Where clocks are gated (:mod:`hw.parts.clock_gate`), each engine has one of its own, which stands
still while the engine has no instruction, is offered none, expects nothing from the memory, and the
machine neither halts nor is reset.
"""

from typing import Any, TypeVar

from amaranth.hdl import Cat, Elaboratable, Module, ResetInserter, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.arith.float_lane import KIND
from hw.control.fetch import Fetch
from hw.control.registers import Control, growth_layout
from hw.control.sequencer import Sequencer
from hw.engine.ports import FAULT_ENGINE, SpmRead, SpmReader, SpmWrite, SpmWriter
from hw.engine.profile import Buckets, events_layout
from hw.engine.settings import SETTINGS
from hw.exchange.landing import Landing
from hw.exchange.ports import Exchange, ExchangePort
from hw.exchange.send import SendEngine
from hw.exchange.signals import Signals
from hw.memory.axi import AXI4, AXI4Lite, AXIPort
from hw.memory.controller import MemoryController
from hw.memory.lane_writer import banks
from hw.memory.load import LoadEngine
from hw.memory.store import StoreEngine
from hw.parts.clock_gate import clocked
from hw.parts.delay import register
from hw.scratchpad.banks import Scratchpad
from hw.scratchpad.port_share import SharedRead, SharedWrite
from hw.tensor.engine import TensorEngine
from hw.trace import observe, trace_layout
from hw.vector.engine import VectorEngine
from hw.window.engine import WindowEngine
from isa.config import Config
from isa.instructions import INDEX_BITS, Region, queues_of
from isa.registers import BUCKET_COUNTERS, EXCEPTIONS


Unit = TypeVar("Unit", bound=wiring.Component)


class Machine(wiring.Component):
    """All of a core that a reset by the host clears.

    Parameters
    ----------
    config : Config
    trace : bool
        With the trace port.

    Members
    -------
    bus : :class:`hw.memory.axi.AXI4`
    held : 1
        As of :class:`Core`.
    exchange : :class:`hw.exchange.ports.Exchange`
        Where the configuration has it.
    settings : SETTINGS
    start, stop, clear, wipe, wiped
        As in :class:`hw.control.registers.Control`.
    busy, quiet, done, fault, fault_code, fault_index, fault_engine, events
        Likewise.
    trace : trace_layout(config)
        Where asked for.
    """

    REST = 31
    """Cycles after an instruction in which an engine keeps its clock: more than anything takes that
    goes on in it then."""

    bus: AXIPort
    held: Signal
    exchange: ExchangePort
    settings: data.View
    start: Signal
    stop: Signal
    clear: Signal
    wipe: Signal
    wiped: Signal
    busy: Signal
    quiet: Signal
    done: Signal
    fault: Signal
    fault_code: Signal
    fault_index: Signal
    fault_engine: Signal
    events: data.View
    trace: data.View

    def __init__(self, config: Config, trace: bool = False):
        self._config, self._trace = config, trace
        super().__init__({
            **({"trace": Out(trace_layout(config))} if trace else {}),
            **({"exchange": Out(Exchange(config))} if config.exchange else {}),
            "bus": Out(AXI4(config)), "held": In(1), "settings": In(SETTINGS), "start": In(1),
            "stop": In(1),
            "clear": In(Control.CLEARS), "wipe": In(1), "wiped": Out(1), "busy": Out(1),
            "quiet": Out(1), "done": Out(1),
            "fault": Out(1), "fault_code": Out(8), "fault_index": Out(INDEX_BITS),
            "fault_engine": Out(FAULT_ENGINE), "events": Out(growth_layout(config))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self._config
        memory = self._unit(m, "memory", 0, MemoryController(config))
        fetch = self._unit(m, "fetch", 0, Fetch(config))
        sequencer = self._unit(m, "sequencer", 1, Sequencer(config))
        load, tensor = LoadEngine(config), TensorEngine(config)
        vector, store = VectorEngine(config), StoreEngine(config)
        engines: dict[str, Any] = {"load": load, "tensor": tensor, "vector": vector,
                                   "store": store}
        window = None
        if config.window_taps:
            engines["window"] = window = WindowEngine(config)
        arrives = {"load": memory.load_r.valid, "store": memory.store_b.valid}
        if config.exchange:
            engines |= {"send": SendEngine(config), "await": Signals()}
            landing = self._unit(m, "landing", Control.CLEARS - 1, Landing(config))
            arrives |= {"send": self.exchange.b.valid, "await": landing.rises | sequencer.done}
        for copy, (name, engine) in enumerate(engines.items(), start=2):
            self._engine(m, platform, name, min(copy, Control.CLEARS - 1), engine,
                         self.start | sequencer.halt | arrives.get(name, 0))

        connect(m, memory.bus, flipped(self.bus))
        connect(m, fetch.ar, memory.fetch_ar)
        connect(m, memory.fetch_r, fetch.r)
        connect(m, load.ar, memory.load_ar)
        connect(m, memory.load_r, load.r)
        connect(m, store.aw, memory.store_aw)
        connect(m, store.w, memory.store_w)
        connect(m, memory.store_b, store.b)

        connect(m, fetch.instr, sequencer.instr)
        for name, engine in engines.items():
            connect(m, getattr(sequencer, name), engine.instr)
            connect(m, engine.engine, getattr(sequencer, f"{name}_engine"))
        for engine in (load, store):
            m.d.comb += engine.regions.eq(self.settings.regions)
        m.d.comb += load.held.eq(self.held)
        m.d.comb += [
            tensor.begin.eq(self.start), fetch.region.eq(self.settings.regions[Region.PROGRAM]),
            fetch.program.eq(self.settings.program), fetch.start.eq(self.start),
            fetch.stop.eq(sequencer.ended), fetch.halt.eq(sequencer.halt),
            sequencer.start.eq(self.start), sequencer.abort.eq(self.stop),
            sequencer.watchdog.eq(self.settings.watchdog), sequencer.quiet.eq(self.quiet),
            sequencer.moved.eq(memory.moved | self.held | (
                self._exchange(m, sequencer, engines, landing) if config.exchange else 0)),
            sequencer.owed.eq(memory.owed),
            *(memory.owed[name].eq(part.owed)
              for name, part in (("fetch", fetch), ("load", load), ("store", store))),
            self.quiet.eq(memory.quiet & (fetch.idle | sequencer.halt)
                          & ~(engines["send"].owed if config.exchange else 0)),
            self.busy.eq(sequencer.busy), self.done.eq(sequencer.done),
            self.fault.eq(sequencer.fault), self.fault_code.eq(sequencer.fault_code),
            self.fault_index.eq(sequencer.fault_index),
            self.fault_engine.eq(sequencer.fault_engine),
        ]
        posted = [*engines["send"].read, *landing.write] if config.exchange else []
        self._scratchpad(m, load, tensor, window, vector, store, posted)
        counted = [tensor, vector, *([window] if window else [])]
        self._events(m, sequencer, counted if config.floats else [])
        buckets = self._buckets(m, sequencer, engines)
        if self._trace:
            observed, clear = Module(), self.clear[0]
            observe(observed, platform, config, self.trace, clear, self.busy, sequencer.dispatch,
                    engines, buckets)
            m.submodules.trace = ResetInserter(clear)(observed)
        return m

    def _unit(self, m: Module, name: str, copy: int, unit: Unit) -> Unit:
        """Adds a part that a copy of ``clear`` resets."""
        m.submodules[name] = ResetInserter(self.clear[copy])(unit)
        return unit

    def _engine(self, m: Module, platform: object, name: str, copy: int, engine: Any,
                awake: Value) -> None:
        """Adds an engine; ``awake``: its clock is needed, whatever it says itself."""
        status, clear = engine.engine, self.clear[copy]
        asks = (value for path, member, value in engine.signature.flatten(engine)
                if path[-1] == "valid" and member.flow is Out)
        place = clocked(m, platform, name, lasts=self.REST,
                        wants=engine.instr.valid | status.busy | awake | clear,
                        does=Cat(status.start, status.done, Value.cast(engine.events), *asks).any())
        m.submodules[name] = place(ResetInserter(clear)(engine))

    def _exchange(self, m: Module, sequencer: Sequencer, engines: dict[str, Any],
                  landing: Landing) -> Value:
        """What comes from other cores and goes to them. Returns whether something has, a cycle
        later."""
        port, send, signals = self.exchange, engines["send"], engines["await"]
        connect(m, send.post, flipped(port.post))
        connect(m, send.w, flipped(port.w))
        connect(m, flipped(port.b), send.b)
        connect(m, flipped(port.land), landing.land)
        m.d.comb += [port.landed.eq(landing.landed), signals.rises.eq(landing.rises),
                     signals.counter.eq(landing.counter), signals.zero.eq(sequencer.done)]
        return register(m, "exchanged", (port.w.valid & port.w.ready) | landing.landed)

    def _scratchpad(self, m: Module, load: LoadEngine, tensor: TensorEngine,
                    window: WindowEngine | None, vector: VectorEngine,
                    store: StoreEngine, posted: list[SpmReader | SpmWriter]) -> None:
        """Ports from the highest priority to the lowest. Activations feed the array every cycle;
        weights, results and residuals come in bursts between; DMA has FIFOs to wait in."""
        window_ports: list[SpmReader | SpmWriter] = (
            [*window.act, window.weights, *window.out] if window else [])
        results, operands = [*tensor.out], [*tensor.residual]
        vectors: list[SpmReader | SpmWriter] = [vector.a, vector.b, vector.out]
        if self._config.shared_ports:
            results, operands = self._share(m, [*results, vector.out],
                                            [*operands, vector.a, vector.b])
            vectors = []
        ports: list[SpmReader | SpmWriter] = [
            *tensor.act, *tensor.weights, *results, *operands, *window_ports, *vectors,
            *load.write, *store.read, *posted]
        reads = [p for p in ports if isinstance(p.signature, SpmRead)]
        writes = [p for p in ports if isinstance(p.signature, SpmWrite)]
        order = [("read", reads.index(p)) if p in reads else ("write", writes.index(p))
                 for p in ports]
        landing = [port for port in posted if port in writes]
        asked = {("write", writes.index(port)): banks(self._config, p)
                 for ports in (load.write, landing) for p, port in enumerate(ports)}
        scratchpad = self._unit(m, "scratchpad", 7, Scratchpad(
            self._config, reads=len(reads), writes=len(writes), order=order, banks=asked))
        m.d.comb += [scratchpad.wipe.eq(self.wipe), self.wiped.eq(scratchpad.wiped)]
        for port, (kind, i) in zip(ports, order, strict=True):
            connect(m, port, getattr(scratchpad, kind)[i])

    def _share(self, m: Module, results: list[SpmWriter], operands: list[SpmReader]
               ) -> tuple[list[SpmWriter], list[SpmReader]]:
        """The two ports in place of many."""
        writes = self._unit(m, "results", 0, SharedWrite(self._config, len(results)))
        reads = self._unit(m, "operands", 0, SharedRead(self._config, len(operands)))
        for user, port in zip([*results, *operands], [*writes.users, *reads.users], strict=True):
            connect(m, user, port)
        return [writes.port], [reads.port]

    def _events(self, m: Module, sequencer: Sequencer, floating: list[Any]) -> None:
        m.d.comb += [
            self.events.cycles.eq(1),
            self.events.instructions.eq(sequencer.completions),
            self.events.dram_read_bytes.eq(self.bus.r.valid & self.bus.r.ready),
            self.events.dram_write_bytes.eq(self.bus.w.valid & self.bus.w.ready),
            *(self.events[name.lower()].eq(sum(getattr(e, kind) for e in floating))
              for name, (kind, _) in zip(EXCEPTIONS, KIND, strict=True) if floating)]

    def _buckets(self, m: Module, sequencer: Sequencer, engines: dict[str, Any]
                 ) -> dict[str, Buckets]:
        """Where the engines' cycles go, by queue, and to the counters."""
        made = {}
        for queue, e in engines.items() if self._config.profile else ():
            made[queue] = buckets = self._unit(m, f"{queue}_buckets", 0,
                                               Buckets(queue, queues_of(self._config)))
            m.d.comb += [
                *(buckets.events[name].eq(e.events[name]) for name, _ in events_layout(queue)),
                buckets.blocked.eq(sequencer.blocked[queue]),
                buckets.present.eq(e.engine.busy | e.instr.valid),
                *(self.events[BUCKET_COUNTERS[queue][name].lower()].eq(buckets.bucket[name])
                  for name in buckets.bucket.shape().members)]
        return made


class Core(wiring.Component):
    """A core with its control registers.

    Parameters
    ----------
    config : Config
    trace : bool
        With the trace port.

    Members
    -------
    reset : In(1)
        Synchronous. In a clock domain without a reset, so that no register has two.
    host : :class:`hw.memory.axi.AXI4Lite`, as the slave
    bus : :class:`hw.memory.axi.AXI4`
    held : 1
        What is behind the bus waits for other cores before it can answer this one: the watchdog
        does not count meanwhile.
    exchange : :class:`hw.exchange.ports.Exchange`
        Where the configuration has it.
    irq : 1
    trace : trace_layout(config)
        Where asked for.
    """

    reset: Signal
    host: AXIPort
    bus: AXIPort
    held: Signal
    exchange: ExchangePort
    irq: Signal
    trace: data.View

    def __init__(self, config: Config, trace: bool = False):
        self._config, self._trace = config, trace
        super().__init__({"reset": In(1), "host": In(AXI4Lite()), "bus": Out(AXI4(config)),
                          "held": In(1), "irq": Out(1),
                          **({"exchange": Out(Exchange(config))} if config.exchange else {}),
                          **({"trace": Out(trace_layout(config))} if trace else {})})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        control = Control(self._config)
        m.submodules.control = ResetInserter(self.reset)(control)
        m.submodules.machine = machine = Machine(self._config, self._trace)
        connect(m, flipped(self.host), control.host)
        connect(m, machine.bus, flipped(self.bus))
        if self._config.exchange:
            connect(m, machine.exchange, flipped(self.exchange))
        m.d.comb += [
            self.irq.eq(control.irq), machine.held.eq(self.held),
            machine.settings.eq(control.settings),
            machine.start.eq(control.start), machine.stop.eq(control.stop),
            machine.clear.eq(control.clear), machine.wipe.eq(control.wipe),
            control.wiped.eq(machine.wiped),
            control.events.eq(machine.events),
            *(getattr(control, name).eq(getattr(machine, name))
              for name in ("busy", "quiet", "done", "fault", "fault_code", "fault_index",
                           "fault_engine"))]
        if self._trace:
            m.d.comb += self.trace.eq(machine.trace)
        return m
