# SPDX-License-Identifier: Apache-2.0
"""An instruction from the bus words in which it comes, at the end of its queue.

Queues hold an instruction as it lies in memory, so that block RAM with few ports does, and the
engine that is to execute it has it put together while it is at work on the one before.
"""

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.engine.ports import gathered_layout, instruction_layout, view_of
from isa.config import Config
from isa.instructions import ALONE_PLACES, INDEX_BITS, PLACES, UNITS, UNIT_BYTES, Opcode


def words_of(config: Config, opcode: Opcode) -> int:
    """Bus words of the longest instruction."""
    return UNITS[opcode] * UNIT_BYTES // config.bus_bytes


def word_layout(config: Config) -> data.StructLayout:
    """A bus word in a queue, and whether it is its instruction's last."""
    return data.StructLayout({"word": 8 * config.bus_bytes, "last": 1})


class Gather(wiring.Component):
    """Latency: 1 cycle from an instruction's last word to ``o``.

    Parameters
    ----------
    config : Config
    opcode : Opcode

    Members
    -------
    i : stream of ``word_layout(config)``
        Whole instructions; the first ``INDEX_BITS`` of each are its position in the program.
    o : stream of ``instruction_layout(opcode)``, with ``exchange`` of ``gathered_layout(opcode)``
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: Config, opcode: Opcode):
        self._config, self._opcode = config, opcode
        self._places = PLACES[opcode] if config.exchange else ALONE_PLACES[opcode]
        layout = gathered_layout if config.exchange else instruction_layout
        super().__init__({"i": In(stream.Signature(word_layout(config))),
                          "o": Out(stream.Signature(layout(opcode)))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        words, always = (n // self._config.bus_bytes
                         for n in (UNITS[self._opcode] * UNIT_BYTES, UNIT_BYTES))
        raw = view_of(data.ArrayLayout(8 * self._config.bus_bytes, words), reset_less=True)
        slot, full = Signal(words, init=1), Signal()    # one-hot
        bits, i = raw.as_value(), self.i.payload
        m.d.comb += [
            self.i.ready.eq(~full), self.o.valid.eq(full),
            *(self.o.payload[f.name].eq(bits[low:low + f.width])
              for f, low in self._places),
            self.o.payload.index.eq(bits[:INDEX_BITS])]
        with m.If(full):
            m.d.sync += full.eq(~self.o.ready)
        with m.Elif(self.i.valid):
            m.d.sync += [slot.eq(Mux(i.last, 1, slot << 1)), full.eq(i.last)]
        for k in range(words):
            with m.If(slot[k] & ~full):
                m.d.sync += raw[k].eq(i.word)
            if k >= always:     # what an instruction does not have is zero
                with m.If(slot[0] & ~full):
                    m.d.sync += raw[k].eq(0)
        return m
