# SPDX-License-Identifier: Apache-2.0
"""A chip with plain port names, and its Verilog; and the same without its cores, which a simulation
joins with cores that were built for themselves.

``rst`` is synchronous and high, and goes through a register; hold it for two cycles or more.
"""

import re

from amaranth.hdl import (ClockDomain, ClockSignal, DomainRenamer, Elaboratable, Instance, Module,
                          ResetSignal, Signal)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.chip.registers import address_bits
from hw.chip.uncore import Uncore, channel_bus
from hw.exchange.ports import Exchange
from hw.memory.axi import AXI4, AXI4Lite
from hw.memory.plain import PlainAXI
from hw.parts.repeated import Repeated, ports
from hw.top import TOP as CORE, verilog as core_verilog, verilog_of
from isa.chip import ChipConfig

TOP, UNCORE = "chip", "uncore"
INNER = "chip_uncore"
"""The uncore's module within a chip's."""

CORE_PORT = re.compile(r"c(?P<number>\d+)_(?P<port>\w+)")
"""A port of the uncore to a core."""


class _Plain:
    """The plain ports of a chip without its cores: of the host, of the memory's channels, and to
    each core."""

    def __init__(self, chip: ChipConfig):
        numbers, bus = range(chip.cores), chip.core.bus_bytes
        self.host = PlainAXI("s_axil_", AXI4Lite(address_bits(chip)), master=False)
        self.channels = [PlainAXI(f"m{c}_axi_", channel_bus(chip), master=True, bytes_wide=bus)
                         for c in range(chip.channels)]
        self.registers = [PlainAXI(f"c{k}_axil_", AXI4Lite(), master=True) for k in numbers]
        self.cores = [PlainAXI(f"c{k}_axi_", AXI4(chip.core), master=False, bytes_wide=bus)
                      for k in numbers]
        self.exchanges = [PlainAXI(f"c{k}_x_", Exchange(chip.core), master=False)
                          for k in numbers if chip.core.exchange]

    def members(self) -> dict[str, wiring.Member]:
        """Those of :class:`ChipUncore`."""
        found = {"irq": Out(1)}
        for k in range(len(self.cores)):
            found |= {f"c{k}_irq": In(1), f"c{k}_held": Out(1)}
        for port in (self.host, *self.channels, *self.registers, *self.cores, *self.exchanges):
            found |= port.members()
        return found | {f"c{k}_x_landed": In(1) for k in range(len(self.exchanges))}


class ChipUncore(wiring.Component):
    """A chip without its cores.

    Parameters
    ----------
    chip : ChipConfig

    Members
    -------
    irq : 1
    s_axil_awaddr, …
        AXI4-Lite, as the slave: the host.
    m0_axi_awaddr, …; m1_…
        AXI4, as the master: each channel.
    c0_axil_awaddr, …; c0_axi_awaddr, …; c0_irq; c0_held; c1_…
        To each core: AXI4-Lite as the master, AXI4 as the slave, its interrupt, whether it is held.
    """

    irq: Signal

    def __init__(self, chip: ChipConfig):
        self._chip, self._plain = chip, _Plain(chip)
        super().__init__(self._plain.members())

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        plain = self._plain
        uncore, reset = Uncore(self._chip), Signal(init=1, reset_less=True)
        m.submodules.uncore = DomainRenamer("uncore")(uncore)
        m.domains.uncore = ClockDomain()
        m.d.sync += reset.eq(ResetSignal())
        m.d.comb += [ClockSignal("uncore").eq(ClockSignal()), ResetSignal("uncore").eq(reset),
                     self.irq.eq(uncore.irq)]
        # the host may ask in the first cycle without rst
        plain.host.connect(m, self, uncore.host, shut=reset)
        for port, channel in zip(plain.channels, uncore.channels, strict=True):
            port.connect(m, self, channel)
        for k, (registers, core) in enumerate(zip(plain.registers, plain.cores, strict=True)):
            registers.connect(m, self, uncore.registers[k])
            core.connect(m, self, uncore.cores[k], shut=reset)
            m.d.comb += [uncore.irqs[k].eq(getattr(self, f"c{k}_irq")),
                         getattr(self, f"c{k}_held").eq(uncore.held[k])]
        for k, exchange in enumerate(plain.exchanges):
            exchange.connect(m, self, uncore.exchanges[k], shut=reset)
            m.d.comb += uncore.exchanges[k].landed.eq(getattr(self, f"c{k}_x_landed"))
        return m


class Chip(wiring.Component):
    """A chip, made of two modules whose Verilog stands beside its own (:func:`verilog`): its cores,
    :class:`hw.top.Makalu` each, and a :class:`ChipUncore`.

    Parameters
    ----------
    chip : ChipConfig

    Members
    -------
    irq : 1
    s_axil_awaddr, …
        AXI4-Lite, as the slave: the host.
    m0_axi_awaddr, …; m1_…
        AXI4, as the master: each channel.
    """

    PREFIXES = {"axil_": "s_axil_", "axi_": "m_axi_", "x_": "m_x_"}
    """Ports of a core by those of the uncore that they belong to."""

    irq: Signal

    def __init__(self, chip: ChipConfig):
        self._cores, self._all = chip.cores, _Plain(chip).members()
        super().__init__({name: member for name, member in self._all.items()
                          if not CORE_PORT.match(name)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        clocked = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        uncore, each = dict(clocked), [dict(clocked) for _ in range(self._cores)]
        for name, member in self._all.items():
            out, core = member.flow == Out, CORE_PORT.match(name)
            wire = Signal(member.shape, name=name) if core else getattr(self, name)
            uncore[f"{'io'[out]}_{name}"] = wire
            if core:
                plain = re.sub("^(axil_|axi_|x_)", lambda p: self.PREFIXES[p[0]], core["port"])
                each[int(core["number"])][f"{'oi'[out]}_{plain}"] = wire
        m.submodules.uncore = Instance(INNER, **uncore)
        for k, wires in enumerate(each):
            m.submodules[f"core{k}"] = Instance(CORE, **wires)
        return m


def verilog(chip: ChipConfig, gated: bool = False, name: str = TOP) -> str:
    """Verilog of a chip, top module ``name``; with ``gated`` clocks, and the model of their gate.
    """
    return "\n".join([verilog_of(Chip(chip), name), uncore_verilog(chip, INNER),
                      core_verilog(chip.core, gated=gated)])


def uncore_verilog(chip: ChipConfig, name: str = UNCORE) -> str:
    """Verilog of a chip without its cores, top module ``name``, and of its repeated parts."""
    platform = Repeated()
    texts = [verilog_of(ChipUncore(chip), name, platform)]
    done: set[str] = set()
    while waiting := platform.parts.keys() - done:
        for name in sorted(waiting):
            part = platform.parts[name]
            signals = {port: (signal, None) for port, _, signal in ports(part)}
            texts.append(verilog_of(part, name, platform, signals))
        done |= waiting
    return "\n".join(texts)
