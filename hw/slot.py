# SPDX-License-Identifier: Apache-2.0
"""Where a scratchpad port's request waits before the arbiter: a skid buffer of two places, with the
bank decoded. The arbiter thus begins at registers, and a port's ``ready`` is one.
"""

from amaranth.hdl import Elaboratable, Module, Mux, ShapeLike, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.ports import view_of
from isa.config import Config


def request_layout(config: Config, writes: bool) -> data.StructLayout:
    """``want``: a bit for each bank, at most one set; ``row`` in that bank; ``data`` of a write."""
    depth = config.spm_words // config.spm_banks
    word = {"data": 8 * config.word_bytes} if writes else {}
    members: dict[str, ShapeLike] = {"want": config.spm_banks, "row": range(depth), **word}
    return data.StructLayout(members)


class Slot(wiring.Component):
    """Latency: a cycle. Throughput: a request a cycle.

    Parameters
    ----------
    config : Config
    writes : bool

    Members
    -------
    i : In(request_layout(config, writes))
        Taken with ``ready``, if a bank is wanted.
    ready : Out(1)
    o : Out(request_layout(config, writes))
        Stands still until ``granted``.
    granted : In(1)
    """

    i: data.View
    ready: Signal
    o: data.View
    granted: Signal

    def __init__(self, config: Config, writes: bool):
        self._layout = request_layout(config, writes)
        super().__init__({"i": In(self._layout), "ready": Out(1), "o": Out(self._layout),
                          "granted": In(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        second, full = view_of(self._layout, reset_less=True), Signal()
        moves = Signal()
        m.d.comb += [moves.eq(self.granted | ~self.o.want.any()), self.ready.eq(~full)]
        with m.If(~full):
            m.d.sync += second.eq(self.i)
        with m.If(moves):
            m.d.sync += [full.eq(0), self.o.eq(Mux(full, second.as_value(), self.i.as_value()))]
        with m.Elif(self.i.want.any()):
            m.d.sync += full.eq(1)
        return m
