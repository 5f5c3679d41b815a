# SPDX-License-Identifier: Apache-2.0
"""What a lease is of: the one list of its terms, from which the REST interface and the command line
take theirs."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from makalu.serve.requests import Failure, ServeError

QUEUE = 256
"""Requests that wait for one lease, unless it says otherwise."""

MOST = 1e12
"""Numbers of a lease are smaller, so that sums of them are exact enough and never infinite."""


def _term(about: str, must: str, good: Callable[[Any], bool], **default: Any) -> Any:
    """A field: what it is, what a value has to be, and whether it is."""
    return field(metadata={"about": about, "must": must, "good": good}, **default)


def _whole(v: Any, least: int, most: float = MOST) -> bool:
    return type(v) is int and least <= v <= most


def _positive(v: Any) -> bool:
    return type(v) in (int, float) and 0 < v < MOST and math.isfinite(v)


@dataclass(frozen=True)
class Terms:
    """What a lease is of; the fields' metadata say it (``about``, ``must``).

    Raises
    ------
    ServeError
        BAD, if a value is of another type or out of its range.
    """

    device: str = _term("Name of the accelerator.", "the name of a device",
                        lambda v: type(v) is str and bool(v))
    share: float = _term("Weight against the other leases there: under load each gets cycles in "
                         "proportion.", "a positive number", _positive, default=1.0)
    cores: int = _term("Of a device with several: so many belong to this lease alone. 0: it shares "
                       "the others.", "a whole number from 0", lambda v: _whole(v, 0), default=0)
    priority: int = _term("Requests of a higher priority go first, whatever the shares say.",
                          "a whole number from -1,000,000 to 1,000,000",
                          lambda v: _whole(v, -10**6, 10**6), default=0)
    rate: float | None = _term("Elements a second, in bursts of one second's.",
                               "a positive number, or null for no limit",
                               lambda v: v is None or _positive(v), default=None)
    memory_bytes: int | None = _term("Of the programs that it may hold on the device.",
                                     "a whole number from 0, or null for no limit",
                                     lambda v: v is None or _whole(v, 0, 2**53), default=None)
    queue: int = _term("Requests that may wait.", "a whole number from 1",
                       lambda v: _whole(v, 1), default=QUEUE)

    def __post_init__(self) -> None:
        for f in fields(Terms):
            value = getattr(self, f.name)
            if not f.metadata["good"](value):
                raise ServeError(Failure.BAD, f"a lease cannot have {f.name} {_said(value)}: it "
                                 f"has to be {f.metadata['must']}")

    def changed(self, **changes: Any) -> "Terms":
        """These terms with others in some places.

        Raises
        ------
        ServeError
            BAD, if a name or a value is not a lease's.
        """
        unknown = changes.keys() - {f.name for f in fields(Terms)}
        if unknown:
            raise ServeError(Failure.BAD, f"a lease has no {', '.join(sorted(unknown))}; it has "
                             f"{', '.join(f.name for f in fields(Terms))}")
        return replace(self, **changes)


def _said(value: Any) -> str:
    """A value as it is sent, and not too much of it."""
    said = "null" if value is None else repr(value)
    return said if len(said) <= 40 else said[:37] + "…"
