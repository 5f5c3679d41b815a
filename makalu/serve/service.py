# SPDX-License-Identifier: Apache-2.0
"""What every protocol talks to."""

from dataclasses import dataclass
from typing import Any

from makalu.serve.leases import Lease, Leases
from makalu.serve.requests import Reply, Request, Totals
from makalu.serve.tenants import Tenant
from runtime.ports import Port


@dataclass(frozen=True)
class Served:
    """A version of a model that is ready.

    Parameters
    ----------
    name, version : str
    program : str
        Hash of its program of the largest batch, hexadecimal.
    inputs, outputs : tuple of Port
        A first dimension of 0 takes any number of elements.
    batches : tuple of int
        Sizes that it is compiled for, ascending.
    cycles : dict of int to int
        Predicted, by batch.
    bytes : int
        DRAM that its programs hold on the device.
    config : str
        The machine.
    """

    name: str
    version: str
    program: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    batches: tuple[int, ...]
    cycles: dict[int, int]
    bytes: int
    config: str


@dataclass(frozen=True)
class Entry:
    """A version of a model in the repository: ``READY``, ``LOADING``, ``UNLOADED``, or
    ``UNAVAILABLE`` with the reason why it does not load."""

    name: str
    version: str
    state: str
    reason: str = ""


class Service:
    """Models, leases and accelerators behind all protocols. All methods run in one event loop."""

    leases: Leases

    def tenant(self, token: str | None) -> Tenant:
        """Who a token belongs to; ServeError NO_TOKEN."""
        raise NotImplementedError

    @property
    def ready(self) -> bool:
        """Whether every model that should be served is, every device answers, and the server is not
        draining."""
        raise NotImplementedError

    async def infer(self, tenant: Tenant, request: Request) -> Reply:
        """Answer a request; ServeError, and whoever waits may be cancelled."""
        raise NotImplementedError

    def model(self, tenant: Tenant, name: str, version: str = "") -> Served:
        """A model that is ready; ServeError NOT_FOUND, or DOWN while it loads or does not load."""
        raise NotImplementedError

    def totals(self, tenant: Tenant, name: str, version: str = "") -> dict[Served, Totals]:
        """What was served of a model (``name`` "": of all that the tenant sees)."""
        raise NotImplementedError

    def index(self, tenant: Tenant) -> list[Entry]:
        """All versions that the tenant sees, whatever their state."""
        raise NotImplementedError

    async def load(self, tenant: Tenant, name: str) -> None:
        """Read a model's folder again and serve what it has; returns when it is ready. ServeError
        FORBIDDEN, NOT_FOUND, BAD (does not compile: the sentence of the compiler), NO_MEMORY."""
        raise NotImplementedError

    async def unload(self, tenant: Tenant, name: str) -> None:
        """Stop serving a model; what waits for it is still answered. ServeError."""
        raise NotImplementedError

    async def attach(self, tenant: Tenant, terms: dict[str, Any]) -> Lease:
        """A new lease; without ``device`` on the least loaded one. ServeError."""
        raise NotImplementedError

    async def change(self, tenant: Tenant, id: str, changes: dict[str, Any]) -> Lease:
        """Resize or move a lease. ServeError."""
        raise NotImplementedError

    async def detach(self, tenant: Tenant, id: str) -> None:
        """End a lease, after what waits for it was answered. ServeError."""
        raise NotImplementedError

    def status(self, tenant: Tenant) -> dict[str, Any]:
        """Devices, leases, models and their numbers, for ``makalu ls``, ``top``, ``monitor`` and
        the page::

            {"time": s, "draining": bool,
             "devices": [{"name", "kind", "config", "mhz", "cores": [{"state", "pid", "restarts",
                          "program"}], "busy": share of the last second, "cycles", "waiting",
                          "executions"}],
             "leases": [Lease.json()],
             "models": [{"name", "version", "state", "reason", "program", "batches", "cycles",
                         "bytes", "answered", "failed", "elements"}]}
        """
        raise NotImplementedError
