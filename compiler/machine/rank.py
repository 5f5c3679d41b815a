# SPDX-License-Identifier: Apache-2.0
"""The program of a core of a gang on the model of time, whose memory is behind a chip's hub.

Instruction fetch, LOAD and STORE have ways of their own there, none of which waits for another one.
Instructions come in blocks, so many of them ahead as the core's buffer has room for; the next LOAD
asks when all bursts of the one before have been asked for, whether or not their data have come.
"""

from bisect import bisect_left
from itertools import accumulate

from compiler.machine.bursts import bursts_of_block
from compiler.machine.running import Ask, Running
from compiler.machine.steps import Step
from compiler.machine.timing import FETCH_AGAIN, FETCH_LATENCY, HUB_LATENCY
from isa.config import Config
from isa.instructions import FETCH_BYTES

FETCH = "fetch"
"""The line of the blocks of instructions."""

AHEAD = 8
"""Blocks of instructions that are read ahead."""


class Rank(Running):
    """A program of a gang, under way; ``code``: where its instructions are in their region."""

    HUB = True

    def __init__(self, steps: list[Step], config: Config, code: int):
        super().__init__(steps, config)
        self._code = code
        self._block = FETCH_BYTES // config.bus_bytes
        self._ends = list(accumulate(self._beats))  # beats of code, after each
        code = self._ends[-1] if steps else 0
        # whoever reads ahead of an instruction does not know that it is the last one
        self._lines[FETCH] = list(range(code // self._block + AHEAD))
        self._head[FETCH], self._asked[FETCH] = 0, False
        self._came: list[int] = []      # when the last beat of each block has moved
        self._first = FETCH_LATENCY + HUB_LATENCY   # when the next block could come

    @staticmethod
    def _line(step: Step) -> str:
        return step.queue

    def answer(self, ask: Ask, last: int, asked: int | None = None) -> list[Ask]:
        """See :meth:`compiler.machine.running.Running.answer`."""
        if ask.line != FETCH:
            return super().answer(ask, last, asked)
        self._asked[FETCH] = False
        self._head[FETCH] += 1
        self._came.append(last)
        return self._go_on()

    def _dispatch(self) -> bool:
        """Read what has come and the queues have room for: whether there is anything."""
        before = len(self._dispatched)
        while (i := len(self._dispatched)) < len(self._steps):
            block, beat = divmod(self._ends[i] - 1, self._block)
            if block >= len(self._came) or not self._machine.room(self._steps[i]):
                break
            self._dispatched.append(self._machine.dispatch(
                self._steps[i], self._beats[i], self._came[block] - (self._block - 1 - beat)))
        return len(self._dispatched) > before

    def _next(self, line: str) -> tuple[bool, Ask | None]:
        if line != FETCH:
            return super()._next(line)
        block = self._head[FETCH]
        if block >= AHEAD:      # behind the last instruction that begins where it goes
            i = bisect_left(self._ends, (block - AHEAD + 1) * self._block)
            if i >= len(self._dispatched):
                return False, None
            self._first = max(self._first, self._dispatched[i] + FETCH_LATENCY + HUB_LATENCY)
        first, self._first = self._first, self._first + FETCH_AGAIN
        return True, Ask(first, self._block, together=True, line=FETCH,
                         bursts=bursts_of_block(self._code, block, self._config))
