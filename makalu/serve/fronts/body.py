# SPDX-License-Identifier: Apache-2.0
"""What is done with every HTTP request, whatever its protocol: it gets a name, its body arrives
within bounds, and whatever fails becomes a reply."""

import asyncio
import logging
import zlib
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from makalu.serve.fronts import errors, names
from makalu.serve.fronts.tensors import bad
from makalu.serve.fronts.tokens import token
from makalu.serve.log import say
from makalu.serve.requests import Failure, ServeError
from makalu.serve.service import Service

log = logging.getLogger(__name__)

WINDOWS = {"gzip": 31, "deflate": 15}
"""zlib's parameter by the name of a content's coding."""


@dataclass(frozen=True)
class Limits:
    """Of a request's body.

    Parameters
    ----------
    body_bytes : int
        At most, also after it is decompressed.
    body_seconds : float
        Within which it has to arrive.
    """

    body_bytes: int = 64 << 20
    body_seconds: float = 30.0


class Gone(Exception):
    """The client closed the connection."""


class Guard:
    """ASGI middleware around all protocols.

    Parameters
    ----------
    app : ASGI application
    service : Service
        Who has no token of it sends no body.
    limits : Limits
    """

    def __init__(self, app: ASGIApp, service: Service, limits: Limits):
        self._app, self._service, self._limits = app, service, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["given"] = names.given(headers)
        state["request_id"] = state["given"] or names.fresh()
        status, reason = 0, ""

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (
                    names.HEADER.encode(), state["request_id"].encode())]
            await send(message)

        try:
            body = await self._body(headers, receive)
            await self._app(scope, _again(body, receive), named)
        except Gone:
            return
        except ServeError as e:
            await errors.reply(scope["path"], e)(scope, receive, named)
            if e.logged:
                return
            reason = str(e)
        except Exception:
            name = state["request_id"]
            log.exception("request %s failed", name)
            if status:      # nothing can be taken back: the connection ends
                raise
            hidden = ServeError(Failure.BROKEN, f"the server failed at request {name}; its log "
                                "says where: send this name to who runs it")
            await errors.reply(scope["path"], hidden)(scope, receive, named)
            reason = "see the traceback"
        if status >= 400:
            say("refused", id=state["request_id"], method=scope["method"], path=scope["path"],
                status=status, reason=reason)

    async def _body(self, headers: Headers, receive: Receive) -> bytes | None:
        """The whole body, decompressed; None if the request has none."""
        length = int(headers.get("content-length", "0"))
        if not length and "transfer-encoding" not in headers:
            return None
        self._service.tenant(token(headers.get("authorization")))
        if length > self._limits.body_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                body = await self._read(receive)
        except TimeoutError:
            raise ServeError(Failure.SLOW, "the body did not arrive within "
                             f"{self._limits.body_seconds:g} s; send it faster") from None
        coding = headers.get("content-encoding", "identity").strip().lower()
        if coding == "identity":
            return body
        if coding not in WINDOWS:
            raise bad(f"the body is coded as {coding!r}; send gzip, deflate, or no "
                      "Content-Encoding")
        return await asyncio.to_thread(self._decompressed, body, coding)

    async def _read(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._limits.body_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                return b"".join(parts)

    def _decompressed(self, body: bytes, coding: str) -> bytes:
        stream = zlib.decompressobj(WINDOWS[coding])
        try:
            plain = stream.decompress(body, self._limits.body_bytes + 1)
        except zlib.error as e:
            raise bad(f"the body is not {coding} as its Content-Encoding says ({e}); send it so, "
                      "or drop the header") from None
        if len(plain) > self._limits.body_bytes:
            raise self._too_large()
        if not stream.eof:
            raise bad(f"the body ends within its {coding}; send all of it")
        return plain

    def _too_large(self) -> ServeError:
        return ServeError(Failure.TOO_LARGE, "the body is larger than "
                          f"{self._limits.body_bytes} bytes; send fewer elements in a request")


def _again(body: bytes | None, receive: Receive) -> Receive:
    """``receive`` with the body that was read already."""
    if body is None:
        return receive
    left = [body]

    async def first() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()
    return first
