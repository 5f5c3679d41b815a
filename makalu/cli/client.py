# SPDX-License-Identifier: Apache-2.0
"""A server that runs, as commands ask it: by HTTP, with the standard library alone."""

import functools
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import click

from isa.errors import UserError

URL = "http://127.0.0.1:8080"

LOOPBACK = ("localhost", "127.0.0.1", "::1")

SECONDS = 30.0
"""A server that does not answer for so long is not there."""


class NoServer(UserError, RuntimeError):
    """Nothing at the address answers as a server does."""


class Refused(UserError, RuntimeError):
    """The server does not do what it is asked for; the sentence is its own."""


class Server:
    """Asks a server.

    Parameters
    ----------
    url : str
        As ``http://127.0.0.1:8080``.
    token : str
        The tenant's; "": none.
    """

    def __init__(self, url: str, token: str):
        host = urlsplit(url).hostname
        if not host or urlsplit(url).scheme not in ("http", "https"):
            raise NoServer(f"{url!r} is no address of a server: give one as {URL}")
        self.url, self._token = url.rstrip("/"), token
        # None: the proxies of the environment
        proxies: dict[str, str] | None = {} if host in LOOPBACK else None
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))

    def ask(self, path: str, method: str = "GET", body: dict[str, Any] | None = None) -> Any:
        """The JSON of a reply; None if it has none.

        Raises
        ------
        NoServer, Refused
        """
        headers = {"Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(
            self.url + path, None if body is None else json.dumps(body).encode(), headers,
            method=method)
        try:
            with self._opener.open(request, timeout=SECONDS) as reply:
                text = reply.read()
            return json.loads(text) if text else None
        except urllib.error.HTTPError as e:
            with e:
                raise Refused(self._reason(e.code, e.read())) from None
        except (OSError, HTTPException, ValueError) as e:
            why = getattr(e, "reason", None) or e
            raise NoServer(f"no server answers at {self.url} ({why}): start one with makalu serve "
                           "FOLDER, or name another with --server or MAKALU_SERVER") from None

    def status(self) -> dict[str, Any]:
        """What ``/makalu/status`` says."""
        return self.ask("/makalu/status")

    def _reason(self, code: int, text: bytes) -> str:
        try:
            said = str(json.loads(text)["error"])
        except (ValueError, KeyError, TypeError):
            return (f"what answers at {self.url} is no server of Makalu (HTTP {code}): name another"
                    " with --server or MAKALU_SERVER")
        return f"{said}; here that is --token, or MAKALU_TOKEN" if code == 401 else said


def server_options(f: Callable[..., Any]) -> Callable[..., Any]:
    """The options that name a server, which the command gets as ``server``."""
    @functools.wraps(f)
    def command(*, url: str, token: str, **others: Any) -> Any:
        return f(server=Server(url, token), **others)

    for option in (
            click.option("--token", envvar="MAKALU_TOKEN", default="", metavar="TOKEN",
                         help="The tenant's token.  [default: MAKALU_TOKEN]"),
            click.option("--server", "url", envvar="MAKALU_SERVER", default=URL, metavar="URL",
                         help=f"The server to ask.  [default: MAKALU_SERVER, or {URL}]")):
        command = option(command)
    return command
