# SPDX-License-Identifier: Apache-2.0
"""What the memory controller and the DMA engines promise."""

from amaranth.hdl import Assert, Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.memory.lanes import Status
from isa.instructions import Fault


class Halted(wiring.Component):
    """``halted`` of a DMA engine never falls, whatever the engine and the rest of the machine do;
    it is up in the cycle after an error response."""

    IN = ("start", "done", "bad", "response", "resp")

    def __init__(self) -> None:
        self._status = Status()
        members = self._status.signature.members
        super().__init__({**{name: members[name] for name in self.IN}, "halt": In(1),
                          "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.status = status = self._status
        before, error = Signal(), Signal()
        m.d.sync += [before.eq(status.halted), error.eq(status.error)]
        m.d.comb += [
            *(getattr(status, name).eq(getattr(self, name)) for name in self.IN),
            status.engine.halt.eq(self.halt), Assert(status.halted | ~(before | error)),
            self.reached.eq(before & (status.engine.fault_code == Fault.AXI_DECERR))]
        return m
