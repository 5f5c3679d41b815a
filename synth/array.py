# SPDX-License-Identifier: Apache-2.0
"""The array by itself: a tile and its accumulator, as the tensor engine joins them."""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from hw.tensor.accumulator import Accumulator
from hw.tensor.tile import Tile
from isa.config import Config

INNER = "sums"
"""What goes from the tile to the accumulator; it leaves the array too."""


class Array(wiring.Component):
    """Members are those of :class:`hw.tensor.tile.Tile` and
    :class:`hw.tensor.accumulator.Accumulator`; ``latency`` is the tile's."""

    vector: data.View
    floating: Signal
    swap: Signal
    load: Signal
    beat: Signal
    weights: data.View
    add: data.View
    drain_en: Signal
    drain_bank: Signal
    drain_index: Signal
    drained: data.View
    sums: data.View

    def __init__(self, config: Config):
        tile = Tile(config)
        self._blocks = {"tile": tile, "accumulator": Accumulator(config)}
        self.latency = tile.latency
        members = {name: member for block in self._blocks.values()
                   for name, member in block.signature.members.items() if name != INNER}
        super().__init__({**members, INNER: Out(tile.sums.shape())})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        for name, block in self._blocks.items():
            m.submodules[name] = block
            for member, kind in block.signature.members.items():
                inner, outer = getattr(block, member), getattr(self, member)
                m.d.comb += inner.eq(outer) if kind.flow is wiring.In else outer.eq(inner)
        return m
