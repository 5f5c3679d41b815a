# SPDX-License-Identifier: Apache-2.0
"""What the cores of a chip share on the model of time: the memory, the buses between them, and the
signals that come over these."""

import heapq
import math
from collections import defaultdict

from compiler.machine.running import Ask
from compiler.machine.steps import Step
from compiler.machine.timing import EXCHANGE_LATENCY, LANDING
from isa.instructions import Opcode

Who = list[tuple[int, Ask]]
"""Cores that are answered together, and what each asked for."""

Through = tuple[Who, int, int | None]
"""Who has got all that was asked for, when, and of what came through a hub when the last burst of
it could have (:meth:`compiler.machine.running.Running.answer`)."""


class Memory:
    """Gives all who are under way beats at the same rate, and each at most one a cycle, so that
    ``_given``, the beats of one that has been there from the start, says for each with which of
    them its last one has moved.

    Parameters
    ----------
    bandwidth : float
        Beats a cycle.

    Attributes
    ----------
    end : float
        When the next of them is through.
    """

    def __init__(self, bandwidth: float):
        self._bandwidth = bandwidth
        self._now = self._given = 0.0
        self._active: list[tuple[float, int, Who]] = []
        self._count = 0
        self.end = math.inf

    def _rate(self) -> float:
        return min(1.0, self._bandwidth / max(1, len(self._active)))

    def _went_on(self) -> None:
        self.end = (self._now + (self._active[0][0] - self._given) / self._rate()
                    if self._active else math.inf)

    def begin(self, now: float, who: Who) -> None:
        """So many beats as they want, from now on."""
        self._given += (now - self._now) * self._rate()
        self._now = now
        self._count += 1
        heapq.heappush(self._active, (self._given + who[0][1].beats, self._count, who))
        self._went_on()

    def leave(self, until: float) -> Through:
        """The next ones are through; ``until``: there is no other event before."""
        self._now = self.end
        self._given, _, who = heapq.heappop(self._active)
        self._went_on()
        return who, round(self._now), None


class Bus:
    """A bus between cores: those who send take turns, burst by burst. It moves a beat a cycle, and
    who sends goes on with its next burst when the one before has landed.

    Parameters
    ----------
    cores : int
        That there are.

    Attributes
    ----------
    end : float
        When the burst under way is through.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        # of each that sends what is left, and when it can go on
        self._left: dict[int, tuple[Ask, int, float]] = {}
        self._sends, self._landed = 0, 0.0
        self.end = math.inf

    def begin(self, now: float, core: int, ask: Ask) -> None:
        """A core sends from now on."""
        self._left[core] = ask, ask.beats, now
        if len(self._left) == 1:
            self._turn(now)

    def _turn(self, now: float) -> None:
        """The next one's burst, if there is one."""
        self.end = math.inf
        if self._left:
            start = max(now, min(ready for _, _, ready in self._left.values()))
            self._sends = min(
                (core for core, (_, _, ready) in self._left.items() if ready <= start),
                key=lambda core: (core - self._sends - 1) % self._cores)
            ask, left, _ = self._left[self._sends]
            cycles = min(left, ask.burst)
            self.end, self._landed = start + cycles / LANDING, start + cycles

    def leave(self) -> Through:
        """A burst is through: whose, if it was the last one that was asked for."""
        core, now, landed = self._sends, self.end, self._landed
        ask, left, _ = self._left.pop(core)
        more = left > ask.burst
        if more:
            self._left[core] = ask, left - ask.burst, landed
        self._turn(now)
        return [] if more else [(core, ask)], round(landed), None


class Signals:
    """Those that come to the cores of a gang, in teams of so many ranks, and who waits for them."""

    def __init__(self, ranks: int) -> None:
        self._ranks = ranks
        self._came: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        self._stands: dict[int, Ask] = {}

    def tell(self, core: int, step: Step, last: int) -> Who:
        """The last beat of a core's step has moved; who may have waited for it."""
        f = step.fields
        if step.opcode is Opcode.XFER and not f["signal"]:
            return []
        first = core // self._ranks * self._ranks
        to = [first + rank for rank in range(f["to"].bit_length()) if f["to"] >> rank & 1]
        for each in to:
            self._came[each, f["counter"]].append(last + EXCHANGE_LATENCY)
        return [(each, self._stands.pop(each)) for each in to if each in self._stands]

    def heard(self, core: int, first: int, ask: Ask) -> int | None:
        """When a core has what it awaits; None if that is not on its way: then it stands there."""
        assert ask.step is not None
        f = ask.step.fields
        came = self._came[core, f["counter"]]
        if len(came) < f["threshold"]:
            self._stands[core] = ask
            return None
        return max([first, *came[:f["threshold"]][-1:]]) + ask.beats
