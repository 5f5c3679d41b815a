# SPDX-License-Identifier: Apache-2.0
"""Leases, the state of the service, and its metrics."""

from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from makalu.serve.fronts.caller import ERRORS, Calling
from makalu.serve.leases import QUEUE, Lease
from makalu.serve.requests import Failure, ServeError

router = APIRouter(responses=ERRORS, tags=["Administration"])


class Terms(BaseModel):
    """What a lease is of; what is left out stays, or gets its default."""

    model_config = ConfigDict(strict=True, extra="forbid")

    device: str = ""
    share: float = 1.0
    cores: int = 0
    priority: int = 0
    rate: float | None = None
    memory_bytes: int | None = None
    queue: int = QUEUE

    def given(self) -> dict[str, Any]:
        """The terms that were sent; a null is, too: it lifts a limit."""
        return self.model_dump(exclude_unset=True)


class LeaseReply(BaseModel):
    """A lease and what it has used."""

    id: str
    tenant: str
    device: str
    share: float
    cores: int
    priority: int
    rate: float | None
    memory_bytes: int | None
    queue: int
    cycles: int
    elements: int
    waiting: int
    held_bytes: int


def _said(lease: Lease) -> LeaseReply:
    return LeaseReply(**lease.json())


@router.get("/makalu/leases")
async def leases(by: Calling) -> list[LeaseReply]:
    """The tenant's leases, or all for an administrator."""
    return [_said(lease) for lease in by.service.leases.visible(by.tenant)]


@router.post("/makalu/leases", status_code=201)
async def attach(by: Calling, terms: Terms) -> LeaseReply:
    """A new lease; without ``device`` on the least loaded one."""
    return _said(await by.service.attach(by.tenant, terms.given()))


@router.patch("/makalu/leases/{id}")
async def change(by: Calling, id: str, changes: Terms) -> LeaseReply:
    """Resize a lease, or move it to another device."""
    return _said(await by.service.change(by.tenant, id, changes.given()))


@router.delete("/makalu/leases/{id}", status_code=204)
async def detach(by: Calling, id: str) -> Response:
    """End a lease, after what waits for it was answered."""
    await by.service.detach(by.tenant, id)
    return Response(status_code=204)


@router.get("/makalu/status")
async def status(by: Calling) -> dict[str, Any]:
    """Devices, leases, models and their numbers."""
    return by.service.status(by.tenant)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(by: Calling) -> Response:
    """Everybody's numbers for Prometheus, which an administrator's token reads."""
    if not by.tenant.admin:
        raise ServeError(Failure.FORBIDDEN, "metrics are of all tenants: give Prometheus an "
                         "administrator's token, or read /makalu/status")
    return Response(by.http.app.state.metrics(),
                    media_type="text/plain; version=0.0.4; charset=utf-8")
