# SPDX-License-Identifier: Apache-2.0
"""Two users of one memory port, a request at a time, in turns when both ask."""

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.board.beats import Beats, BeatsPort, request_layout
from hw.parts.fifo import Fifo


class Share(wiring.Component):
    """The port ``memory`` for ``a`` and ``b``.

    Latency: one cycle for a request, none for an answer. Throughput: a request a cycle.

    Parameters
    ----------
    beat_bits : int
        Width of a beat's address.

    Members
    -------
    a, b : :class:`hw.board.beats.Beats`, as the memory
    memory : :class:`hw.board.beats.Beats`
    """

    READS = 16
    """Reads under way, at most."""

    a: BeatsPort
    b: BeatsPort
    memory: BeatsPort

    def __init__(self, beat_bits: int):
        self._request = request_layout(beat_bits)
        port = Beats(beat_bits)
        super().__init__({"a": In(port), "b": In(port), "memory": Out(port)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        a, b, memory = self.a, self.b, self.memory
        m.submodules.requests = requests = Fifo(self._request, 2)
        m.submodules.owners = owners = Fifo(1, self.READS)
        wiring.connect(m, requests.o, wiring.flipped(memory.request))
        b_first, to_b, free = Signal(), Signal(), Signal()
        chosen = data.View(self._request, Mux(to_b, b.request.payload.as_value(),
                                              a.request.payload.as_value()))
        m.d.comb += [
            to_b.eq(b.request.valid & (b_first | ~a.request.valid)),
            free.eq(requests.i.ready & (chosen.write | owners.i.ready)),
            a.request.ready.eq(free & ~to_b), b.request.ready.eq(free & to_b),
            requests.i.payload.eq(chosen), owners.i.payload.eq(to_b),
            requests.i.valid.eq((a.request.valid | b.request.valid) & free),
            owners.i.valid.eq(requests.i.valid & ~chosen.write),
            owners.o.ready.eq(memory.answer.valid)]
        with m.If(requests.i.valid):
            m.d.sync += b_first.eq(~to_b)
        for port, mine in ((a, ~owners.o.payload), (b, owners.o.payload)):
            m.d.comb += [port.answer.data.eq(memory.answer.data),
                         port.answer.valid.eq(memory.answer.valid & mine)]
        return m
