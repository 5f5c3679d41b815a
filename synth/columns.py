# SPDX-License-Identifier: Apache-2.0
"""Columns of the array with their accumulation, built in three ways, to compare their area.

All have the same rate: L products of INT8 or L / 2 of FP16 in a cycle, each with two sets of
weights and one register of the running sum in place of PSUM memory.

* ``shared``: the machine's own. A number's significand goes through the first of a pair's two
  multipliers, its product is aligned to fixed point, the sum is exact.
* ``separate``: the same, but numbers have multipliers of their own, beside an INT8 column.
* ``float32``: the multipliers are shared; numbers are added as binary32, as a systolic array of
  floating-point PEs does, L / 2 adders in a tree with an accumulator. Sums are rounded at every
  addition and depend on their order; an addition takes three cycles (:mod:`synth.float_adder`), so
  that three sums take turns in the accumulator. Subnormals of FP16 are taken as zero, which saves a
  shifter for each product.
"""

from collections.abc import Callable
from dataclasses import replace

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arith import ieee
from hw.arith.normal import MANT_BITS
from hw.arith.operand import OPERAND_BITS, SIGNIFICAND_BITS, vector_layout
from hw.arith.sums import entry_layout
from hw.engine.ports import view_of
from hw.parts.delay import delay, register
from hw.tensor.accumulator import accumulate
from hw.tensor.column import Column
from isa.config import Config
from synth import float_adder

PRODUCT = 2
"""Cycles from operands to their products as numbers, in :class:`FloatAdderColumn`."""


