# SPDX-License-Identifier: Apache-2.0
"""What an engine is told is what its queue held."""

from amaranth.hdl import Assert, Assume, Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from hw.control.gather import Gather, words_of
from isa.config import Config
from isa.instructions import ALONE_PLACES, INDEX_BITS, Opcode
from prove.checker import Design


class Gathers(Design):
    """An instruction of any number of bus words is put together from them, those that it leaves out
    zero, whatever the one before was; it is offered a cycle behind its last word, and until it is
    taken. No instruction has more words than the longest of its opcode, which the sequencer sees
    to."""

    OPCODE = Opcode.VECTOR

    word: Signal
    valid: Signal
    last: Signal
    ready: Signal

    def __init__(self, config: Config):
        self._config = config
        super().__init__({"word": In(8 * config.bus_bytes), "valid": In(1), "last": In(1),
                          "ready": In(1), "reached": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.gather = gather = Gather(self._config, self.OPCODE)
        i, o = gather.i, gather.o
        count = words_of(self._config, self.OPCODE)
        words = [Signal(len(self.word), name=f"word{k}") for k in range(count)]
        place, whole, before = Signal(range(count + 1)), Signal(), Signal(range(count + 1))
        goes = i.valid & i.ready
        m.d.comb += [
            i.valid.eq(self.valid), i.payload.word.eq(self.word), i.payload.last.eq(self.last),
            o.ready.eq(self.ready), Assume(self.last | (place != count - 1)),
            Assert(i.ready == ~whole), Assert(o.valid == whole),
            self.reached.eq(whole & (place == 1) & (before == count))]
        with m.If(goes):
            m.d.sync += [whole.eq(self.last), place.eq(place + 1)]
            m.d.sync += [word.eq(Mux(place == k, self.word, Mux(place == 0, 0, word)))
                         for k, word in enumerate(words)]
        with m.If(whole & self.ready):
            m.d.sync += [whole.eq(0), place.eq(0), before.eq(place)]
        bits = Cat(words)
        with m.If(whole):
            m.d.comb += [Assert(o.payload.index == bits[:INDEX_BITS]), *(
                Assert(Cat(o.payload[f.name]) == bits[low:low + f.width])
                for f, low in ALONE_PLACES[self.OPCODE])]
        return m
