# SPDX-License-Identifier: Apache-2.0
"""The name of a request, which is in its reply and in every line of the log about it."""

import re
import uuid
from collections.abc import Mapping

HEADER = "x-request-id"

NAME = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
"""Names that go into logs and replies as they come."""

TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
"""W3C's ``traceparent``; the trace's id is the name."""


def given(headers: Mapping[str, str], id: str = "") -> str:
    """The client's name for a request: its ``x-request-id``, or its trace's, or the protocol's
    ``id``; "" if it has none."""
    for name in (headers.get(HEADER, ""), _trace(headers.get("traceparent", "")), id):
        if NAME.fullmatch(name):
            return name
    return ""


def fresh() -> str:
    """A name that no other request has."""
    return uuid.uuid4().hex


def _trace(parent: str) -> str:
    found = TRACE.fullmatch(parent)
    return found[1] if found else ""
