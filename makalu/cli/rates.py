# SPDX-License-Identifier: Apache-2.0
"""Rates of a server, from two of its states."""

from collections.abc import Mapping
from typing import Any

KEYS = {"devices": ("name",), "leases": ("id",), "models": ("name", "version")}
"""What each entry of a state is known by."""

COUNTERS = ("cycles", "executions", "answered", "failed", "elements")


def with_rates(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """A state in which each counter has its rate beside it, as ``cycles_per_second``; an entry that
    was not there before, or has begun anew, counts from zero."""
    seconds = now["time"] - before["time"]
    result = dict(now)
    for kind, key in KEYS.items():
        old = {tuple(e[k] for k in key): e for e in before[kind]}
        result[kind] = [
            {**e, **_rates(old.get(tuple(e[k] for k in key), {}), e, seconds)} for e in now[kind]]
    return result


def _rates(before: Mapping[str, Any], now: Mapping[str, Any], seconds: float) -> dict[str, float]:
    rates = {}
    for name in COUNTERS:
        if name in now:
            last = before.get(name, 0)
            grown = now[name] - last if now[name] >= last else now[name]
            rates[f"{name}_per_second"] = round(grown / seconds, 3) if seconds > 0 else 0.0
    return rates
