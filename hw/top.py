# SPDX-License-Identifier: Apache-2.0
"""The machine with plain port names, and its Verilog.

The ports are ``clk``, ``rst`` (synchronous, high), ``irq``, an AXI4-Lite slave ``s_axil_*`` and an
AXI4 master ``m_axi_*`` with the names of the standard, so that bus libraries, FPGA tools and C++
see ordinary AXI.

``rst`` goes through a register before it reaches the core, and through one more for each engine, so
that the reset tree has no logic, and a simulator does not take every register's input for a
function of a pin (which costs a second evaluation of the whole design in each cycle). Hold it for
two cycles or more.
"""

import os
from collections.abc import Mapping

from amaranth.back import verilog as back
from amaranth.hdl import (ClockDomain, ClockSignal, DomainRenamer, Elaboratable, Module,
                          ResetSignal, Signal)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.core import Core
from hw.exchange.ports import Exchange
from hw.memory.axi import AXI4, AXI4Lite
from hw.memory.plain import PlainAXI
from hw.parts.clock_gate import VERILOG, GatedClocks
from hw.parts.one_module import share
from hw.trace import trace_layout
from isa.config import Config

TOP = "makalu"


def _ports(config: Config) -> dict[str, PlainAXI]:
    """The plain ports, by the core's own."""
    others = ({"exchange": PlainAXI("m_x_", Exchange(config), master=True)} if config.exchange
              else {})
    return {"host": PlainAXI("s_axil_", AXI4Lite(), master=False),
            "bus": PlainAXI("m_axi_", AXI4(config), master=True, bytes_wide=config.bus_bytes),
            **others}


class Makalu(wiring.Component):
    """One core with the names of the AXI standard.

    Parameters
    ----------
    config : Config
    trace : bool
        With the ports ``trace_…``, one for each field of :func:`hw.trace.trace_layout`.

    Members
    -------
    irq : 1
    held : 1
        As of :class:`hw.core.Core`; 0 where there is one core.
    s_axil_awaddr, …
        AXI4-Lite, 32 data bits.
    m_axi_awid, …
        AXI4, ``config.bus_bytes`` wide, INCR bursts of full beats.
    m_x_postvalid, …, m_x_landed
        :class:`hw.exchange.ports.Exchange`, where the configuration has it.
    """

    irq: Signal
    held: Signal
    m_x_landed: Signal

    def __init__(self, config: Config, trace: bool = False):
        self._config, self._trace = config, trace
        members = {"irq": Out(1), "held": In(1)}
        if trace:
            members |= {f"trace_{name}": Out(field.shape) for name, field in trace_layout(config)}
        self._ports = _ports(config)
        for port in self._ports.values():
            members |= port.members()
        if config.exchange:
            members["m_x_landed"] = Out(1)
        super().__init__(members)

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        core = Core(self._config, self._trace)
        m.submodules.core = DomainRenamer("core")(core)
        m.domains.core = ClockDomain(reset_less=True)
        reset = Signal(init=1, reset_less=True)
        m.d.sync += reset.eq(ResetSignal())
        m.d.comb += [ClockSignal("core").eq(ClockSignal()), core.reset.eq(reset),
                     self.irq.eq(core.irq), core.held.eq(self.held)]
        if self._trace:
            m.d.comb += [getattr(self, f"trace_{name}").eq(core.trace[name])
                         for name in core.trace.shape().members]
        # the host may ask in the first cycle without rst, when the core is still in reset
        self._ports["host"].connect(m, self, core.host, shut=reset)
        self._ports["bus"].connect(m, self, core.bus)
        if self._config.exchange:
            self._ports["exchange"].connect(m, self, core.exchange)
            m.d.comb += self.m_x_landed.eq(core.exchange.landed)
        return m


def verilog_of(design: Elaboratable, name: str, platform: object = None,
               ports: Mapping[str, tuple[Signal, None]] | None = None) -> str:
    """Verilog of a component, with all of its members as ports if no others are said; the same
    text from the same design, wherever it is made."""
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"
    return share(back.convert(design, name=name, platform=platform, ports=ports, emit_src=False,
                              strip_internal_attrs=True), name)


def verilog(config: Config, trace: bool = False, gated: bool = False) -> str:
    """Verilog of the machine, top module ``makalu``; with the ports of
    :func:`hw.trace.trace_layout` if it is for a simulation; with ``gated`` clocks, and the model of
    their gate."""
    if not gated:
        return verilog_of(Makalu(config, trace), TOP)
    return verilog_of(Makalu(config, trace), TOP, GatedClocks()) + "\n" + VERILOG
