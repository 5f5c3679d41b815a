# SPDX-License-Identifier: Apache-2.0
"""The clock of a part that stands still while it has nothing to do.

::

    wants ─┬────────────────► or ─► open ─► makalu_clock_gate ─► clock of the part
           └─► cycles left ───┘                    ▲
    clock ─────────────────────────────────────────┘

``makalu_clock_gate`` is the usual cell of a latch and an AND gate, to be replaced by that of a cell
library. The enable may depend on what the part is asked in this very cycle, so that a part wakes
without losing one: it does in every cycle what it does without a gate.

Only a design for a platform of :class:`GatedClocks` has such clocks: a simulation, an ASIC. On an
FPGA each gate would take one of the few global clock buffers, or an enable of every register.
"""

from collections.abc import Callable

from amaranth.hdl import (Assert, ClockDomain, ClockSignal, DomainRenamer, Elaboratable, Instance,
                          Module, Signal, Value)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

CELL = "makalu_clock_gate"

VERILOG = f"""\
module {CELL}(input clk, input enable, output gated);
  reg open;
  /* verilator lint_off LATCH */
  always @*
    if (!clk) open = enable;
  /* verilator lint_on LATCH */
  assign gated = clk & open;
endmodule
"""
"""A model of the cell."""


Place = Callable[[Elaboratable], Elaboratable]
"""What puts a part into a clock domain."""


class GatedClocks:
    """A platform that has the cell."""


class ClockGate(wiring.Component):
    """Parameters
    ----------
    lasts : int
        Cycles for which the clock goes on when nothing wants it anymore: more than what is under
        way in the part takes to come to rest.

    Members
    -------
    wants : In(1)
        The part has something to do, or is given something in this cycle.
    does : In(1)
        The part shows that it does something.
    clock : Out(1)
        The clock of the part.
    """

    wants: Signal
    does: Signal
    clock: Signal

    def __init__(self, lasts: int):
        self._lasts = lasts
        super().__init__({"wants": In(1), "does": In(1), "clock": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        is_open = Signal()
        m.d.comb += is_open.eq(self.wants)
        if self._lasts:
            left = Signal(range(self._lasts + 1), init=self._lasts, reset_less=True)
            with m.If(self.wants):
                m.d.sync += left.eq(self._lasts)
            with m.Elif(left.any()):
                m.d.comb += is_open.eq(1)
                m.d.sync += left.eq(left - 1)
        m.d.sync += Assert(is_open | ~self.does, "a part without a clock does something")
        m.submodules.cell = Instance(CELL, i_clk=ClockSignal(), i_enable=is_open,
                                     o_gated=self.clock)
        return m


def clocked(m: Module, platform: object, name: str, *, wants: Value, lasts: int,
            does: Value | None = None) -> Place:
    """What puts a part of ``m`` into a domain ``name`` whose clock stands still while nothing wants
    it, where the platform has such clocks, and leaves it as it is elsewhere. The arguments are
    those of :class:`ClockGate`.

    A reset of ``m``'s own domain does not reach the part: it is a pipeline without control, or has
    a reset inserted already and wants its clock during it.
    """
    if not isinstance(platform, GatedClocks):
        return lambda part: part
    m.domains += ClockDomain(name, reset_less=True, local=True)
    gate = m.submodules[f"{name}_gate"] = ClockGate(lasts)
    m.d.comb += [gate.wants.eq(wants), gate.does.eq(0 if does is None else does),
                 ClockSignal(name).eq(gate.clock)]
    return DomainRenamer(name)
