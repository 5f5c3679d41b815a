# SPDX-License-Identifier: Apache-2.0
"""What is changed while requests run: leases, and the models that are served."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from makalu.serve.accelerator import Accelerator
from makalu.serve.admission import Admission
from makalu.serve.leases import Lease, Leases
from makalu.serve.models import Models
from makalu.serve.requests import Failure, ServeError
from makalu.serve.tenants import Tenant
from makalu.serve.terms import Terms


class Administration:
    """Changes leases and models.

    Parameters
    ----------
    leases : Leases
    admission : Admission
    models : Models
    accelerators : mapping of str to Accelerator
        By name.
    say : function
        Called with events for the log.
    """

    def __init__(self, leases: Leases, admission: Admission, models: Models,
                 accelerators: Mapping[str, Accelerator], say: Callable[..., None]):
        self._leases, self._admission, self._models = leases, admission, models
        self._accelerators, self._say = accelerators, say

    async def attach(self, tenant: Tenant, terms: dict[str, Any]) -> Lease:
        """A new lease; without ``device`` on the one with the smallest shares, of those that have
        the cores. ServeError."""
        chosen = {"device": self._least_loaded(terms.get("cores")), **terms}
        lease = self._leases.attach(tenant, Terms(chosen["device"]).changed(**chosen))
        self._changed("attach", lease)
        return lease

    def _least_loaded(self, cores: Any) -> str:
        def load(a: Accelerator) -> tuple[bool, float]:
            lacks = type(cores) is int and self._leases.spare(a.name) < cores
            return lacks, sum(x.terms.share for x in self._leases.on(a.name)) / a.hardware.cores
        return min(self._accelerators.values(), key=load).name

    async def change(self, tenant: Tenant, id: str, changes: dict[str, Any]) -> Lease:
        """Resize or move a lease: what waits goes with it. ServeError."""
        lease = self._leases.get(tenant, id)
        before = lease.terms.device
        self._leases.change(lease, **changes)
        if lease.terms.device != before:
            self._move(lease, self._accelerators[before], self._accelerators[lease.terms.device])
        self._changed("change", lease)
        return lease

    def _move(self, lease: Lease, old: Accelerator, new: Accelerator) -> None:
        """Take what waits to another device, compiled for that one."""
        parts = old.queues.take(lease)
        for part in parts:
            version = self._models.of(part.model)
            if version is not None:
                part.model = version.compiled[new.config]
            elif new.config != old.config:
                old.fail([part], ServeError(Failure.DOWN, f"model {part.model.name!r} was unloaded "
                                            "while the lease moved"))
        new.put(lease, [p for p in parts if not p.answer.done()])

    async def detach(self, tenant: Tenant, id: str) -> None:
        """End a lease, after what waits for it was answered. ServeError."""
        lease = self._leases.get(tenant, id)
        self._leases.close(lease)
        while lease.waiting:
            await asyncio.sleep(0.005)
        self._leases.detach(lease)
        self._admission.forget(lease)
        self._changed("detach", lease)

    def _changed(self, event: str, lease: Lease) -> None:
        """Log what happened to a lease, and have cores look at whom they serve."""
        facts = asdict(lease.shown())
        self._say(event, lease=facts.pop("id"), **facts)
        for accelerator in self._accelerators.values():
            accelerator.wake()

    async def load(self, tenant: Tenant, name: str, folder: Path | None = None) -> None:
        """Read a model's folder again, which may be another one in the repository than that of its
        name, and serve what it has; returns when it is ready. ServeError FORBIDDEN, NOT_FOUND, BAD
        (does not compile: the sentence of the compiler)."""
        _administers(tenant, name)
        if folder is not None:
            self._models.repository.link(name, folder)
        await self._models.load(name)

    async def unload(self, tenant: Tenant, name: str) -> None:
        """Stop serving a model; what waits for it is still answered. ServeError."""
        _administers(tenant, name)
        await self._models.unload(name)
        for lease in self._leases.all():
            lease.held = {k: v for k, v in lease.held.items() if not k.startswith(f"{name}/")}


def _administers(tenant: Tenant, name: str) -> None:
    if not tenant.sees(name):
        raise ServeError(Failure.NOT_FOUND, f"there is no model {name!r} in the repository")
    if not tenant.admin:
        raise ServeError(Failure.FORBIDDEN, f"tenant {tenant.name!r} may not load or unload "
                         "models: ask who runs the server")
