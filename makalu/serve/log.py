# SPDX-License-Identifier: Apache-2.0
"""Events as lines of JSON on standard error."""

import json
import logging
import sys
import time
from typing import Any

from makalu.serve.requests import Record

LOG = logging.getLogger("makalu.serve")


class Lines(logging.Formatter):
    """A record as an object: time, level, event, and what is known of it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        facts: dict[str, Any] = getattr(record, "facts", {})
        line = {"time": round(record.created, 6), "level": record.levelname.lower(),
                "logger": record.name, "event": record.getMessage(), **facts}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def say(event: str, **facts: Any) -> None:
    """Log an event; one with an ``error`` is a warning."""
    LOG.log(logging.WARNING if "error" in facts else logging.INFO, event, extra={"facts": facts})


def request(record: Record) -> None:
    """Log what became of a request: the fields of :class:`makalu.serve.requests.Record`."""
    LOG.info("request", extra={"facts": {
        k: round(v, 6) if type(v) is float else v for k, v in vars(record).items()}})


def set_up(level: str) -> None:
    """Send every logger's records through :class:`Lines`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.Formatter.converter = time.gmtime
