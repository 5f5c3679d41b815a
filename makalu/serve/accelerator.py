# SPDX-License-Identifier: Apache-2.0
"""An accelerator: cores, or a chip of them, that take batches from its queues until it is closed.

::

    a device for each core     lane k: the process of core k, and a batch on it
    a chip                     lane k: job queue k of the one process, and a batch on all the cores
                               of the lease that has the queue
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from isa.chip import CHIPS, ChipConfig
from makalu.serve.company import Company
from makalu.serve.ground import Ground
from makalu.serve.lane import Died, Held, Joint, Lane, Link
from makalu.serve.leases import Lease
from makalu.serve.messages import Loaded, Ran
from makalu.serve.queues import Batch, Part, Piece, Queues
from makalu.serve.requests import Failure, ServeError
from makalu.serve.use import Use

PAUSE = 1.0
"""Seconds before a process that does not come up is tried again."""


@dataclass(frozen=True)
class Hardware:
    """An accelerator as it is asked for.

    Parameters
    ----------
    name : str
    device, config : str
        What :func:`makalu.api.open_device` opens for each core, or the name of a chip.
    cores : int
        Of a chip: how many of its cores are used, from the first one on.
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

    def __post_init__(self) -> None:
        if self.chip and not 1 <= self.cores <= self.chip.cores:
            raise ServeError(Failure.BAD, f"chip {self.device!r} has {self.chip.cores} cores: use "
                             f"1 to {self.chip.cores}, not {self.cores}")

    @property
    def chip(self) -> ChipConfig | None:
        """The chip that it is."""
        return CHIPS.get(self.device)

    @property
    def queues(self) -> int:
        """Groups of cores that can work at the same time."""
        return min(self.cores, self.chip.queues) if self.chip else self.cores


Begin = Callable[[str, str, int], Sequence[Link]]
"""Begins the process of a device, given with its configuration, and gives so many links to it."""


