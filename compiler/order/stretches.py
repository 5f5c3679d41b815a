# SPDX-License-Identifier: Apache-2.0
"""What has happened to every word, as stretches of words to which the same has happened.

A program touches few boxes many times, so that there are far fewer stretches than words, and an
access costs what it touches.
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import Generic, TypeVar

from compiler.machine.steps import SPM
from isa.instructions import Region

DRAM_GRAIN = 64
"""Bytes of DRAM that are tracked as one."""

TRACKED = (SPM, Region.WORKSPACE, Region.OUTPUT)
"""Spaces in which something is written and read again. In a gang each rank has a scratchpad."""

T = TypeVar("T")


class Stretches(Generic[T]):
    """A state for every word of a space.

    Parameters
    ----------
    space : int
        One of :data:`TRACKED`; of another rank than 0 the scratchpad is ``SPM - rank``.
    fresh : T
        The state of a word that nobody has touched.
    copy : function
        A state that changes independently of the one given, where a stretch is cut in two.
    """

    def __init__(self, space: int, fresh: T, copy: Callable[[T], T]):
        self._grain = 1 if space <= SPM else DRAM_GRAIN
        self._starts = [0]
        self._copy = copy
        self.states = [fresh]

    def span(self, start: int, end: int) -> slice:
        """Positions in :attr:`states` of the words (of DRAM: bytes) ``start … end - 1``."""
        low = self._cut(start // self._grain, 0)
        return slice(low, self._cut(-(-end // self._grain), low))

    def _cut(self, at: int, low: int) -> int:
        """The stretch that starts at a word; it is none of those before ``low``."""
        starts = self._starts
        i = bisect_left(starts, at, low)
        if i == len(starts) or starts[i] != at:
            starts.insert(i, at)
            self.states.insert(i, self._copy(self.states[i - 1]))
        return i

    def join(self, span: slice, state: T) -> None:
        """Make one stretch of a span."""
        self._starts[span] = [self._starts[span.start]]
        self.states[span] = [state]
