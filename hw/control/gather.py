# SPDX-License-Identifier: Apache-2.0
"""An instruction from the bus words in which it comes, at the end of its queue.

Queues hold an instruction as it lies in memory, so that block RAM with few ports does, and the
engine that is to execute it has it put together while it is at work on the one before.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.engine.ports import instruction_layout, view_of
from isa.config import Config
from isa.instructions import COMMON, FIELDS, INDEX_BITS, INSTRUCTION_BYTES, Opcode, width


def words_of(config: Config) -> int:
    """Bus words of an instruction."""
    return INSTRUCTION_BYTES // config.bus_bytes


class Gather(wiring.Component):
    """Latency: 1 cycle from an instruction's last word to ``o``.

    Parameters
    ----------
    config : Config
    opcode : Opcode

    Members
    -------
    i : stream of bus words
        Whole instructions; the last ``INDEX_BITS`` of each, which hold no field, are its position
        in the program.
    o : stream of ``instruction_layout(opcode)``
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: Config, opcode: Opcode):
        self._config, self._opcode = config, opcode
        super().__init__({"i": In(stream.Signature(8 * config.bus_bytes)),
                          "o": Out(stream.Signature(instruction_layout(opcode)))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        words = words_of(self._config)
        raw = view_of(data.ArrayLayout(8 * self._config.bus_bytes, words), reset_less=True)
        slot, full = Signal(words, init=1), Signal()    # one-hot
        bits = raw.as_value()
        first, last = COMMON[0].width, width(COMMON) + width(FIELDS[self._opcode])
        m.d.comb += [self.i.ready.eq(~full), self.o.valid.eq(full),
                     self.o.payload.eq(Cat(bits[first:last], bits[-INDEX_BITS:]))]
        with m.If(full):
            m.d.sync += full.eq(~self.o.ready)
        with m.Elif(self.i.valid):
            m.d.sync += [slot.eq(slot.rotate_left(1)), full.eq(slot[-1])]
        for k in range(words):
            with m.If(slot[k] & ~full):
                m.d.sync += raw[k].eq(self.i.payload)
        return m
