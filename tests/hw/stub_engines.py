# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the compute engines, for benches of control and memory traffic: each instruction
takes as many cycles as its field ``nx`` says, touches nothing, and ``ny`` = 1 makes it fault."""

import contextlib
from unittest import mock

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.control.sequencer import SELF_GATED
from hw.engine.ports import Engine, SpmRead, SpmWrite, instruction_layout
from hw.engine.profile import events_layout
from hw.engine.waits import blocked
from isa.config import Config
from isa.instructions import QUEUE_OF, Fault, Opcode


class Stub(wiring.Component):
    """Waits."""

    def __init__(self, opcode: Opcode, members: dict):
        self._opcode = opcode
        super().__init__({"instr": In(stream.Signature(instruction_layout(opcode))),
                          "engine": Out(Engine()), **members,
                          "events": Out(events_layout(QUEUE_OF[opcode]))})

    def elaborate(self, platform):
        m = Module()
        left, busy = Signal(16), Signal()
        i, engine = self.instr.payload, self.engine
        free = ~blocked(i, engine.completed).any() if self._opcode in SELF_GATED else 1
        m.d.comb += [self.instr.ready.eq(~busy & free & ~engine.halt & ~engine.fault),
                     engine.busy.eq(busy), engine.done.eq(busy & (left == 0) & ~engine.fault)]
        with m.If(self.instr.valid & self.instr.ready):
            m.d.sync += [left.eq(i.nx), busy.eq(1)]
            with m.If(i.ny == 1):
                m.d.sync += [engine.fault.eq(1), engine.fault_code.eq(Fault.BAD_FIELD),
                             engine.fault_index.eq(i.index)]
        with m.Elif(busy):
            m.d.sync += left.eq(left - 1)
            with m.If(left == 0):
                m.d.sync += busy.eq(0)
        return m


class TensorEngine(Stub):
    """In the tensor engine's place."""

    def __init__(self, config: Config):
        streams = config.tiles * (2 if config.granules > 1 else 1)
        super().__init__(Opcode.TENSOR, {
            "begin": In(1), "act": Out(SpmRead(config)).array(streams),
            "weights": Out(SpmRead(config)).array(config.weight_words),
            "residual": Out(SpmRead(config)).array(config.tiles),
            "out": Out(SpmWrite(config)).array(config.tiles)})


class WindowEngine(Stub):
    """In the window engine's place."""

    def __init__(self, config: Config):
        super().__init__(Opcode.WINDOW, {
            "act": Out(SpmRead(config)).array(config.tiles), "weights": Out(SpmRead(config)),
            "out": Out(SpmWrite(config)).array(config.tiles), "ends": Out(config.tiles)})


class VectorEngine(Stub):
    """In the vector engine's place."""

    def __init__(self, config: Config):
        super().__init__(Opcode.VECTOR, {"a": Out(SpmRead(config)), "b": Out(SpmRead(config)),
                                         "out": Out(SpmWrite(config))})


@contextlib.contextmanager
def stubbed():
    """Within this context, :mod:`hw.core` elaborates with the stand-ins."""
    with mock.patch("hw.core.TensorEngine", TensorEngine), \
            mock.patch("hw.core.WindowEngine", WindowEngine), \
            mock.patch("hw.core.VectorEngine", VectorEngine):
        yield