class Accelerator:
    """A device of one or more cores.

    Parameters
    ----------
    hardware : Hardware
    begin : Begin
    ground : Ground
        Which cores each lease has.
    leases : function
        The leases that it has at the moment.
    seen : function of Batch and Ran
        Called after each execution.
    say : function of str and dict
        Called with events for the log.
    """

    def __init__(self, hardware: Hardware, begin: Begin, *, ground: Ground,
                 leases: Callable[[], Iterable[Lease]], seen: Callable[[Batch, Ran], None],
                 say: Callable[..., None]):
        self.hardware, self.name, self.config = hardware, hardware.name, hardware.config
        one = partial(begin, hardware.device, hardware.config)
        self._processes = ([Joint(partial(one, hardware.queues))] if hardware.chip else
                           [Joint(partial(one, 1)) for _ in range(hardware.cores)])
        self.lanes = [Lane(partial(process.link, k), hardware.limit, self.wake)
                      for process in self._processes
                      for k in range(hardware.queues if hardware.chip else 1)]
        self.uses = [Use() for _ in range(hardware.cores)]
        self.ground, self._leases, self._seen, self._say = ground, leases, seen, say
        self._changed = asyncio.Event()
        self.queues = Queues(time.monotonic)
        self._idle = [asyncio.Lock() for _ in self.lanes]
        self._tasks: list[asyncio.Task[None]] = []
        self._taken: set[int] = set()
        self._company = Company()
        self.cycles = self.executions = 0

    async def start(self) -> None:
        """Start all cores; they take work from then on.

        Raises
        ------
        ServeError
            If one does not come up.
        """
        try:
            await asyncio.gather(*(lane.start() for lane in self.lanes))
        except Died as e:
            raise ServeError(Failure.BROKEN, f"device {self.name!r} does not start: {e}") from None
        self._tasks = [asyncio.create_task(self._work(k)) for k in range(len(self.lanes))]

    async def close(self) -> None:
        """Stop taking work, and end the processes; what waits is failed."""
        for task in self._tasks:
            task.cancel()
        for lane in self.lanes:
            lane.close()
        for process in self._processes:
            process.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lease in self._leases():
            self.fail(self.queues.take(lease), ServeError(Failure.DOWN, "the server stops"))

    @property
    def ready(self) -> bool:
        """Whether every core has its process."""
        return all(lane.ready for lane in self.lanes)

    @property
    def together(self) -> int:
        """Cores that can work on one execution: those of a chip."""
        return self.hardware.cores if self.hardware.chip else 1

    @property
    def busy(self) -> float:
        """Share of the last second in which its cores ran something, 0 to 1."""
        return sum(use.busy for use in self.uses) / len(self.uses)

    @property
    def busy_seconds(self) -> float:
        """Of all cores together."""
        return sum(use.seconds for use in self.uses)

    @property
    def restarts(self) -> int:
        """Processes that were started again."""
        return sum(max(0, process.begun - 1) for process in self._processes)

    def lane(self, core: int) -> Lane:
        """What a core is asked through."""
        if not self.hardware.chip:
            return self.lanes[core]
        return self.lanes[self.ground.of(self.ground.owner(core)).queue]

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
        """Have every lane take a program, between executions."""
        found = [await self._alone(k, lambda lane: lane.load(program))
                 for k in range(len(self.lanes))]
        return found[0]

    async def drop(self, program: str) -> None:
        """Have every lane forget a program."""
        for k in range(len(self.lanes)):
            await self._alone(k, lambda lane: lane.drop(program))

    async def _alone(self, k: int, what: Callable[[Lane], Any]) -> Any:
        """Something that a lane does between two executions, tried again once if it dies."""
        async with self._idle[k]:
            try:
                return await what(self.lanes[k])
            except Died as e:
                await self._revive(k, e)
            try:
                return await what(self.lanes[k])
            except Died as e:
                await self._revive(k, e)
                raise ServeError(Failure.BROKEN, f"device {self.name!r}: {e}") from None

    def _cores(self, k: int, lease: Lease) -> tuple[int, ...]:
        """The cores on which a lane can run a batch of a lease now."""
        place = self.ground.of(lease.id)
        if not self.hardware.chip:
            return (k,) if k in place.cores else ()
        return place.cores if place.queue == k and self._taken.isdisjoint(place.cores) else ()

    async def _work(self, k: int) -> None:
        while True:
            async with self._idle[k]:
                await self._there(k)
                batch, due = self.queues.next(lambda lease: len(self._cores(k, lease)))
                if batch is not None:
                    await self._dispatch(k, batch, self._cores(k, batch.lease))
            if batch is None:
                await self._wait(due)

    async def _wait(self, due: float | None) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if due is None else max(0, due - time.monotonic())):
                await self._changed.wait()

    async def _dispatch(self, k: int, batch: Batch, cores: tuple[int, ...]) -> None:
        """Run a batch. What was in the process of a chip when that died is the only one there, so
        that what killed it takes no other lease's batch along twice."""
        self._taken.update(cores)
        try:
            alone = bool(self.hardware.chip and batch.parts[0].deaths)
            async with self._company.alone() if alone else self._company.among_others():
                await self._there(k)        # others may have ended it meanwhile
                await self._run(k, batch, cores)
        finally:
            self._taken.difference_update(cores)
            self.wake()

    async def _run(self, k: int, batch: Batch, cores: tuple[int, ...]) -> None:
        """Run a batch. If the process dies, what is in it is queued again, once."""
        begin = time.monotonic()
        try:
            ran = await self.lanes[k].run(batch.model.programs[batch.size],
                                          batch.lease.tenant.name, batch.inputs(), cores)
            self._account(batch, ran, begin, cores)
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

    def _account(self, batch: Batch, ran: Ran, begin: float, cores: tuple[int, ...]) -> None:
        """Count what was run; of a chip's cores the one with most cycles was busy all the time."""
        cycles = ran.cycles or batch.cycles
        self.cycles += cycles
        self.executions += batch.executions
        batch.lease.cycles += cycles
        batch.lease.elements += batch.elements
        each: dict[int, list[int]] = {}
        for core, took in ran.executions:
            each.setdefault(core if self.hardware.chip else cores[0], []).append(took)
        most = max(map(sum, each.values()), default=0)
        for core, jobs in each.items():
            self.uses[core].add(begin, time.monotonic(), sum(jobs) / most if most else 1.0,
                                len(jobs), ran.program)
        self._seen(batch, ran)

    async def _there(self, k: int) -> None:
        """Have a process that a lane is not using."""
        if not self.lanes[k].ready:
            await self._revive(k, Died("the process died with nothing to do"))

    async def _revive(self, k: int, why: Exception) -> None:
        """Start a lane's process again, as often as it takes."""
        while True:
            self._say("restart", device=self.name, lane=k, error=str(why))
            try:
                await self.lanes[k].restart()
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
        cycles = (ran.cycles or batch.cycles) * part.elements // batch.elements
        if not part.answer.done():
            part.answer.set_result(Piece(piece, cycles, ran.seconds, ran.program))
