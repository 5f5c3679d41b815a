# SPDX-License-Identifier: Apache-2.0
"""The host's view of a core: control registers, doorbell, interrupt, reset and event counters.

The register file is made from :mod:`isa.registers`, row by row: what a read gives and what a write
changes are tables here, keyed by the register's name, and a register that the map has and the
tables do not is refused when the hardware is built.

Reset is the only way out of an error. It halts the engines, waits until the memory owes nothing,
clears the core for a cycle, and leaves the host's settings (regions, program, watchdog, interrupt
enable) as they are. With CLEAR the scratchpad is set to zero then, a row of all banks a cycle.

The settings cannot be changed while a program runs: what is written to them then is ignored.

AXI4-Lite: one write and one read at a time, always OKAY. What is not a register reads as zero and
takes no writes; byte strobes are honored.
"""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, flipped
from amaranth.utils import exact_log2

from hw.engine.ports import FAULT_ENGINE, view_of
from hw.engine.settings import SETTINGS
from hw.memory.axi import AXI4Lite, AXIPort
from hw.parts.delay import later, register
from hw.parts.skid import Skid
from isa.config import ISA_VERSION, Config
from isa.instructions import FETCH_BYTES, INDEX_BITS, REGION_ALIGN, Region
from isa.registers import (EXCEPTIONS, IDENT, MASK, PROFILE, REGISTERS, counted, counters_of,
                           registers_of)

FIELDS = {r.name: data.StructLayout({field: unsigned(width) for _, width, field, _ in r.bits})
          for r in REGISTERS if r.bits}
"""The registers that have fields, which follow one another from bit 0 on."""

EVENT_BITS, EXCEPTION_BITS = 3, 8
IN_BUS_WIDTHS = ("DRAM_READ_BYTES", "DRAM_WRITE_BYTES")
COUNTER_BITS = 64

GROUP = 64
"""Bytes of registers that are looked up together."""

LOOK_UP = 2
"""Cycles from a register's address to its value."""


def growth_layout(config: Config) -> data.StructLayout:
    """How much each counter is to grow in this cycle. Bytes are counted in bus widths."""
    return data.StructLayout({
        name.lower(): unsigned(1 if name in PROFILE else EXCEPTION_BITS if name in EXCEPTIONS
                               else EVENT_BITS) for name in counters_of(config)})


