# SPDX-License-Identifier: Apache-2.0
"""Who asks, and for whom: what every REST handler gets."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import Depends, Request, Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from makalu.serve import requests
from makalu.serve.fronts import names
from makalu.serve.fronts.body import Gone
from makalu.serve.fronts.text import Texts
from makalu.serve.fronts.tokens import token
from makalu.serve.requests import Failure, Reply, ServeError
from makalu.serve.service import Service
from makalu.serve.tenants import Tenant

BEARER = HTTPBearer(auto_error=False, description="A token that `makalu token` made.")
"""Puts tokens into the OpenAPI description; :func:`caller` reads them."""


class Error(BaseModel):
    """Why a request is not answered."""

    error: str


ERRORS: dict[int | str, dict[str, Any]] = {
    **{f.http: {"model": Error, "description": f.name.lower().replace("_", " ")} for f in Failure},
    "default": {"model": Error, "description": "not answered"}}
"""Replies of every operation that is answered with :class:`Error`."""


@dataclass(frozen=True)
class Caller:
    """The tenant of a request, and what answers it."""

    service: Service
    texts: Texts
    tenant: Tenant
    http: Request

    def name(self, id: str = "") -> str:
        """The request's name; the protocol's own id is it, if the headers have none."""
        state = self.http.state
        if not state.given:
            state.given = names.given({}, id)
            state.request_id = state.given or state.request_id
        return state.request_id

    async def infer(self, request: requests.Request) -> Reply:
        """The service's answer; a client that leaves before it takes its request along."""
        answer = asyncio.ensure_future(self.service.infer(self.tenant, request))
        left = asyncio.ensure_future(_left(self.http))
        try:
            await asyncio.wait((answer, left), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise Gone
        finally:
            left.cancel()
            answer.cancel()


async def _left(http: Request) -> None:
    """Wait until the client closes its connection; what it sends until then is not read."""
    while (await http.receive())["type"] != "http.disconnect":
        pass


async def caller(http: Request, described: Annotated[Any, Depends(BEARER)]) -> Caller:
    """The caller that a token names; ServeError NO_TOKEN."""
    service, texts = cast(Service, http.app.state.service), http.app.state.texts
    return Caller(service, texts, service.tenant(token(http.headers.get("authorization"))), http)


Calling = Annotated[Caller, Depends(caller)]


def probe(http: Request) -> Response:
    """The reply to a probe, which has no token: ServeError DOWN unless the service is ready."""
    if not http.app.state.service.ready:
        raise ServeError(Failure.DOWN, "the server is starting, stopping, or without a device: try "
                         "again later", 1.0)
    return Response()


def headers(reply: Reply) -> dict[str, str]:
    """Which program answered."""
    return {"makalu-program": reply.program, "makalu-version": reply.version}
