# SPDX-License-Identifier: Apache-2.0
"""Leases, the state of the service, and its metrics."""

from dataclasses import fields
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import TypeAdapter, WithJsonSchema

from makalu.serve.fronts.caller import ERRORS, Calling
from makalu.serve.leases import Shown
from makalu.serve.requests import Failure, ServeError
from makalu.serve.terms import Terms

router = APIRouter(responses=ERRORS, tags=["Administration"])


def _described() -> dict[str, Any]:
    """JSON schema of the terms that a request may give, all of which it may leave out."""
    schema = TypeAdapter(Terms).json_schema()
    for f in fields(Terms):
        schema["properties"][f.name]["description"] = f"{f.metadata['about']} {f.metadata['must']}"
        schema["properties"][f.name].pop("default", None)
    return {**schema, "required": [], "additionalProperties": False,
            "description": "What is left out gets its default, or stays."}


Given = Annotated[dict[str, Any], WithJsonSchema(_described())]
"""Terms as they are sent; :class:`makalu.serve.terms.Terms` checks them."""


@router.get("/makalu/leases")
async def leases(by: Calling) -> list[Shown]:
    """The tenant's leases, or all for an administrator."""
    return [lease.shown() for lease in by.service.leases.visible(by.tenant)]


@router.post("/makalu/leases", status_code=201)
async def attach(by: Calling, terms: Given) -> Shown:
    """A new lease; without ``device`` on the least loaded one."""
    return (await by.service.attach(by.tenant, terms)).shown()


@router.patch("/makalu/leases/{id}")
async def change(by: Calling, id: str, changes: Given) -> Shown:
    """Resize a lease, or move it to another device; a null lifts a limit."""
    return (await by.service.change(by.tenant, id, changes)).shown()


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
