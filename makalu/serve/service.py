# SPDX-License-Identifier: Apache-2.0
"""What every protocol talks to."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from makalu.serve.accelerator import Accelerator, Begin, Hardware
from makalu.serve.administration import Administration
from makalu.serve.admission import Admission
from makalu.serve.ground import Ground
from makalu.serve.inference import Inference
from makalu.serve.leases import Lease, Leases
from makalu.serve.messages import Ran
from makalu.serve.models import Models
from makalu.serve.process import Process
from makalu.serve.queues import Batch
from makalu.serve.repository import Repository
from makalu.serve.requests import Record, Reply, Request, Totals
from makalu.serve.tenants import Tenant, Tenants
from makalu.serve.terms import Terms
from makalu.serve.view import Entry, Served, View


class Service:
    """Models, leases and accelerators behind all protocols. All methods run in one event loop.

    Parameters
    ----------
    folder : Path
        The model repository.
    hardware : sequence of Hardware
    tenants : Tenants
    poll : float
        Seconds between two looks at the repository; 0: only when asked.
    say : function of str and keywords
        Called with events for the log.
    seen : function of Batch and Ran
        Called after each execution, for metrics.
    answered : function of Record
        Called after each request, for the log and metrics.
    begin : Begin
        Begins the process of a device: here, or elsewhere.
    """

    def __init__(self, folder: Path, hardware: Sequence[Hardware], tenants: Tenants | None = None,
                 poll: float = 0.0, say: Callable[..., None] = lambda event, **facts: None,
                 seen: Callable[[Batch, Ran], None] = lambda batch, ran: None,
                 answered: Callable[[Record], None] = lambda record: None,
                 begin: Begin = Process.begin):
        self.tenants = tenants or Tenants()
        grounds = {h.name: Ground(h.cores, h.queues) for h in hardware}
        self.leases = Leases(grounds)
        self.accelerators: Mapping[str, Accelerator] = {
            h.name: Accelerator(h, begin, ground=grounds[h.name],
                                leases=lambda name=h.name: self.leases.on(name),  # type: ignore[misc]
                                seen=self._ran, say=say) for h in hardware}
        self.models = Models(Repository(folder), self.accelerators, say)
        admission = Admission(self.leases)
        self._inference = Inference(self.leases, admission, self.models, self.accelerators,
                                    answered)
        self._administration = Administration(self.leases, admission, self.models,
                                              self.accelerators, say)
        self._view = View(self.leases, self.models, self.accelerators)
        self._started = False
        self._poll, self._say, self._seen = poll, say, seen
        self._polling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the devices, load the models, and give every tenant a first lease."""
        await asyncio.gather(*(a.start() for a in self.accelerators.values()))
        first = next(iter(self.accelerators))
        for tenant in self.tenants.all:
            if tenant.leases and tenant.shares:
                self.leases.attach(tenant, Terms(first, share=min(1.0, tenant.shares)))
        await self.models.refresh()
        self._started = True
        if self._poll:
            self._polling = asyncio.create_task(self._look())

    async def drain(self, seconds: float) -> None:
        """Take nothing new, and wait until everything is answered, or for so many seconds."""
        self._inference.draining = True
        end = time.monotonic() + seconds
        while self._inference.open and time.monotonic() < end:
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """End the device processes; what still waits is failed."""
        if self._polling:
            self._polling.cancel()
        await asyncio.gather(*(a.close() for a in self.accelerators.values()))

    @property
    def ready(self) -> bool:
        """Whether it has started, every device answers, and it is not draining."""
        return (self._started and not self._inference.draining
                and all(a.ready for a in self.accelerators.values()))

    def tenant(self, token: str | None) -> Tenant:
        """Who a token belongs to; ServeError NO_TOKEN."""
        return self.tenants.of(token)

    async def infer(self, tenant: Tenant, request: Request) -> Reply:
        """See :meth:`makalu.serve.inference.Inference.answer`."""
        return await self._inference.answer(tenant, request)

    def model(self, tenant: Tenant, name: str, version: str = "") -> Served:
        """See :meth:`makalu.serve.view.View.model`."""
        return self._view.model(tenant, name, version)

    def totals(self, tenant: Tenant, name: str = "", version: str = "") -> dict[Served, Totals]:
        """See :meth:`makalu.serve.view.View.totals`."""
        return self._view.totals(tenant, name, version)

    def index(self, tenant: Tenant) -> list[Entry]:
        """See :meth:`makalu.serve.view.View.index`."""
        return self._view.index(tenant)

    def status(self, tenant: Tenant) -> dict[str, Any]:
        """See :meth:`makalu.serve.view.View.status`, and whether it is ``draining``."""
        return {**self._view.status(tenant), "draining": self._inference.draining}

    async def load(self, tenant: Tenant, name: str, folder: Path | None = None) -> None:
        """See :meth:`makalu.serve.administration.Administration.load`."""
        await self._administration.load(tenant, name, folder)

    async def unload(self, tenant: Tenant, name: str) -> None:
        """See :meth:`makalu.serve.administration.Administration.unload`."""
        await self._administration.unload(tenant, name)

    async def attach(self, tenant: Tenant, terms: dict[str, Any]) -> Lease:
        """See :meth:`makalu.serve.administration.Administration.attach`."""
        return await self._administration.attach(tenant, terms)

    async def change(self, tenant: Tenant, id: str, changes: dict[str, Any]) -> Lease:
        """See :meth:`makalu.serve.administration.Administration.change`."""
        return await self._administration.change(tenant, id, changes)

    async def detach(self, tenant: Tenant, id: str) -> None:
        """See :meth:`makalu.serve.administration.Administration.detach`."""
        await self._administration.detach(tenant, id)

    def _ran(self, batch: Batch, ran: Ran) -> None:
        version = self.models.of(batch.model)
        if version is not None:
            version.count(elements=batch.elements, executions=batch.executions,
                          cycles=ran.cycles or batch.cycles)
        self._seen(batch, ran)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._poll)
            try:
                await self.models.refresh()
            except OSError as e:    # a folder that somebody is just changing
                self._say("poll", error=str(e))
