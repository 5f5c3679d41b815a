# SPDX-License-Identifier: Apache-2.0
"""How a request that is not answered looks in each protocol of HTTP."""

import math

from starlette.responses import JSONResponse

from makalu.serve.requests import Failure, ServeError

SAGEMAKER = ("/ping", "/invocations", "/models")


def reply(path: str, error: ServeError) -> JSONResponse:
    """The reply to a request for ``path`` that failed."""
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if error.failure is Failure.NO_TOKEN:
        headers["www-authenticate"] = "Bearer"
    if error.failure in (Failure.SLOW, Failure.TOO_LARGE):
        headers["connection"] = "close"     # the rest of the body is not read
    return plain(path, error.failure.http, error.failure.name, str(error), headers)


def plain(path: str, status: int, name: str, text: str, headers: dict[str, str]) -> JSONResponse:
    """The same for a status that HTTP's own parts give (404 for a path, 405 for a method)."""
    content = {"code": status, "type": name, "message": text} if path.startswith(SAGEMAKER) \
        else {"error": text}
    return JSONResponse(content, status, headers)
