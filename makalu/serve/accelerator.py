# SPDX-License-Identifier: Apache-2.0
"""An accelerator: cores that take batches from its queues until it is closed."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from makalu.serve.core import Core, Died, Held, Link
from makalu.serve.leases import Lease
from makalu.serve.messages import Loaded, Ran
from makalu.serve.queues import Batch, Part, Piece, Queues
from makalu.serve.requests import Failure, ServeError

WINDOW = 1.0
"""Seconds over which the busy share is taken."""

PAUSE = 1.0
"""Seconds before a process that does not come up is tried again."""


@dataclass(frozen=True)
class Hardware:
    """An accelerator as it is asked for.

    Parameters
    ----------
    name : str
    device, config : str
        What :func:`makalu.api.open_device` opens for each core.
    cores : int
    mhz : float
        The clock that times are quoted at.
    limit : float
        Seconds that an execution may take.
    """

    name: str
    device: str
    config: str
    cores: int = 1
    mhz: float = 100.0
    limit: float = 600.0


class Accelerator:
    """A device of one or more cores.

    Parameters
    ----------
    hardware : Hardware
    begin : function of device and config
        Begins the process of a core.
    leases : function
        The leases that it has at the moment.
    seen : function of Batch and Ran
        Called after each execution.
    say : function of str and dict
        Called with events for the log.
    """

    def __init__(self, hardware: Hardware, begin: Callable[[str, str], Link], *,
                 leases: Callable[[], Iterable[Lease]], seen: Callable[[Batch, Ran], None],
                 say: Callable[..., None]):
        self.hardware, self.name, self.config = hardware, hardware.name, hardware.config
        self.cores = [Core(partial(begin, hardware.device, hardware.config), hardware.limit,
                           self.wake) for _ in range(hardware.cores)]
        self._leases, self._seen, self._say = leases, seen, say
        self._changed = asyncio.Event()
        self.queues = Queues(time.monotonic)
        self._idle = [asyncio.Lock() for _ in self.cores]
        self._tasks: list[asyncio.Task[None]] = []
        self._ran: deque[tuple[float, float]] = deque()
        self.cycles = self.executions = 0
        self.busy_seconds = 0.0

    async def start(self) -> None:
        """Start all cores; they take work from then on.

        Raises
        ------
        ServeError
            If one does not come up.
        """
        try:
            await asyncio.gather(*(core.start() for core in self.cores))
        except Died as e:
            raise ServeError(Failure.BROKEN, f"device {self.name!r} does not start: {e}") from None
        self._tasks = [asyncio.create_task(self._work(k)) for k in range(len(self.cores))]

    async def close(self) -> None:
        """Stop taking work, and end the processes; what waits is failed."""
        for task in self._tasks:
            task.cancel()
        for core in self.cores:
            core.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lease in self._leases():
            self.fail(self.queues.take(lease), ServeError(Failure.DOWN, "the server stops"))

    @property
    def ready(self) -> bool:
        """Whether every core has its process."""
        return all(core.ready for core in self.cores)

    @property
    def busy(self) -> float:
        """Share of the last second in which its cores ran something, 0 to 1."""
        since = time.monotonic() - WINDOW
        while self._ran and self._ran[0][1] < since:
            self._ran.popleft()
        return min(1.0, sum(end - max(begin, since) for begin, end in self._ran)
                   / WINDOW / len(self.cores))

    def put(self, lease: Lease, parts: Iterable[Part], first: bool = False) -> None:
        """Queue what a lease wants to have run."""
        self.queues.put(lease, parts, first)
        self.wake()

    def wake(self) -> None:
        """Have idle cores look again: leases or queues have changed."""
        self._changed.set()

    @staticmethod
    def fail(parts: Iterable[Part], why: ServeError) -> None:
        """Answer parts with an error."""
        for part in parts:
            if not part.answer.done():
                part.answer.set_exception(why)

    async def load(self, program: Held) -> Loaded:
        """Have every core take a program, between executions."""
        found = [await self._alone(k, lambda core: core.load(program))
                 for k in range(len(self.cores))]
        return found[0]

    async def drop(self, program: str) -> None:
        """Have every core forget a program."""
        for k in range(len(self.cores)):
            await self._alone(k, lambda core: core.drop(program))

    async def _alone(self, k: int, what: Callable[[Core], Any]) -> Any:
        """Something that a core does between two executions, tried again once if it dies."""
        async with self._idle[k]:
            try:
                return await what(self.cores[k])
            except Died as e:
                await self._revive(k, e)
            try:
                return await what(self.cores[k])
            except Died as e:
                await self._revive(k, e)
                raise ServeError(Failure.BROKEN, f"device {self.name!r}: {e}") from None

    def _serves(self, k: int, lease: Lease) -> bool:
        """Whether a core is one of a lease's: those with cores of their own have the first ones, in
        the order of the leases, and the others share the rest."""
        first = 0
        for other in self._leases():
            if other.terms.cores:
                if other is lease:
                    return first <= k < first + other.terms.cores
                first += other.terms.cores
        return k >= first

    async def _work(self, k: int) -> None:
        while True:
            async with self._idle[k]:
                if not self.cores[k].ready:
                    await self._revive(k, Died("the process died with nothing to do"))
                batch, due = self.queues.next(lambda lease: self._serves(k, lease))
                if batch is not None:
                    await self._run(k, batch)
            if batch is None:
                await self._wait(due)

    async def _wait(self, due: float | None) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if due is None else max(0, due - time.monotonic())):
                await self._changed.wait()

    async def _run(self, k: int, batch: Batch) -> None:
        """Run a batch. If the process dies, what is in it is queued again, once."""
        core, begin = self.cores[k], time.monotonic()
        try:
            ran = await core.run(batch.model.programs[batch.size], batch.lease.tenant.name,
                                 batch.inputs())
            end = time.monotonic()
            self._ran.append((begin, end))
            self.busy_seconds += end - begin
            self._account(batch, ran)
            _answer(batch, ran)
        except ServeError as e:
            self._say("fault", device=self.name, model=batch.model.name, error=str(e))
            self.fail(batch.parts, e)
        except Died as e:
            self._again(batch)
            await self._revive(k, e)
        except Exception as e:      # the core goes on, whatever is wrong with this batch
            self._say("error", device=self.name, model=batch.model.name, error=repr(e))
            self.fail(batch.parts, ServeError(Failure.BROKEN, f"the server failed: {e!r}"))

    def _again(self, batch: Batch) -> None:
        for part in batch.parts:
            part.deaths += 1
        self.fail([p for p in batch.parts if p.deaths > 1], ServeError(
            Failure.DOWN, f"the process of device {self.name!r} died twice over this request: try "
            "again later", retry_after=1.0))
        self.put(batch.lease, [p for p in batch.parts if p.deaths == 1], first=True)

    def _account(self, batch: Batch, ran: Ran) -> None:
        cycles = ran.cycles or batch.cost.cycles
        self.cycles += cycles
        self.executions += 1
        batch.lease.cycles += cycles
        batch.lease.elements += batch.elements
        self._seen(batch, ran)

    async def _revive(self, k: int, why: Exception) -> None:
        """Start a core's process again, as often as it takes."""
        while True:
            self._say("restart", device=self.name, core=k, error=str(why))
            try:
                await self.cores[k].restart()
                return
            except Died as e:
                why = e
                await asyncio.sleep(PAUSE)


def _answer(batch: Batch, ran: Ran) -> None:
    """Give each part its elements of the outputs, and its share of the cycles."""
    at = 0
    for part in batch.parts:
        piece = ran.outputs if len(batch.parts) == 1 else {
            name: v[at:at + part.elements] for name, v in ran.outputs.items()}
        at += part.elements
        cycles = (ran.cycles or batch.cost.cycles) * part.elements // batch.elements
        if not part.answer.done():
            part.answer.set_result(Piece(piece, cycles, ran.seconds, ran.program))
