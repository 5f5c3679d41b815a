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

from amaranth.back import verilog as back
from amaranth.hdl import (ClockDomain, ClockSignal, Const, DomainRenamer, Elaboratable, Module,
                          ResetSignal, Shape, Signal)
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.core import Core
from hw.memory.axi import RESPONSE, address_layout, read_layout, write_layout
from hw.parts.clock_gate import VERILOG, GatedClocks
from hw.parts.one_module import share
from hw.trace import TRACE
from isa.config import Config
from isa.registers import REGISTER_SPACE_BITS

TOP = "makalu"

BURST_INCR = 1
CACHE_NORMAL_BUFFERABLE = 0b0011

CONSTANTS = {"burst": (2, BURST_INCR), "lock": (1, 0), "cache": (4, CACHE_NORMAL_BUFFERABLE),
             "prot": (3, 0), "qos": (4, 0)}
"""Signals of AW and AR that never change: width and value."""


def _channels(config: Config) -> list[tuple[str, str, str, bool, dict[str, int]]]:
    """Prefix, channel, side of the core, whether the core drives it, and bits of its payload."""
    def bits(layout: data.StructLayout) -> dict[str, int]:
        return {name: Shape.cast(field.shape).width for name, field in layout}

    address = {"addr": REGISTER_SPACE_BITS}
    master, slave = "m_axi_", "s_axil_"
    return [
        (slave, "aw", "host", False, address),
        (slave, "w", "host", False, {"data": 32, "strb": 4}),
        (slave, "b", "host", True, {"resp": 2}),
        (slave, "ar", "host", False, address),
        (slave, "r", "host", True, {"data": 32, "resp": 2}),
        (master, "aw", "bus", True, bits(address_layout(config))),
        (master, "w", "bus", True, bits(write_layout(config))),
        (master, "b", "bus", False, bits(RESPONSE)),
        (master, "ar", "bus", True, bits(address_layout(config))),
        (master, "r", "bus", False, bits(read_layout(config))),
    ]


class Makalu(wiring.Component):
    """One core with the names of the AXI standard.

    Parameters
    ----------
    config : Config
    trace : bool
        With the ports ``trace_…``, one for each field of :data:`hw.trace.TRACE`.

    Members
    -------
    irq : 1
    s_axil_awaddr, …
        AXI4-Lite, 32 data bits.
    m_axi_awid, …
        AXI4, ``config.bus_bytes`` wide, INCR bursts of full beats.
    """

    irq: Signal

    def __init__(self, config: Config, trace: bool = False):
        self._config, self._trace = config, trace
        members = {"irq": Out(1)}
        if trace:
            members |= {f"trace_{name}": Out(field.shape) for name, field in TRACE}
        for prefix, channel, _, drives, payload in _channels(config):
            forth, back = (Out, In) if drives else (In, Out)
            name = prefix + channel
            members |= {f"{name}valid": forth(1), f"{name}ready": back(1)}
            members |= {name + field: forth(width) for field, width in payload.items()}
            if "addr" in payload and drives:
                members[f"{name}size"] = Out(3)
                members |= {name + f: Out(width) for f, (width, _) in CONSTANTS.items()}
            elif "addr" in payload:
                members[f"{name}prot"] = In(3)
        super().__init__(members)

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        core = Core(self._config, self._trace)
        m.submodules.core = DomainRenamer("core")(core)
        m.domains.core = ClockDomain(reset_less=True)
        reset = Signal(init=1, reset_less=True)
        m.d.sync += reset.eq(ResetSignal())
        m.d.comb += [ClockSignal("core").eq(ClockSignal()), core.reset.eq(reset),
                     self.irq.eq(core.irq)]
        if self._trace:
            m.d.comb += [getattr(self, f"trace_{name}").eq(core.trace[name]) for name, _ in TRACE]
        for prefix, channel, side, drives, payload in _channels(self._config):
            s = getattr(getattr(core, side), channel)
            plain = {f: getattr(self, prefix + channel + f) for f in ("valid", "ready", *payload)}
            inner = {f: s.payload[f] if isinstance(s.payload, data.View) else s.payload
                     for f in payload} | {"valid": s.valid, "ready": s.ready}
            # the host may ask in the first cycle without rst, when the core is still in reset
            shut = reset if side == "host" and not drives else Const(0)
            for field, port in plain.items():
                to_port = drives != (field == "ready")
                source, sink = (inner[field], port) if to_port else (port, inner[field])
                m.d.comb += sink.eq(source & ~shut if field in ("valid", "ready") else source)
            if "addr" in payload and drives:
                name = prefix + channel
                m.d.comb += getattr(self, f"{name}size").eq(exact_log2(self._config.bus_bytes))
                m.d.comb += [getattr(self, name + f).eq(v) for f, (_, v) in CONSTANTS.items()]
        return m


def verilog_of(design: Elaboratable, name: str, platform: object = None) -> str:
    """Verilog of a component; the same text from the same design, wherever it is made."""
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"
    return share(back.convert(design, name=name, platform=platform, emit_src=False,
                              strip_internal_attrs=True), name)


def verilog(config: Config, trace: bool = False, gated: bool = False) -> str:
    """Verilog of the machine, top module ``makalu``; with the ports of :data:`hw.trace.TRACE` if
    it is for a simulation; with ``gated`` clocks, and the model of their gate."""
    if not gated:
        return verilog_of(Makalu(config, trace), TOP)
    return verilog_of(Makalu(config, trace), TOP, GatedClocks()) + "\n" + VERILOG
