# SPDX-License-Identifier: Apache-2.0
"""All of a chip but its cores.

::

    host ◄──────► chip control ◄──────► registers of the cores
                       │ bus            buses of the cores │
                       └──────────► hub ◄──────────────────┘
                                     │
                              memory channels
"""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.chip.channel_reads import owner_layout
from hw.chip.control import ChipControl
from hw.chip.exchange import ChipExchange
from hw.chip.hub import Hub
from hw.chip.registers import address_bits
from hw.exchange.ports import Exchange, ExchangePort
from hw.memory.axi import AXI4, AXI4Lite, AXIPort
from isa.chip import ChipConfig


def channel_bus(chip: ChipConfig) -> AXI4:
    """The bus of a memory channel; the chip control is a user of the hub, too."""
    return AXI4(chip.core, owner_layout(chip.cores + 1, chip.groups).size)


def hub(chip: ChipConfig) -> Hub:
    """The hub of a chip."""
    return Hub(chip.core, cores=chip.cores + 1, channels=chip.channels, groups=chip.groups)


class Uncore(wiring.Component):
    """Chip control and hub.

    Parameters
    ----------
    chip : ChipConfig

    Members
    -------
    host : :class:`hw.memory.axi.AXI4Lite`, as the slave
    irq : 1
    registers : array of :class:`hw.memory.axi.AXI4Lite`
        To each core.
    irqs : cores
        Their interrupts.
    held : cores
        As of each :class:`hw.core.Core`.
    exchanges : array of :class:`hw.exchange.ports.Exchange`, as the other side
        Where the cores have it.
    cores : array of :class:`hw.memory.axi.AXI4`, as the slave
        Their buses.
    channels : array of ``channel_bus(chip)``
    """

    host: AXIPort
    irq: Signal
    registers: list[AXIPort]
    irqs: Signal
    held: Signal
    exchanges: list[ExchangePort]
    cores: list[AXIPort]
    channels: list[AXIPort]

    def __init__(self, chip: ChipConfig):
        self._chip = chip
        super().__init__({
            "host": In(AXI4Lite(address_bits(chip))), "irq": Out(1),
            "registers": Out(AXI4Lite()).array(chip.cores), "irqs": In(chip.cores),
            "held": Out(chip.cores),
            **({"exchanges": In(Exchange(chip.core)).array(chip.cores)} if chip.core.exchange
               else {}),
            "cores": In(AXI4(chip.core)).array(chip.cores),
            "channels": Out(channel_bus(chip)).array(chip.channels)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        chip = self._chip
        m.submodules.control = control = ChipControl(chip)
        m.submodules.hub = merge = hub(chip)
        connect(m, flipped(self.host), control.host)
        connect(m, control.bus, merge.cores[chip.cores])
        m.d.comb += [self.irq.eq(control.irq), control.core_irq.eq(self.irqs),
                     self.held.eq(merge.held), merge.together.eq(control.together)]
        for given, taken in ((control.reads, merge.gang), (control.readers, merge.members)):
            m.d.comb += [to.eq(of) for of, to in zip(given, taken, strict=False)]
        for k in range(chip.cores):
            connect(m, control.cores[k], flipped(self.registers[k]))
            connect(m, flipped(self.cores[k]), merge.cores[k])
        for c in range(chip.channels):
            connect(m, merge.channels[c], flipped(self.channels[c]))
        if chip.core.exchange:
            self._exchange(m, control)
        return m

    def _exchange(self, m: Module, control: ChipControl) -> None:
        chip = self._chip
        m.submodules.exchange = between = ChipExchange(chip.core, chip.cores, chip.queues,
                                                       chip.cluster)
        for ours, theirs in zip(self.exchanges, between.cores, strict=True):
            connect(m, flipped(ours), theirs)
        for given, taken in ((control.gangs, between.gang), (control.members, between.members),
                             (control.teams, between.teams), (control.base, between.base)):
            m.d.comb += [to.eq(of) for of, to in zip(given, taken, strict=True)]
