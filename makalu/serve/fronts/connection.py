# SPDX-License-Identifier: Apache-2.0
"""Connections of HTTP that nobody can hold: what uvicorn leaves without a bound has one here.

The bounds of a request's body are :class:`makalu.serve.fronts.body.Limits`.
"""

import asyncio
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with a timer for what the client owes: to take a reply, or else to send a
    head. Who breaks a bound is disconnected without a reply.

    Attributes
    ----------
    head_seconds : float
        Within which a request's head has to be there, from the connection's begin or the last
        reply on.
    head_bytes : int
        Of a head, at most, but for what comes together with its begin.
    reply_seconds : float
        Within which a client has to take a reply.
    most : int
        Connections at once.
    """

    head_seconds = 10.0
    head_bytes = 64 << 10
    reply_seconds = 30.0
    most = 512

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._head: int | None = None
        """Bytes of the head that arrives; None: there is none on its way."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.abort()
        else:
            self._owes(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, whoever made it."""
        self._owes(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Part of a head or of a body."""
        if self._head is not None:
            self._head += len(data)
        super().data_received(data)
        if self._head is not None and self._head > self.head_bytes:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """The first byte of a head."""
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head = None
        if not self.flow.write_paused:
            self._owes(None)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """The reply is written, as far as the client takes it."""
        another = bool(self.pipeline)
        super().on_response_complete()
        if not another and not self.flow.write_paused:
            self._owes(self.head_seconds)

    def pause_writing(self) -> None:
        """The client does not take the reply as fast as it is made."""
        super().pause_writing()
        self._owes(self.reply_seconds)

    def resume_writing(self) -> None:
        """It has taken the most of it."""
        super().resume_writing()
        self._owes(self.head_seconds if self.cycle.response_complete else None)

    def _owes(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(
            seconds, self.transport.abort)


def configuration(app: ASGIApp, protocol: type[Connection] = Connection) -> uvicorn.Config:
    """How uvicorn serves an application."""
    return uvicorn.Config(app, http=protocol, ws="none", log_config=None, access_log=False,
                          lifespan="on")
