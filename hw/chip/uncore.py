# SPDX-License-Identifier: Apache-2.0
"""All of a chip but its cores, with plain port names, and its Verilog.

::

    host ◄─ s_axil ─► chip control ◄─ c0_axil, c1_axil, … ─► cores
                           │ bus         c0_axi, c1_axi, …     │
                           └──────────────► hub ◄──────────────┘
                                             │
                              m0_axi, m1_axi, … ─► memory channels

A simulation joins it with cores that were built for themselves, in registers on both sides.
"""

from amaranth.hdl import Elaboratable, Module, ResetInserter, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from hw.chip.channel_reads import owner_layout
from hw.chip.control import ChipControl
from hw.chip.hub import Hub
from hw.chip.queues import address_bits
from hw.memory.axi import AXI4, AXI4Lite
from hw.memory.plain import PlainAXI
from hw.top import verilog_of
from isa.chip import ChipConfig

TOP = "uncore"


class Uncore(wiring.Component):
    """Chip control and hub. ``rst`` goes through a register; hold it for two cycles or more.

    Parameters
    ----------
    chip : ChipConfig

    Members
    -------
    irq : 1
    s_axil_awaddr, …
        AXI4-Lite, as the slave: the host.
    c0_axil_awaddr, …; c0_axi_awaddr, …; c0_irq; c1_…
        To each core: AXI4-Lite as the master, AXI4 as the slave, its interrupt.
    m0_axi_awaddr, …; m1_…
        To each channel: AXI4, as the master.
    """

    irq: Signal

    def __init__(self, chip: ChipConfig):
        self._chip, config = chip, chip.core
        lite, wide = AXI4Lite(), AXI4(config)
        outside = AXI4(config, owner_layout(chip.cores + 1, groups=0).size)
        self._host = PlainAXI("s_axil_", AXI4Lite(address_bits(chip)), master=False)
        self._lites = [PlainAXI(f"c{k}_axil_", lite, master=True) for k in range(chip.cores)]
        self._cores = [PlainAXI(f"c{k}_axi_", wide, master=False, bytes_wide=config.bus_bytes)
                       for k in range(chip.cores)]
        self._channels = [PlainAXI(f"m{c}_axi_", outside, master=True,
                                   bytes_wide=config.bus_bytes) for c in range(chip.channels)]
        members = {"irq": Out(1), **{f"c{k}_irq": In(1) for k in range(chip.cores)}}
        for port in (self._host, *self._lites, *self._cores, *self._channels):
            members |= port.members()
        super().__init__(members)

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        chip = self._chip
        control = ChipControl(chip)
        hub = Hub(chip.core, cores=chip.cores + 1, channels=chip.channels)
        reset = Signal(init=1, reset_less=True)
        m.d.sync += reset.eq(ResetSignal())
        m.submodules.control, m.submodules.hub = (ResetInserter(reset)(part)
                                                  for part in (control, hub))
        connect(m, control.bus, hub.cores[chip.cores])
        self._host.connect(m, self, control.host, shut=reset)
        m.d.comb += self.irq.eq(control.irq)
        for k in range(chip.cores):
            self._lites[k].connect(m, self, control.cores[k])
            self._cores[k].connect(m, self, hub.cores[k], shut=reset)
            m.d.comb += control.core_irq[k].eq(getattr(self, f"c{k}_irq"))
        for c, port in enumerate(self._channels):
            port.connect(m, self, hub.channels[c])
        return m


def verilog(chip: ChipConfig) -> str:
    """Verilog of the uncore, top module :data:`TOP`."""
    return verilog_of(Uncore(chip), TOP)
