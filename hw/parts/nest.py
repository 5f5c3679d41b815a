# SPDX-License-Identifier: Apache-2.0
"""Nested loops and the addresses that they walk, without multipliers.

A loop nest is a chain of counters, inner to outer. Each address term (a column, a row, an input
coordinate) is an accumulator that one level advances and an outer level's wrap-around sends back.
Sums are modulo the width of the field they come from, as in :mod:`golden.address`.

Terms may go with the counters (:meth:`Nest.on`) or a cycle behind them (:meth:`Nest.behind`), so
that what is added is asked of flip-flops that say which levels moved::

    counters, last flags ─► entered, left of each level ─► terms
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed


def circle_add(a: Value, b: Value, size: Value, width: int) -> Value:
    """``a + b`` (signed, ``width`` bits), less ``size`` if ``size`` is not 0 and the sum reaches
    it. With both in [0, size) that is the sum modulo ``size``. The sums with and without ``size``
    are formed side by side."""
    around = a + (b - size.as_unsigned())
    return Mux((size != 0) & ~around[-1], around, a + b)[:width].as_signed()


INNER = (3, 4)
"""So many of the innermost levels of a nest are looked at together: whether each is in its last
iteration."""


@dataclass
class Level:
    """One loop: ``count`` iterations; ``single``: only one, when it starts again; ``once``: only
    one, when the nest was started; ``enter`` assigns terms when the loop goes on, ``leave`` when it
    starts again from zero (the next outer level then enters); ``enter_behind`` and ``leave_behind``
    are the same a cycle later."""

    name: str
    count: Value
    single: Value
    once: Signal
    enter: Sequence[object] = ()
    leave: Sequence[object] = ()
    enter_behind: Sequence[object] = ()
    leave_behind: Sequence[object] = ()
    index: Signal = field(init=False)
    ahead: Signal = field(init=False)
    first: Signal = field(init=False)
    last: Signal = field(init=False)
    moves: Signal = field(init=False)
    entered: Signal = field(init=False)
    left: Signal = field(init=False)


class Nest:
    """Counters of a loop nest. Whether a level is in its first or its last iteration is a register
    of its own, and so is whether all of the innermost ones (:data:`INNER`) are in their last, so
    that a step asks flip-flops alone, and few of them.

    Parameters
    ----------
    m : Module
        Where the logic goes.
    levels : sequence of (name, count)
        Inner to outer; counts are 1 or more and change only where a level starts again from zero
        (:meth:`varies`).
    """

    def __init__(self, m: Module, levels: Sequence[tuple[str, Value]]):
        self._m = m
        self.levels: dict[str, Level] = {}
        for name, count in levels:
            once = Signal(name=f"{name}_once", reset_less=True)
            level = Level(name, count, once, once)
            level.index = Signal(len(count), name=f"{name}_index", reset_less=True)
            # two more than the index, so that the last but one is found without a subtraction
            level.ahead = Signal(len(count), name=f"{name}_ahead", reset_less=True)
            for flag in ("first", "last", "entered", "left"):
                setattr(level, flag, Signal(name=f"{name}_{flag}", reset_less=True))
            self.levels[name] = level
        every = list(self.levels)
        # of a nest of few levels the last ones are the same
        self._inner = {tuple(every[:n]): Signal(name=f"inner{min(n, len(every))}_last",
                                                reset_less=True) for n in INNER}
        # which levels move in a step is known before it is known whether there is one
        inner: list[str] = []
        for level in self.levels.values():
            level.moves = Signal(name=f"{level.name}_moves")
            m.d.comb += level.moves.eq(self.all_last(inner) if inner else 1)
            inner.append(level.name)
        self.done = Signal(name="nest_done")
        m.d.comb += self.done.eq(self.all_last(inner))

    def varies(self, name: str, single: Value) -> None:
        """The count of level ``name`` changes: ``single`` is, in a step in which the level starts
        again, whether it is 1 from then on."""
        self.levels[name].single = single

    def last(self, name: str) -> Signal:
        """Level ``name`` is in its last iteration."""
        return self.levels[name].last

    def first(self, name: str) -> Signal:
        """Level ``name`` is in its first iteration."""
        return self.levels[name].first

    def next_last(self, name: str) -> Value:
        """Level ``name`` is in its last iteration after a step."""
        level, inner = self.levels[name], list(self.levels)[:list(self.levels).index(name)]
        stepped = Mux(level.last, level.single, self._before_last(level))
        return Mux(self.all_last(inner), stepped, level.last) if inner else stepped

    def index(self, name: str) -> Signal:
        """Iteration of level ``name``."""
        return self.levels[name].index

    def all_last(self, names: Sequence[str]) -> Value:
        """Every level of ``names`` is in its last iteration."""
        for inner, last in reversed(self._inner.items()):
            if set(inner) <= set(names):
                return Cat(last, *(self.last(name) for name in names if name not in inner)).all()
        return Cat(self.last(name) for name in names).all()

    def on(self, name: str, *, enter: Sequence[object] = (), leave: Sequence[object] = ()) -> None:
        """Statements for when level ``name`` advances, and for when it wraps around."""
        self.levels[name].enter = [*self.levels[name].enter, *enter]
        self.levels[name].leave = [*self.levels[name].leave, *leave]

    def behind(self, name: str, *, enter: Sequence[object] = (),
               leave: Sequence[object] = ()) -> None:
        """As :meth:`on`, done by :meth:`follow`."""
        level = self.levels[name]
        level.enter_behind = [*level.enter_behind, *enter]
        level.leave_behind = [*level.leave_behind, *leave]

    def start(self, **singles: Value) -> list[object]:
        """Statements that put every counter to zero; for each level, whether its first count
        is 1."""
        if singles.keys() != self.levels.keys():
            raise ValueError(f"the nest has levels {', '.join(self.levels)}, not "
                             f"{', '.join(singles)}")
        return [*(last.eq(Cat(singles[name] for name in inner).all())
                  for inner, last in self._inner.items()),
                *(s for name, level in self.levels.items()
                  for s in (*self._from_zero(level, singles[name]),
                            level.once.eq(singles[name])))]

    def step(self, *enables: Value) -> None:
        """Add the logic of one step. There is one in the cycles of the ``enables``: the same for
        every level, but each perhaps from a flip-flop of its own
        (:attr:`hw.parts.skid.Skid.go`)."""
        m = self._m
        with m.If(enables[0]):
            m.d.sync += [last.eq(Cat(self.next_last(n) for n in inner).all())
                         for inner, last in self._inner.items()]
        for enable, level in zip(enables, self.levels.values(), strict=True):
            with m.If(enable):
                m.d.sync += [level.entered.eq(level.moves & ~level.last),
                             level.left.eq(level.moves & level.last)]
            with m.If(enable & level.moves):
                with m.If(level.last):
                    m.d.sync += [*self._from_zero(level, level.single), *level.leave]
                with m.Else():
                    m.d.sync += [level.index.eq(level.index + 1), level.ahead.eq(level.ahead + 1),
                                 level.first.eq(0), level.last.eq(self._before_last(level)),
                                 *level.enter]

    def follow(self, *enables: Value, begin: Value, start: Sequence[object]) -> None:
        """Add what lies :meth:`behind`: a pipeline stage whose terms belong to the iteration that
        the counters had before it moved. It moves together with the counters, and alone when
        they have come to their end; ``enables`` as for :meth:`step`. In the first iteration,
        ``begin``, the terms get their ``start`` instead."""
        m = self._m
        for enable, level in zip(enables, self.levels.values(), strict=True):
            with m.If(enable & level.left):
                m.d.sync += level.leave_behind
            with m.If(enable & level.entered):
                m.d.sync += level.enter_behind
        with m.If(enables[0] & begin):
            m.d.sync += start

    @staticmethod
    def _from_zero(level: Level, last: Value) -> Sequence[object]:
        return [level.index.eq(0), level.ahead.eq(2), level.first.eq(1), level.last.eq(last)]

    @staticmethod
    def _before_last(level: Level) -> Value:
        return level.ahead == level.count


class Enables:
    """The enables of a walker that ends in a skid buffer: copies of its ready, each from a
    flip-flop of its own (:attr:`hw.parts.skid.Skid.go`), so that the fan-out of the stall is
    divided among them.

    Parameters
    ----------
    levels : collection of str
        Of the walker's nest.
    behind : bool
        The nest has terms :meth:`Nest.behind`.
    stages : int
        Pipeline stages after the nest, and whatever else depends on the stall.

    Attributes
    ----------
    copies : Signal
        All of them.
    walk : Value
        For the registers beside the nest.
    levels, terms : Sequence[Value]
        For :meth:`Nest.step` and :meth:`Nest.follow`, one for each level.
    stages : Sequence[Value]
        One for each stage.
    """

    def __init__(self, levels: Collection[str], *, behind: bool = False, stages: int = 0):
        terms = len(levels) if behind else 0
        self.copies = Signal(1 + len(levels) + terms + stages, name="go")
        self.walk, *rest = self.copies
        self.levels = rest[:len(levels)]
        self.terms = rest[len(levels):len(levels) + terms]
        self.stages = rest[len(levels) + terms:]


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
