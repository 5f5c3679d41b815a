# SPDX-License-Identifier: Apache-2.0
"""Programs on the model of time: when each instruction starts and is complete.

What a program moves, and what it hears of other cores, is answered from outside. None of its queues
is held up by what another one has asked for.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from compiler.machine.bursts import Bursts, bursts_of
from compiler.machine.steps import Step
from compiler.machine.timing import CONFLICTS, EXCHANGERS, LANDING, MOVERS, Machine, window_cycles
from isa.config import Config
from isa.instructions import WAIT_BITS, Opcode

MEMORY = "memory"
"""The line of all transfers with the memory, which ask in the order of the program."""

Times = list[tuple[int, int, int]]
"""For each step its start, when its engine is free again, and its completion."""


class Ask(NamedTuple):
    """What a program under way wants from outside: so many beats of its memory, from a cycle on,
    which cores with the same program may read ``together``; or for a ``step`` of a gang so many
    cycles of where the words land at other cores, in bursts of at most ``burst``, or what it
    awaits. Behind a hub what is wanted of the memory is ``bursts``."""

    first: int
    beats: int
    step: Step | None = None
    together: bool = False
    burst: int = 0
    line: str = MEMORY
    bursts: Bursts = ()


class Running:
    """A program with waits, under way: asks, and goes on with answers.

    Parameters
    ----------
    steps : list of Step
    config : Config

    Attributes
    ----------
    times : Times
        Of all steps, once nothing that was asked for is left; zeros where a step has not started.
    """

    HUB = False
    """Whether its memory is behind that of a chip."""

    def __init__(self, steps: list[Step], config: Config):
        self._steps, self._config = steps, config
        self._machine = machine = Machine(config, self.HUB)
        self._beats = list(map(machine.beats, steps))
        self.times: Times = [(0, 0, 0)] * len(steps)
        self._done: dict[str, list[int]] = {q: [] for q in machine.free}
        self._lines: dict[str, list[int]] = {}
        self._needs: list[list[tuple[str, int]]] = []   # queues, and how many have to be complete
        self._reads: list[int] = []     # beats of instructions in front of each transfer
        count, there = dict.fromkeys(machine.free, 0), 0
        for i, (step, beats) in enumerate(zip(steps, self._beats)):
            f, line = step.fields, self._line(step)
            self._lines.setdefault(line, []).append(i)
            self._needs.append([
                (q, n - ((n - f[f"wait_{q}"]) & ((1 << WAIT_BITS) - 1)))
                for bit, (q, n) in enumerate(count.items()) if f["wait_mask"] >> bit & 1])
            count[step.queue] += 1
            there += beats
            self._reads.append(there)
            if line == MEMORY:
                there = 0
        self._dispatched: list[int] = []
        self._head = dict.fromkeys(self._lines, 0)
        self._asked: dict[str, bool] = dict.fromkeys(self._lines, False)
        self._read = False      # whether the instructions in front of the next transfer are

    @staticmethod
    def _line(step: Step) -> str:
        return MEMORY if step.queue in MOVERS else step.queue

    @property
    def ended(self) -> bool:
        """Whether all steps are complete."""
        return all(self._head[line] == len(those) for line, those in self._lines.items())

    def begin(self) -> list[Ask]:
        """What it wants first."""
        return self._go_on()

    def answer(self, ask: Ask, last: int, asked: int | None = None) -> list[Ask]:
        """Go on, with the cycle in which the last beat of what was asked for has moved, or what is
        awaited has come; ``asked``: of a transfer behind a hub the first cycle in which its last
        burst could have. Returns what it wants besides, not for earlier beats."""
        line = ask.line
        self._asked[line] = False
        if line == MEMORY and not self._read:
            self._read, self._machine.bus = True, last
        else:
            self._read = self._read and line != MEMORY
            self._complete(line, last, asked)
        return self._go_on()

    def _go_on(self) -> list[Ask]:
        """Do what can be done without further answers; returns what is asked for on the way."""
        asks: list[Ask] = []
        self._dispatch()
        news = True         # for lines that have not gone on
        while news:
            news = moves = False
            for line, those in self._lines.items():
                while not self._asked[line] and self._head[line] < len(those):
                    goes, ask = self._next(line)
                    if not goes:
                        break
                    moves = True
                    if ask is None:
                        news = True
                    else:
                        self._asked[line] = True
                        asks.append(ask)
            if moves and self._dispatch():
                news = True
        return asks

    def _dispatch(self) -> bool:
        """Read what the queues have room for: whether there is anything."""
        before = len(self._dispatched)
        while (i := len(self._dispatched)) < len(self._steps) and self._machine.room(
                self._steps[i]):
            self._dispatched.append(self._machine.dispatch(self._steps[i], self._beats[i]))
        return len(self._dispatched) > before

    def _next(self, line: str) -> tuple[bool, Ask | None]:
        """Whether a line can go on, and what its next step asks for."""
        i = self._lines[line][self._head[line]]
        if line == MEMORY and not self._read:
            return True, Ask(self._machine.bus, self._reads[i], together=True)
        waits = self._waits(i)
        return (False, None) if waits is None else (True, self._start(i, line, waits))

    def _waits(self, i: int) -> int | None:
        """The last completion that a step waits for (0: none), None if that is not known yet."""
        if i >= len(self._dispatched):
            return None
        waits = 0
        for q, count in self._needs[i]:
            if count > len(self._done[q]):
                return None
            waits = max(waits, self._done[q][count - 1])
        return waits

    def _start(self, i: int, line: str, waits: int) -> Ask | None:
        """Start the next step of a line; what it asks for."""
        step = self._steps[i]
        start, first = self._machine.start(step, self._dispatched[i], waits)
        self.times[i] = start, 0, 0
        if step.queue in MOVERS:
            return Ask(first, step.cycles, together=step.fields.get("group") == 1, line=line,
                       bursts=bursts_of(step, self._config) if self.HUB else ())
        if line in EXCHANGERS:
            burst = min(round(LANDING * self._config.max_burst), self._run(step))
            return Ask(first, step.cycles, step, burst=burst, line=line)
        self._complete(line, first)
        return None

    @staticmethod
    def _run(step: Step) -> int:
        """Cycles of each run of words that follow one another."""
        if step.opcode in (Opcode.SIGNAL, Opcode.AWAIT):
            return step.cycles
        return -(-step.cycles // (step.fields["n1"] * step.fields["n2"] * step.fields["n3"]))

    def _complete(self, line: str, last: int, asked: int | None = None) -> None:
        i = self._lines[line][self._head[line]]
        self._head[line] += 1
        step, start = self._steps[i], self.times[i][0]
        end = self._machine.end(step, start, last, asked)
        self.times[i] = start, self._machine.free[step.queue], end
        self._done[step.queue].append(end)


def _placed(steps: list[Step], config: Config) -> Times:
    """Run a program with waits, with a memory for itself."""
    run = Running(steps, config)
    asks = run.begin()
    while asks:
        ask, = asks
        asks = run.answer(ask, ask.first + ask.beats)
    return run.times


def beside(steps: list[Step], config: Config, times: Times | None = None) -> list[Step]:
    """The steps, with what each WINDOW loses to the array while that works, and to its groups;
    ``times``: when they run, unless with a memory for themselves."""
    times = times or _placed(steps, config)
    array = [time[:2] for step, time in zip(steps, times) if step.queue == "tensor"]
    edges = np.array([(0, 0), *array]).ravel()
    worked = np.array([[0, b - a] for a, b in [(0, 0), *array]]).ravel().cumsum()
    out = []
    for step, (start, _, _) in zip(steps, times):
        if step.queue == "window":
            low, high = np.interp([start, start + step.cycles], edges, worked)
            words = CONFLICTS * (high - low) / step.cycles
            if step.fields["stride"] == 1:
                words += config.tiles - 1
            step = replace(step, cycles=window_cycles(config, step.fields, words))
        out.append(step)
    return out


def predict(steps: list[Step], config: Config) -> list[int]:
    """Cycles that each step adds to the program."""
    return added_by(_placed(beside(steps, config), config))


def added_by(times: Times) -> list[int]:
    """Cycles that each step adds to what was complete before."""
    latest, added = 0, []
    for _, _, end in times:
        added.append(max(0, end - latest))
        latest = max(latest, end)
    return added
