# SPDX-License-Identifier: Apache-2.0
"""Addresses over channels: which channel has a byte, and the splitter that cuts bursts where the
channel changes."""

from amaranth.hdl import Elaboratable, Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.memory.axi import LEN_BITS
from isa.chip import INTERLEAVE
from isa.config import Config

def channel_of(address: Value, channels: int) -> Value:
    """The channel that has an address; ``channels`` is a power of two."""
    low = exact_log2(INTERLEAVE)
    return address[low:low + exact_log2(channels)]


def whole_layout(config: Config, tag: ShapeLike) -> data.StructLayout:
    """A burst: ``len`` beats minus one, and whatever its user wants to know of it."""
    return data.StructLayout({"tag": tag, "addr": config.addr_bits, "len": LEN_BITS})


def piece_layout(config: Config, tag: ShapeLike) -> data.StructLayout:
    """A piece of a burst in one channel, with the burst's ``tag``; whether it is the ``last`` one
    of its burst."""
    return data.StructLayout({"tag": tag, "addr": config.addr_bits, "len": LEN_BITS, "last": 1})


class Cut(wiring.Component):
    """Cuts bursts at multiples of :data:`INTERLEAVE`. Latency: a cycle. Throughput: a piece a
    cycle, also across bursts.

    Parameters
    ----------
    config : Config
    tag : ShapeLike

    Members
    -------
    i : In(stream of ``whole_layout(config, tag)``)
        Bursts of any length and start.
    o : Out(stream of ``piece_layout(config, tag)``)
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: Config, tag: ShapeLike):
        self._config = config
        super().__init__({"i": In(stream.Signature(whole_layout(config, tag))),
                          "o": Out(stream.Signature(piece_layout(config, tag)))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        burst, piece = self.i.payload, self.o.payload
        beat, block = exact_log2(self._config.bus_bytes), exact_log2(INTERLEAVE)
        most = (1 << (block - beat)) - 1
        # beats behind the first one: to the end of the burst, to the end of the block
        left, room, behind = Signal(LEN_BITS), Signal(range(most + 1)), Signal(LEN_BITS)
        m.d.comb += [
            piece.len.eq(Mux(piece.last, left, room)), behind.eq(left - room - 1),
            self.i.ready.eq(~self.o.valid | (self.o.ready & piece.last))]
        with m.If(self.i.ready):
            m.d.sync += [
                self.o.valid.eq(self.i.valid), piece.tag.eq(burst.tag), piece.addr.eq(burst.addr),
                left.eq(burst.len), room.eq(~burst.addr[beat:block]),
                piece.last.eq(burst.len <= (~burst.addr[beat:block])[:block - beat])]
        with m.Elif(self.o.ready):
            m.d.sync += [
                piece.addr[:block].eq(0), piece.addr[block:].eq(piece.addr[block:] + 1),
                left.eq(behind), room.eq(most), piece.last.eq(behind <= most)]
        return m
