# SPDX-License-Identifier: Apache-2.0
"""The rules of AXI4 as statements: bursts, their data, and what is owed.

A channel is looked at where an engine hands it over, in front of the registers of the memory
controller.
"""

from amaranth.hdl import Assert, Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.utils import exact_log2

from hw.memory.axi import BOUNDARY_BYTES, LEN_BITS
from isa.config import Config


def legal_burst(m: Module, config: Config, address: stream.Interface) -> None:
    """A burst stays within 4 KiB, is aligned, and no longer than the configuration allows."""
    p = address.payload
    low, beat = exact_log2(BOUNDARY_BYTES), exact_log2(config.bus_bytes)
    with m.If(address.valid):
        m.d.comb += [
            Assert(p.addr[:low] + ((p.len + 1) << beat) <= BOUNDARY_BYTES),
            Assert(p.addr[:beat] == 0), Assert(p.len < config.max_burst)]


class Bursts:
    """Bursts that were asked for, and how far their data are.

    Parameters
    ----------
    m : Module
    address, beats : stream.Interface
        Of requests, and of what belongs to them, in the same order and never before them.
    most : int
        Bursts under way at most.
    of : Value, optional
        What is kept of a request beside its length.

    Attributes
    ----------
    count : Signal
        Those whose data are not over.
    ends : Signal
        The next beat is the last one of its burst.
    over : Signal
        It is handed over.
    place : Signal
        Beats of that burst before it.
    kept : Signal
        What was kept of that burst.
    """

    def __init__(self, m: Module, address: stream.Interface, beats: stream.Interface, most: int,
                 of: Value | None = None):
        asks, comes = address.valid & address.ready, beats.valid & beats.ready
        self.count = Signal(range(most + 2))
        self.ends, self.over = Signal(), Signal()
        lengths = [Signal(LEN_BITS, name=f"length{k}") for k in range(most + 1)]
        self.place = place = Signal(LEN_BITS)
        left = Signal.like(self.count)
        kept = [Signal(0 if of is None else len(of), name=f"kept{k}") for k in range(most + 1)]
        self.kept = kept[0]
        m.d.comb += [self.ends.eq(place == lengths[0]), self.over.eq(comes & self.ends),
                     left.eq(self.count - self.over)]
        m.d.sync += self.count.eq(left + asks)
        with m.If(comes):
            m.d.sync += place.eq(Mux(self.ends, 0, place + 1))
        with m.If(self.over):
            m.d.sync += [a.eq(b) for queue in (lengths, kept) for a, b in zip(queue, queue[1:])]
        for k, length in enumerate(lengths):
            with m.If(asks & (left == k)):
                m.d.sync += [length.eq(address.payload.len), kept[k].eq(0 if of is None else of)]
