# SPDX-License-Identifier: Apache-2.0
"""What a core of an accelerator has done."""

import time
from collections import deque

WINDOW = 1.0
"""Seconds over which the busy share is taken."""


class Use:
    """Counts what a core runs.

    Attributes
    ----------
    jobs : int
        Executions.
    seconds : float
        In which it ran something.
    program : str
        Hash of the program that ran last.
    """

    def __init__(self) -> None:
        self.jobs, self.seconds, self.program = 0, 0.0, ""
        self._ran: deque[tuple[float, float]] = deque()

    def add(self, begin: float, end: float, share: float, jobs: int, program: str) -> None:
        """Count executions, which took a share of the time between."""
        begin = end - share * (end - begin)
        self._ran.append((begin, end))
        self.jobs += jobs
        self.seconds += end - begin
        self.program = program

    @property
    def busy(self) -> float:
        """Share of the last second, 0 to 1."""
        since = time.monotonic() - WINDOW
        while self._ran and self._ran[0][1] < since:
            self._ran.popleft()
        return min(1.0, sum(end - max(begin, since) for begin, end in self._ran) / WINDOW)
