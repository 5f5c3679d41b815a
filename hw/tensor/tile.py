# SPDX-License-Identifier: Apache-2.0
"""A tile of the PE array: columns that are dot products, sharing one broadcast activation vector.

::

    activations ─► registers ┬──────────┬──────────┬─ …      one vector of L operands a cycle
                             ▼          ▼          ▼
                         L products  L products  L products  one column: L weights, held
                             ▼          ▼          ▼
                        adder tree  adder tree  adder tree
                             ▼          ▼          ▼
                           sum        sum        sum         one sum a column and cycle

Each column has two sets of weights. The shadow set is loaded word by word while the active set
works; ``swap`` comes with the first vector that wants the new set and costs no cycle.
"""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.operand import vector_layout
from hw.engine.ports import view_of
from hw.parts.delay import cut, delay, later, register
from hw.tensor.column import Column, stages, sum_layout
from isa.config import Config


class Tile(wiring.Component):
    """``lanes`` columns of ``lanes`` products.

    Parameters
    ----------
    config : Config
        Lanes, data types, and weight words (columns) that are loaded in a cycle.

    Members
    -------
    vector, floating : In(vector_layout(config)), In(1)
        Activations; taken every cycle. Whether they are floats.
    swap : In(1)
        ``vector`` and its successors want the shadow weights.
    load, beat, weights : In(1), In(range), In(array of vectors)
        Load columns ``beat * words …`` of the shadow set.
    sums : Out(array of sum_layout(config))
        ``latency`` cycles after ``vector``.
    """

    vector: data.View
    floating: Signal
    swap: Signal
    load: Signal
    beat: Signal
    weights: data.View
    sums: data.View

    def __init__(self, config: Config):
        self._config = config
        self.latency = 4 + stages(config)
        vector, words = vector_layout(config), config.weight_words
        super().__init__({
            "vector": In(vector), "floating": In(1), "swap": In(1), "load": In(1),
            "beat": In(range(config.lanes // words)),
            "weights": In(data.ArrayLayout(vector, words)),
            "sums": Out(data.ArrayLayout(sum_layout(config), config.columns))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        words = self._config.weight_words
        operands = later(m, self.vector, 3, "vector")
        floating = delay(m, self.floating, 4, "floating")
        swap = delay(m, self.swap, 2, "swap")
        load, beat = cut(m, "load", self.load, self.beat)
        coming = later(m, self.weights, 1, "coming")
        # with an enable of the tile's own, lest synthesis take those of all tiles for one register
        weights = view_of(self.weights.shape(), name="weights", reset_less=True)
        with m.If(load):
            m.d.sync += weights.eq(coming)
        loads = [register(m, f"loads{b}", load & (beat == b))
                 for b in range(self._config.lanes // words)]
        for k in range(self._config.columns):
            m.submodules[f"column{k}"] = column = Column(self._config)
            m.d.comb += [
                column.operands.eq(operands), column.floating.eq(floating),
                column.swap.eq(swap),
                column.load.eq(loads[k // words]),
                column.word.eq(weights[k % words]),
                self.sums[k].eq(column.sum)]
        return m
