# SPDX-License-Identifier: Apache-2.0
"""The chip control: the host posts jobs and hears of completions, and writes to no core.

::

    host ◄─ AXI4-Lite ─► registers ─► dispatch ─► AXI4-Lite ─► core 0, core 1, …
                                       ▲    │                       │
                                       │    └──── interrupts ◄──────┘
                     memory ◄─ AXI4 ─► mover: jobs in, records out
"""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.chip.dispatch import LAID_OUT, Dispatch
from hw.chip.lite import LiteMaster
from hw.chip.mover import BlockMover
from hw.chip.registers import ChipRegisters, address_bits
from hw.memory.axi import AXI4, AXI4Lite, AXIPort
from isa.chip import ChipConfig


class ChipControl(wiring.Component):
    """Latency: as :class:`hw.chip.dispatch.Dispatch` says. Throughput: a job after another.

    Parameters
    ----------
    chip : ChipConfig

    Members
    -------
    host : :class:`hw.memory.axi.AXI4Lite`, as the slave
    irq : 1
        There are records that the host still wants.
    cores : array of :class:`hw.memory.axi.AXI4Lite`
        To the cores' registers.
    core_irq : cores
    gangs, together, members, teams, base, reads, readers
        As of :class:`hw.chip.dispatch.Dispatch`.
    bus : :class:`hw.memory.axi.AXI4`
        As wide as a core's.
    """

    host: AXIPort
    irq: Signal
    cores: list[AXIPort]
    core_irq: Signal
    gangs: list[Signal]
    together: Signal
    members: list[Signal]
    teams: list[Signal]
    base: list[Signal]
    reads: list[Signal]
    readers: list[Signal]
    bus: AXIPort

    def __init__(self, chip: ChipConfig):
        self._chip, self._dispatch = chip, Dispatch(chip)
        super().__init__({
            "host": In(AXI4Lite(address_bits(chip))), "irq": Out(1),
            "cores": Out(AXI4Lite()).array(chip.cores), "core_irq": In(chip.cores),
            **{name: self._dispatch.signature.members[name]
               for name in ("gangs", "together", *LAID_OUT)}, "bus": Out(AXI4(chip.core))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        chip = self._chip
        m.submodules.registers = registers = ChipRegisters(chip)
        m.submodules.dispatch = dispatch = self._dispatch
        m.submodules.lite = lite = LiteMaster(chip.cores)
        m.submodules.mover = mover = BlockMover(chip.core)
        connect(m, flipped(self.host), registers.host)
        connect(m, registers.peek, dispatch.peek)
        connect(m, dispatch.access, lite.access)
        connect(m, mover.bus, flipped(self.bus))
        for inner, outer in zip(lite.host, self.cores, strict=True):
            connect(m, inner, flipped(outer))
        m.d.comb += [
            self.irq.eq(registers.irq), dispatch.queues.eq(registers.queues),
            registers.heads.eq(dispatch.heads), registers.tails.eq(dispatch.tails),
            registers.running.eq(dispatch.running), registers.resetting.eq(dispatch.resetting),
            registers.peeked.eq(dispatch.peeked), dispatch.irq.eq(self.core_irq),
            dispatch.value.eq(lite.value), self.together.eq(dispatch.together),
            *(to.eq(of) for name in ("gangs", *LAID_OUT)
              for to, of in zip(getattr(self, name), getattr(dispatch, name), strict=True)),
            *(getattr(mover, name).eq(getattr(dispatch, name))
              for name in ("read", "write", "pair", "at", "given")),
            *(getattr(dispatch, name).eq(getattr(mover, name))
              for name in ("busy", "failed", "index", "got", "arrived", "came"))]
        return m
