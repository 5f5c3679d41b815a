# SPDX-License-Identifier: Apache-2.0
"""A tile of the PE array: columns that are dot products, sharing one broadcast activation vector.

::

    activations ─► register ─┬──────────┬──────────┬─ …      one vector of L operands a cycle
                             ▼          ▼          ▼
                         L products  L products  L products  one column: L weights, held
                             ▼          ▼          ▼
                        adder tree  adder tree  adder tree
                             ▼          ▼          ▼
                           sum        sum        sum         one sum a column and cycle

Each column has two sets of weights. The shadow set is loaded word by word while the active set
works; ``swap`` comes with the first vector that wants the new set and costs no cycle.
"""

from amaranth.hdl import Elaboratable, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

OPERAND_BITS = 9
"""A byte of either signedness less its zero point."""

FAN_IN = 4
"""Operands that one stage of the adder tree adds."""


def tree_stages(lanes: int) -> int:
    """Registered stages that add ``lanes`` products."""
    stages = 0
    while lanes > 1:
        lanes, stages = -(-lanes // FAN_IN), stages + 1
    return stages


def sum_bits(lanes: int) -> int:
    """Width of the sum of ``lanes`` products."""
    return 2 * OPERAND_BITS + (lanes - 1).bit_length()


class Column(wiring.Component):
    """The dot product of one output channel.

    Parameters
    ----------
    lanes : int
        Products a cycle.

    Members
    -------
    operands : In(array of signed(9))
        Activations, already registered.
    load, word : In(1), In(array of signed(9))
        Write the shadow weights.
    swap : In(1)
        The shadow weights become active with the next clock edge.
    sum : Out(signed)
        LATENCY of the tree after the operands.
    """

    operands: data.View
    load: Signal
    word: data.View
    swap: Signal
    sum: Signal

    def __init__(self, lanes: int):
        self._lanes = lanes
        vector = data.ArrayLayout(signed(OPERAND_BITS), lanes)
        super().__init__({"operands": In(vector), "load": In(1), "word": In(vector),
                          "swap": In(1), "sum": Out(signed(sum_bits(lanes)))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        shape = data.ArrayLayout(signed(OPERAND_BITS), self._lanes)
        shadow, active = Signal(shape, reset_less=True), Signal(shape, reset_less=True)
        with m.If(self.load):
            m.d.sync += shadow.eq(self.word)
        with m.If(self.swap):
            m.d.sync += active.eq(shadow)
        terms: list[Value] = []
        for k in range(self._lanes):
            product = Signal(signed(2 * OPERAND_BITS), name=f"product{k}", reset_less=True)
            m.d.sync += product.eq(self.operands[k] * active[k])
            terms.append(product)
        level = 0
        while len(terms) > 1:
            groups = [terms[k:k + FAN_IN] for k in range(0, len(terms), FAN_IN)]
            terms = []
            for k, group in enumerate(groups):
                total = sum(group[1:], group[0])
                part = Signal(total.shape(), name=f"sum{level}_{k}", reset_less=True)
                m.d.sync += part.eq(total)
                terms.append(part)
            level += 1
        m.d.comb += self.sum.eq(terms[0])
        return m


class Tile(wiring.Component):
    """``lanes`` columns of ``lanes`` products.

    Parameters
    ----------
    lanes : int
        Lanes and columns.
    words : int
        Weight words (columns) that are loaded in a cycle.

    Members
    -------
    vector : In(array of signed(9))
        Activations; taken every cycle.
    swap : In(1)
        ``vector`` and its successors want the shadow weights.
    load, beat, weights : In(1), In(range), In(array of vectors)
        Load columns ``beat * words …`` of the shadow set.
    sums : Out(array of signed)
        ``latency`` cycles after ``vector``.
    """

    vector: data.View
    swap: Signal
    load: Signal
    beat: Signal
    weights: data.View
    sums: data.View

    def __init__(self, lanes: int, words: int):
        self._lanes, self._words = lanes, words
        self.latency = 2 + tree_stages(lanes)
        vector = data.ArrayLayout(signed(OPERAND_BITS), lanes)
        super().__init__({
            "vector": In(vector), "swap": In(1), "load": In(1), "beat": In(range(lanes // words)),
            "weights": In(data.ArrayLayout(vector, words)),
            "sums": Out(data.ArrayLayout(signed(sum_bits(lanes)), lanes))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        operands = Signal(self.vector.shape(), reset_less=True)
        m.d.sync += operands.eq(self.vector)
        for k in range(self._lanes):
            m.submodules[f"column{k}"] = column = Column(self._lanes)
            m.d.comb += [
                column.operands.eq(operands), column.swap.eq(self.swap),
                column.load.eq(self.load & (self.beat == k // self._words)),
                column.word.eq(self.weights[k % self._words]),
                self.sums[k].eq(column.sum)]
        return m