class Control(wiring.Component):
    """Control registers of a core. Latency: ``LOOK_UP`` cycles from an address to its value. One
    read and one write at a time; a response waits until it is taken.

    Parameters
    ----------
    config : Config

    Members
    -------
    host : :class:`hw.memory.axi.AXI4Lite`, as the slave
    irq : 1
    settings : SETTINGS
    start : 1
        Strobe: run the program, of a write to the doorbell.
    stop : 1
        Halt the engines; high until ``clear``.
    clear : CLEARS
        Strobe: reset everything but this component; also while this one is in reset, and in the
        cycle after.
    wipe, wiped : 1
        Set the scratchpad to zero, while it is high; in the cycle of the last row.
    busy, quiet, fault : 1
    fault_code, fault_index, fault_engine
        The first fault.
    done : 1
        Strobe: the program is done.
    events : growth_layout(config)
    """

    CLEARS = 8
    """Copies of ``clear``, each a flip-flop of its own, since it goes to many registers."""

    SETTLE = 5
    """Cycles for a halt to reach every register in front of the bus."""

    host: AXIPort
    irq: Signal
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

    def __init__(self, config: Config):
        self._config, self._registers = config, registers_of(config)
        super().__init__({
            "host": In(AXI4Lite()), "irq": Out(1), "settings": Out(SETTINGS),
            "start": Out(1), "stop": Out(1),
            "clear": wiring.Member(Out, self.CLEARS, init=-1),  # type: ignore[call-arg]  # stubs
            "wipe": Out(1), "wiped": In(1), "busy": In(1), "quiet": In(1), "done": In(1),
            "fault": In(1), "fault_code": In(8), "fault_index": In(INDEX_BITS),
            "fault_engine": In(FAULT_ENGINE), "events": In(growth_layout(config))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        read: dict[str, Value] = {}
        store: dict[str, tuple[Value, int]] = {}
        strobe: dict[str, Value] = {}
        self._identity(read)
        self._settings(read, store)
        self._state(m, read, store, strobe)
        self._counters(m, read)

        known = read.keys() | store.keys() | strobe.keys()
        missing = [r.name for r in self._registers if r.name not in known]
        if missing:
            raise NotImplementedError(f"no hardware behind register {', '.join(missing)}")
        self._bus(m, read, store, strobe)
        return m

    def _identity(self, read: dict[str, Value]) -> None:
        major, minor = ISA_VERSION
        read["IDENT"] = Const(IDENT, 32)
        read["VERSION"] = Const(major << 16 | minor, 32)
        read["CONFIG_HASH"] = Const(self._config.hash & 0xFFFFFFFF, 32)
        read["CONFIG_HASH_HI"] = Const(self._config.hash >> 32, 32)

    def _settings(self, read: dict[str, Value], store: dict[str, tuple[Value, int]]) -> None:
        aligned, whole = 0xFFFFFFFF & -REGION_ALIGN, 0xFFFFFFFF
        for region in Region:
            for field in ("base", "size"):
                value, name = self.settings.regions[region][field], f"REGION{region:d}_{field}"
                store[name.upper()] = (value[:32], aligned)
                store[f"{name.upper()}_HI"] = (value[32:], whole)
        store["PROGRAM"] = (self.settings.program, whole & -FETCH_BYTES)
        store["WATCHDOG"] = (self.settings.watchdog, whole)
        read.update({name: value for name, (value, _) in store.items()})
        self._set = frozenset(store)

    def _state(self, m: Module, read: dict[str, Value], store: dict[str, tuple[Value, int]],
               strobe: dict[str, Value]) -> None:
        irq_enable, done, error_seen = Signal(), Signal(), Signal()
        ring, control, status = Signal(), view_of(FIELDS["CONTROL"]), view_of(FIELDS["STATUS"])
        reset, causes = view_of(FIELDS["CONTROL"]), view_of(FIELDS["IRQ_STATUS"])
        new, acknowledge = view_of(FIELDS["IRQ_STATUS"]), view_of(FIELDS["IRQ_STATUS"])
        store["CONTROL"] = (irq_enable, MASK["CONTROL.IRQ_ENABLE"])
        strobe |= {"DOORBELL": ring, "CONTROL": reset.as_value(),
                   "IRQ_STATUS": acknowledge.as_value()}
        m.d.comb += [
            control.IRQ_ENABLE.eq(irq_enable), control.RESET.eq(self.stop | self.wipe),
            status.BUSY.eq(self.busy), status.DONE.eq(done), status.ERROR.eq(self.fault),
            status.QUIET.eq(self.quiet), new.DONE.eq(self.done),
            new.ERROR.eq(self.fault & ~error_seen)]
        read |= {
            "CONTROL": control.as_value(), "STATUS": status.as_value(), "DOORBELL": Const(0, 32),
            "IRQ_STATUS": causes.as_value(),
            "ERROR_CODE": Mux(self.fault, self.fault_code, 0),
            "ERROR_INDEX": Mux(self.fault, self.fault_index, 0),
            "ERROR_ENGINE": Mux(self.fault, self.fault_engine, 0)}
        m.d.comb += self.irq.eq(irq_enable & causes.as_value().any())
        m.d.sync += [
            self.start.eq(ring & ~self.busy & ~self.start & ~self.fault & ~self.stop
                          & ~self.wipe),
            error_seen.eq(self.fault),
            causes.eq((causes.as_value() & ~acknowledge.as_value()) | new.as_value())]
        clear = self.clear[0]
        with m.If(self.start | clear):
            m.d.sync += done.eq(0)
        with m.Elif(self.done):
            m.d.sync += done.eq(1)

        settled = Signal(range(self.SETTLE + 1))
        # each copy depends on itself, lest synthesis take them for one
        over = self.stop & (settled == self.SETTLE) & self.quiet
        m.d.sync += [copy.eq(over & ~copy) for copy in self.clear]
        wanted = Signal()
        m.d.sync += [wanted.eq((wanted | (reset.RESET & reset.CLEAR)) & ~clear),
                     self.wipe.eq((self.wipe & ~self.wiped) | (clear & wanted))]
        with m.If(clear):
            m.d.sync += [self.stop.eq(0), settled.eq(0)]
        with m.Elif(self.stop):
            m.d.sync += settled.eq(Mux(settled == self.SETTLE, settled, settled + 1))
        with m.Elif(reset.RESET):
            m.d.sync += self.stop.eq(1)

    def _counters(self, m: Module, read: dict[str, Value]) -> None:
        bus = exact_log2(self._config.bus_bytes)
        busy, events = register(m, "counts", self.busy), later(m, self.events, 1, "counted")
        counts = counted(self._config)
        for name in counters_of(self._config):
            if name not in counts:
                read[name] = read[f"{name}_HI"] = Const(0, 32)
                continue
            scale = bus if name in IN_BUS_WIDTHS else 0
            count = Signal(COUNTER_BITS - scale, name=f"count_{name.lower()}")
            with m.If(self.start):
                m.d.sync += count.eq(0)
            with m.Elif(busy):
                m.d.sync += count.eq(count + events[name.lower()])
            value = Cat(Const(0, scale), count)
            read[name], read[f"{name}_HI"] = value[:32], value[32:]

    def _bus(self, m: Module, read: dict[str, Value], store: dict[str, tuple[Value, int]],
             strobe: dict[str, Value]) -> None:
        host = flipped(self.host)
        write, look, looking = Signal(), Signal(), Signal(LOOK_UP)
        aw, w, ar = (self._arrived(m, name, getattr(host, name)) for name in ("aw", "w", "ar"))
        running = self.busy | self.start
        enable = Cat(bit.replicate(8) for bit in w.payload.strb)
        masked = w.payload.data & enable
        m.d.sync += write.eq(aw.valid & w.valid & (~host.b.valid | host.b.ready) & ~write)
        m.d.comb += [
            aw.ready.eq(write), w.ready.eq(write),
            look.eq(ar.valid & ~looking.any() & (~host.r.valid | host.r.ready)), ar.ready.eq(look)]
        with m.If(write):
            m.d.sync += host.b.valid.eq(1)
            with m.Switch(aw.payload[2:]):
                for r in self._registers:
                    with m.Case(r.offset >> 2):
                        if r.name in store:
                            value, mask = store[r.name]
                            new = (value & ~enable) | masked
                            with m.If(~running if r.name in self._set else 1):
                                m.d.sync += value.eq(new & mask)
                        if r.name in strobe:
                            m.d.comb += strobe[r.name].eq(masked)
        with m.Elif(host.b.ready):
            m.d.sync += host.b.valid.eq(0)
        m.d.sync += looking.eq(Cat(look, looking))
        found = self._look_up(m, register(m, "address", ar.payload), read)
        with m.If(looking[-1]):
            m.d.sync += [host.r.valid.eq(1), host.r.payload.data.eq(found)]
        with m.Elif(host.r.ready):
            m.d.sync += host.r.valid.eq(0)

    def _look_up(self, m: Module, address: Value, read: dict[str, Value]) -> Value:
        """What is read at an address, a cycle later, LOOK_UP after the address has come: in each
        group of registers the one, and then of those the one."""
        at = {r.offset: read[r.name] for r in self._registers}
        groups = {number: Signal(32, name=f"group{number}")
                  for number in sorted({offset // GROUP for offset in at})}
        with m.Switch(address[2:exact_log2(GROUP)]):
            for offset in range(0, GROUP, 4):
                with m.Case(offset >> 2):
                    m.d.sync += [value.eq(at.get(GROUP * number + offset, 0))
                                 for number, value in groups.items()]
        found = Signal(32)
        with m.Switch(register(m, "group", address[exact_log2(GROUP):])):
            for number, value in groups.items():
                with m.Case(number):
                    m.d.comb += found.eq(value)
        return found

    @staticmethod
    def _arrived(m: Module, name: str, channel: stream.Interface) -> stream.Interface:
        """A channel from registers."""
        m.submodules[name] = skid = Skid(channel.payload.shape())
        wiring.connect(m, channel, skid.i)
        return skid.o
