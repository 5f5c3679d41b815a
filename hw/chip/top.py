# SPDX-License-Identifier: Apache-2.0
"""A chip with plain port names, and its Verilog; and the same without its cores, which a simulation
joins with cores that were built for themselves.

``rst`` is synchronous and high, and goes through a register; hold it for two cycles or more.
"""

from amaranth.hdl import (ClockDomain, ClockSignal, DomainRenamer, Elaboratable, Module,
                          ResetInserter, ResetSignal, Signal)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from hw.chip.registers import address_bits
from hw.chip.uncore import Uncore, channel_bus
from hw.core import Core
from hw.exchange.ports import Exchange
from hw.memory.axi import AXI4, AXI4Lite
from hw.memory.plain import PlainAXI
from hw.parts.clock_gate import VERILOG, GatedClocks
from hw.top import verilog_of
from isa.chip import ChipConfig

TOP, UNCORE = "chip", "uncore"


def _outside(chip: ChipConfig) -> tuple[PlainAXI, list[PlainAXI]]:
    """The host's port and those of the channels."""
    return (PlainAXI("s_axil_", AXI4Lite(address_bits(chip)), master=False),
            [PlainAXI(f"m{c}_axi_", channel_bus(chip), master=True,
                      bytes_wide=chip.core.bus_bytes) for c in range(chip.channels)])


def _join(m: Module, component: wiring.Component, chip: ChipConfig) -> tuple[Uncore, Signal]:
    """The uncore and the reset, with the ports to the outside."""
    host, channels = _outside(chip)
    uncore = Uncore(chip)
    reset = Signal(init=1, reset_less=True)
    m.d.sync += reset.eq(ResetSignal())
    m.submodules.uncore = ResetInserter(reset)(uncore)
    # the host may ask in the first cycle without rst
    host.connect(m, component, uncore.host, shut=reset)
    for port, channel in zip(channels, uncore.channels, strict=True):
        port.connect(m, component, channel)
    return uncore, reset


class Chip(wiring.Component):
    """A chip.

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

    irq: Signal

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        host, channels = _outside(chip)
        members: dict[str, wiring.Member] = {"irq": Out(1), **host.members()}
        for port in channels:
            members |= port.members()
        super().__init__(members)

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        chip = self._chip
        uncore, _ = _join(m, self, chip)
        m.domains.core = ClockDomain(reset_less=True)
        m.d.comb += [ClockSignal("core").eq(ClockSignal()), self.irq.eq(uncore.irq)]
        for k in range(chip.cores):
            core = Core(chip.core)
            m.submodules[f"core{k}"] = DomainRenamer("core")(core)
            own = Signal(init=1, reset_less=True, name=f"reset{k}")
            m.d.sync += own.eq(ResetSignal())
            connect(m, uncore.registers[k], core.host)
            connect(m, core.bus, uncore.cores[k])
            if chip.core.exchange:
                connect(m, core.exchange, uncore.exchanges[k])
            m.d.comb += [core.reset.eq(own), core.held.eq(uncore.held[k]),
                         uncore.irqs[k].eq(core.irq)]
        return m


class ChipUncore(wiring.Component):
    """A chip without its cores.

    Parameters
    ----------
    chip : ChipConfig

    Members
    -------
    irq, s_axil_awaddr, …, m0_axi_awaddr, …
        As of :class:`Chip`.
    c0_axil_awaddr, …; c0_axi_awaddr, …; c0_irq; c0_held; c1_…
        To each core: AXI4-Lite as the master, AXI4 as the slave, its interrupt, whether it is held.
    """

    irq: Signal

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        host, channels = _outside(chip)
        self._registers = [PlainAXI(f"c{k}_axil_", AXI4Lite(), master=True)
                           for k in range(chip.cores)]
        self._cores = [PlainAXI(f"c{k}_axi_", AXI4(chip.core), master=False,
                                bytes_wide=chip.core.bus_bytes) for k in range(chip.cores)]
        self._exchanges = [PlainAXI(f"c{k}_x_", Exchange(chip.core), master=False)
                           for k in range(chip.cores if chip.core.exchange else 0)]
        members = {"irq": Out(1), **{f"c{k}_irq": In(1) for k in range(chip.cores)},
                   **{f"c{k}_held": Out(1) for k in range(chip.cores)}}
        for port in (host, *channels, *self._registers, *self._cores, *self._exchanges):
            members |= port.members()
        members |= {f"c{k}_x_landed": In(1) for k in range(len(self._exchanges))}
        super().__init__(members)

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        uncore, reset = _join(m, self, self._chip)
        m.d.comb += self.irq.eq(uncore.irq)
        for k, (registers, core) in enumerate(zip(self._registers, self._cores, strict=True)):
            registers.connect(m, self, uncore.registers[k])
            core.connect(m, self, uncore.cores[k], shut=reset)
            m.d.comb += [uncore.irqs[k].eq(getattr(self, f"c{k}_irq")),
                         getattr(self, f"c{k}_held").eq(uncore.held[k])]
        for k, exchange in enumerate(self._exchanges):
            exchange.connect(m, self, uncore.exchanges[k], shut=reset)
            m.d.comb += uncore.exchanges[k].landed.eq(getattr(self, f"c{k}_x_landed"))
        return m


def verilog(chip: ChipConfig, gated: bool = False, name: str = TOP) -> str:
    """Verilog of a chip, top module ``name``; with ``gated`` clocks, and the model of their gate.
    """
    if not gated:
        return verilog_of(Chip(chip), name)
    return verilog_of(Chip(chip), name, GatedClocks()) + "\n" + VERILOG


def uncore_verilog(chip: ChipConfig) -> str:
    """Verilog of a chip without its cores, top module :data:`UNCORE`."""
    return verilog_of(ChipUncore(chip), UNCORE)
