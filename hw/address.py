# SPDX-License-Identifier: Apache-2.0
"""Nested loops and the addresses that they walk, without multipliers.

A loop nest is a chain of counters, inner to outer. Each address term (a column, a row, an input
coordinate) is an accumulator that one level advances and an outer level's wrap-around sends back.
Sums are modulo the width of the field they come from, as in :mod:`golden.address`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from amaranth.hdl import Module, Mux, Signal, Value, signed


def circle_add(a: Value, b: Value, size: Value, width: int) -> Value:
    """``a + b`` (signed, ``width`` bits), less ``size`` if ``size`` is not 0 and the sum reaches
    it. With both in [0, size) that is the sum modulo ``size``."""
    total = (a + b)[:width].as_signed()
    over = (size != 0) & (total >= size.as_unsigned())
    return Mux(over, total - size.as_unsigned(), total)[:width].as_signed()


@dataclass
class Level:
    """One loop: ``count`` iterations; ``enter`` assigns terms when the loop goes on, ``leave`` when
    it starts again from zero (the next outer level then enters)."""

    name: str
    count: Value
    enter: Sequence[object] = ()
    leave: Sequence[object] = ()
    index: Signal = field(init=False)
    last: Signal = field(init=False)


class Nest:
    """Counters of a loop nest.

    Parameters
    ----------
    m : Module
        Where the logic goes.
    levels : sequence of (name, count)
        Inner to outer; counts stand still while the nest runs and are 1 or more.
    """

    def __init__(self, m: Module, levels: Sequence[tuple[str, Value]]):
        self._m = m
        self.levels: dict[str, Level] = {}
        for name, count in levels:
            level = Level(name, count)
            width = len(count)
            level.index = Signal(width, name=f"{name}_index")
            level.last = Signal(name=f"{name}_last")
            m.d.comb += level.last.eq(level.index == (count - 1)[:width])
            self.levels[name] = level
        self.done = Signal(name="nest_done")
        m.d.comb += self.done.eq(self.all_last(list(self.levels)))

    def last(self, name: str) -> Signal:
        """Level ``name`` is in its last iteration."""
        return self.levels[name].last

    def index(self, name: str) -> Signal:
        """Iteration of level ``name``."""
        return self.levels[name].index

    def all_last(self, names: Sequence[str]) -> Value:
        """Every level of ``names`` is in its last iteration."""
        result: Value | None = None
        for name in names:
            result = self.last(name) if result is None else result & self.last(name)
        assert result is not None
        return result

    def on(self, name: str, *, enter: Sequence[object] = (), leave: Sequence[object] = ()) -> None:
        """Statements for when level ``name`` advances, and for when it wraps around."""
        self.levels[name].enter = [*self.levels[name].enter, *enter]
        self.levels[name].leave = [*self.levels[name].leave, *leave]

    def reset(self) -> list[object]:
        """Statements that put every counter to zero."""
        return [level.index.eq(0) for level in self.levels.values()]

    def step(self) -> None:
        """Add the logic of one step, inside the caller's ``m.If``."""
        self._step(list(self.levels.values()))

    def _step(self, levels: list[Level]) -> None:
        if not levels:
            return
        m, level = self._m, levels[0]
        with m.If(level.last):
            m.d.sync += [level.index.eq(0), *level.leave]
            self._step(levels[1:])
        with m.Else():
            m.d.sync += [level.index.eq(level.index + 1), *level.enter]


class Term:
    """An accumulator of ``width`` bits, signed, on a circle if ``size`` is given."""

    def __init__(self, name: str, width: int, size: Value | None = None):
        self.value = Signal(signed(width), name=name, reset_less=True)
        self._width, self._size = width, size

    def plus(self, step: Value, value: Value | None = None) -> Value:
        """The value (or another) advanced by ``step``."""
        base = self.value if value is None else value
        if self._size is None:
            return (base + step)[:self._width].as_signed()
        return circle_add(base, step, self._size, self._width)