class ExactColumn(wiring.Component):
    """The machine's column and one running sum; ``numbers``: with INT8 left out."""

    operands: data.View
    floating: Signal
    load: Signal
    word: data.View
    swap: Signal
    fresh: Signal
    total: data.View

    def __init__(self, config: Config, numbers: bool = False):
        self._config, self._numbers = config, numbers
        vector = vector_layout(config)
        super().__init__({"operands": In(vector), "floating": In(1), "load": In(1),
                          "word": In(vector), "swap": In(1), "fresh": In(1),
                          "total": Out(entry_layout(config))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.column = column = Column(self._config)
        m.d.comb += [column.load.eq(self.load), column.swap.eq(self.swap),
                     column.floating.eq(1 if self._numbers else self.floating)]
        for mine, theirs in ((self.operands, column.operands), (self.word, column.word)):
            m.d.comb += theirs.eq(mine)
            for k in range(self._config.lanes // 2) if self._numbers else ():
                m.d.comb += theirs[k].second.eq(0)
        total = view_of(self.total.shape(), reset_less=True)
        accumulate(m, "sum", self._config, total, Mux(self.fresh, 0, total.as_value()), column.sum)
        m.d.comb += self.total.eq(total)
        return m


class SeparateColumn(wiring.Component):
    """An INT8 column beside one of numbers."""

    def __init__(self, config: Config):
        self._parts = {"integers": ExactColumn(replace(config, dtypes=("int8",))),
                       "numbers": ExactColumn(config, numbers=True)}
        super().__init__({name: Out(part.signature) for name, part in self._parts.items()})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        for name, part in self._parts.items():
            m.submodules[name] = part
            wiring.connect(m, wiring.flipped(getattr(self, name)), part)
        return m


class FloatAdderColumn(wiring.Component):
    """Products of INT8 into an adder tree, products of FP16 into one of binary32 adders."""

    operands: Signal
    word: Signal
    floating: Signal
    load: Signal
    swap: Signal
    fresh: Signal
    integer: Signal
    number: data.View

    def __init__(self, config: Config):
        self._config = config
        bits = 2 * OPERAND_BITS * (config.lanes // 2)
        super().__init__({"operands": In(bits), "word": In(bits), "floating": In(1),
                          "load": In(1), "swap": In(1), "fresh": In(1), "integer": Out(signed(32)),
                          "number": Out(ieee.NUMBER)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        width = 2 * OPERAND_BITS
        shadow, active = (Signal(len(self.word), name=n, reset_less=True)
                          for n in ("shadow", "active"))
        with m.If(self.load):
            m.d.sync += shadow.eq(self.word)
        with m.If(self.swap):
            m.d.sync += active.eq(shadow)
        integers: list[Value] = []
        numbers: list[data.View] = []
        for k in range(self._config.lanes // 2):
            at = slice(k * width, (k + 1) * width)
            product, second, number = self._pair(m, k, self.operands[at], active[at])
            integers += [product[:width].as_signed(), second]
            numbers.append(number)
        fresh = delay(m, self.fresh, PRODUCT, "fresh")
        total = Signal(signed(32), reset_less=True)
        while len(integers) > 1:
            pairs = zip(integers[::2], integers[1::2], strict=True)
            integers = [register(m, f"integer{len(integers)}_{k}", a + b)
                        for k, (a, b) in enumerate(pairs)]
        m.d.sync += total.eq(Mux(fresh, 0, total) + integers[0])
        while len(numbers) > 1:
            numbers = [float_adder.add(m, f"add{len(numbers)}_{k}", a, b)
                       for k, (a, b) in enumerate(zip(numbers[::2], numbers[1::2], strict=True))]
        running = ieee.named("running")
        before = ieee.named("before")
        m.d.comb += before.eq(running)
        with m.If(fresh):
            ieee.assign(m, before, exp=ieee.LOWEST)
        m.d.comb += [running.eq(float_adder.add(m, "accumulate", before, numbers[0])),
                     self.integer.eq(total), self.number.eq(running)]
        return m

    def _pair(self, m: Module, k: int, a: Value, w: Value) -> tuple[Value, Value, data.View]:
        """The two integer products, and the product of numbers in binary32, exact."""
        def significand(x: Value) -> Value:
            number = Cat(x[:10], x[10:15].any())
            negated = Mux(x[15], -number, number)[:SIGNIFICAND_BITS].as_signed()
            return Mux(self.floating, negated, x[:OPERAND_BITS].as_signed())

        first = register(m, f"first{k}", significand(a) * significand(w))
        second = register(m, f"second{k}",
                          a[OPERAND_BITS:].as_signed() * w[OPERAND_BITS:].as_signed())
        exponents = [register(m, f"{n}_exponent{k}", x[10:15]) for n, x in (("a", a), ("w", w))]
        kinds = [register(m, f"{n}_special{k}", Cat(x[10:15].all(), x[:10].any(), x[10:15].any()))
                 for n, x in (("a", a), ("w", w))]
        magnitude = Signal(22, name=f"magnitude{k}")
        m.d.comb += magnitude.eq(Mux(first < 0, -first, first))
        high = magnitude[21]
        zero = ~kinds[0][2] | ~kinds[1][2]
        special = [kind[0] for kind in kinds]
        nan = (special[0] & kinds[0][1]) | (special[1] & kinds[1][1]) | (
            (special[0] | special[1]) & zero)
        number = ieee.named(f"number{k}")
        mantissa = Cat(Const(0, 2), magnitude)
        m.d.comb += [
            number.sign.eq(first < 0), number.nan.eq(nan), number.inf.eq(Cat(special).any() & ~nan),
            number.mant.eq(Mux(zero, 0, Mux(high, mantissa, mantissa << 1))[:MANT_BITS]),
            number.exp.eq(Mux(zero, ieee.LOWEST, exponents[0] + exponents[1] + high - 53))]
        kept = view_of(ieee.NUMBER, name=f"kept{k}", reset_less=True)
        m.d.sync += kept.eq(number)
        return first, second, kept


COLUMNS: dict[str, Callable[[Config], wiring.Component]] = {
    "shared": ExactColumn, "separate": SeparateColumn, "float32": FloatAdderColumn}
