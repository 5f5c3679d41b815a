# SPDX-License-Identifier: Apache-2.0
"""The page in the browser: devices, leases and models, live. It has no numbers of its own; its
script asks ``/makalu/status`` for them, with the token that it is given."""

import base64
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

PAGE = Path(__file__).with_suffix(".html").read_text()

router = APIRouter(include_in_schema=False)


def _policy() -> str:
    """What the browser may run and ask: the page's own script and style, and this server."""
    def own(tag: str) -> str:
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", PAGE, re.DOTALL)
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (f"default-src 'none'; script-src {own('script')}; style-src {own('style')}; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'")


HEADERS = {"content-security-policy": _policy(), "x-content-type-options": "nosniff",
           "referrer-policy": "no-referrer", "cache-control": "no-cache"}


@router.get("/")
@router.get("/makalu")
async def page() -> HTMLResponse:
    """The page."""
    return HTMLResponse(PAGE, headers=HEADERS)
