# SPDX-License-Identifier: Apache-2.0
"""The dot product of one output channel: held weights, multipliers, and an adder tree.

::

    operands ─► products ─► adder tree ─────────────────────► sum       INT8
                   └──────► align to fixed point ─► carry-save sum      FP16, BF16

A pair of lanes has two multipliers. INT8 uses both; a float's significand goes through the wider
first one, and its product is shifted to where it belongs in the window of :mod:`golden.exact`. The
floats' sum leaves as two words that are added later, in the accumulator; INT8's is the first word
alone. ``SUM_BITS`` are enough for any reduction, so that nothing is ever out of range.
"""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.align import FLAGS, align
from hw.arith.operand import OPERAND_BITS, SIGNIFICAND_BITS, vector_layout
from hw.arith.sums import SUM_BITS
from hw.engine.ports import view_of
from hw.parts.delay import delay, later
from isa.config import Config


def fan_in(config: Config) -> int:
    """Operands that one stage of the adder tree adds: two are one carry chain. Beside floating
    point, whose sums take two stages and are wide, more stages would cost registers."""
    return 4 if config.floats else 2


def tree_stages(config: Config) -> int:
    """Registered stages that add the products of INT8."""
    terms, stages = config.lanes, 0
    while terms > 1:
        terms, stages = -(-terms // fan_in(config)), stages + 1
    return stages


def stages(config: Config) -> int:
    """Cycles from the products to the sum."""
    return max(tree_stages(config), 2) if config.floats else tree_stages(config)


def tree_bits(lanes: int) -> int:
    """Width of the sum of ``lanes`` products of INT8."""
    return 2 * OPERAND_BITS + (lanes - 1).bit_length()


def sum_layout(config: Config) -> data.StructLayout:
    """What a column delivers: ``sum``; with floating point also ``carry``, to be added to it, and
    ``flags``."""
    if not config.floats:
        return data.StructLayout({"sum": signed(tree_bits(config.lanes))})
    return data.StructLayout({"sum": SUM_BITS, "carry": SUM_BITS, "flags": FLAGS})


def compress(m: Module, name: str, terms: list[Value]) -> tuple[Value, Value]:
    """Two words whose sum is that of the terms, modulo 2**SUM_BITS: a tree of full adders."""
    level = 0
    while len(terms) > 2:
        rest: list[Value] = []
        for k in range(0, len(terms) - 2, 3):
            a, b, c = terms[k:k + 3]
            s, carry = (Signal(SUM_BITS, name=f"{name}_{n}{level}_{k}") for n in ("sum", "carry"))
            m.d.comb += [s.eq(a ^ b ^ c),
                         carry.eq(Cat(Const(0, 1), ((a & b) | (c & (a | b)))[:SUM_BITS - 1]))]
            rest += [s, carry]
        terms = rest + terms[len(terms) - len(terms) % 3:] if len(terms) % 3 else rest
        level += 1
    return terms[0], terms[1] if len(terms) > 1 else Const(0, SUM_BITS)


class Column(wiring.Component):
    """Parameters
    ----------
    config : Config
        Lanes and data types.

    Members
    -------
    operands : In(vector_layout(config))
        Activations, already registered.
    floating : In(1)
        They are floats; with the products, a cycle after the operands.
    load, word : In(1), In(vector_layout(config))
        Write the shadow weights.
    swap : In(1)
        The shadow weights become active with the next clock edge.
    sum : Out(sum_layout(config))
        ``1 + stages(config)`` cycles after the operands.
    """

    operands: data.View
    floating: Signal
    load: Signal
    word: data.View
    swap: Signal
    sum: data.View

    def __init__(self, config: Config):
        self._config = config
        vector = vector_layout(config)
        super().__init__({"operands": In(vector), "floating": In(1), "load": In(1),
                          "word": In(vector), "swap": In(1), "sum": Out(sum_layout(config))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        shape = self.word.shape()
        shadow, active = Signal(shape, reset_less=True), Signal(shape, reset_less=True)
        with m.If(self.load):
            m.d.sync += shadow.eq(self.word)
        with m.If(self.swap):
            m.d.sync += active.eq(shadow)
        if not self._config.floats:
            products: list[Value] = [self._product(m, k, self.operands[k], active[k], OPERAND_BITS)
                        for k in range(self._config.lanes)]
            m.d.comb += self.sum.sum.eq(self._tree(m, products))
            return m
        firsts: list[Value] = []
        seconds: list[Value] = []
        aligned: list[Value] = []
        flags: list[data.View] = []
        for k in range(self._config.lanes // 2):
            a, w = self.operands[k], active[k]
            assert isinstance(a, data.View) and isinstance(w, data.View)
            first = self._product(m, 2 * k, a.first, w.first, SIGNIFICAND_BITS)
            firsts.append(first[:2 * OPERAND_BITS].as_signed())
            seconds.append(self._product(m, 2 * k + 1, a.second, w.second, OPERAND_BITS))
            value, flag = align(m, str(k), a, w, first, self._config)
            aligned.append(value)
            flags.append(flag)
        integers = [t for pair in zip(firsts, seconds, strict=True) for t in pair]
        self._select(m, self._tree(m, integers), aligned, flags)
        return m

    def _product(self, m: Module, k: int, a: Value, w: Value, bits: int) -> Signal:
        product = Signal(signed(2 * bits), name=f"product{k}", reset_less=True)
        m.d.sync += product.eq(a * w)
        return product

    def _tree(self, m: Module, terms: list[Value]) -> Value:
        level, most = 0, fan_in(self._config)
        while len(terms) > 1 or level < stages(self._config):
            groups = [terms[k:k + most] for k in range(0, len(terms), most)]
            terms = []
            for k, group in enumerate(groups):
                total = sum(group[1:], group[0])
                part = Signal(total.shape(), name=f"sum{level}_{k}", reset_less=True)
                m.d.sync += part.eq(total)
                terms.append(part)
            level += 1
        return terms[0]

    def _select(self, m: Module, integer: Value, aligned: list[Value], flags: list[data.View]
                ) -> None:
        wide = []
        for k, term in enumerate(aligned):
            extended = Signal(signed(SUM_BITS), name=f"extended{k}")
            m.d.comb += extended.eq(term)
            wide.append(extended.as_unsigned())
        total, carry = compress(m, "tree", wide)
        every = [f.as_value() for f in flags]
        any_of = every[0]
        for f in every[1:]:
            any_of = any_of | f
        saved = view_of(self.sum.shape())
        extended = Signal(signed(SUM_BITS), name="integer")
        m.d.comb += [saved.sum.eq(total), saved.carry.eq(carry), saved.flags.eq(any_of),
                     extended.eq(integer)]
        floating = delay(m, self.floating, stages(self._config), "floating")
        floats = later(m, saved, stages(self._config) - 1, "saved")
        with m.If(floating):
            m.d.comb += self.sum.eq(floats)
        with m.Else():
            m.d.comb += self.sum.sum.eq(extended)
