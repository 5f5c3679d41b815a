# SPDX-License-Identifier: Apache-2.0
"""A server's state as tables: devices with their cores, leases, models."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType

from makalu.cli.console import table
from makalu.text import number, percent

Entry = Mapping[str, Any]
Column = tuple[str, str]

LEVELS = "▁▂▃▄▅▆▇█"


def tables(state: Mapping[str, Any], busy: Mapping[str, Sequence[float]] | None = None
           ) -> RenderableType:
    """All of a state; with rates where it has them.

    Parameters
    ----------
    state : mapping
        What ``/makalu/status`` says, or :func:`makalu.cli.rates.with_rates`.
    busy : mapping of str to sequence of float, optional
        Of each device the busy shares of the last samples, drawn as a line.
    """
    draining = ["the server is draining: it takes nothing new"] if state["draining"] else []
    return Group(*draining, devices(state["devices"], busy or {}), "", cores(state["devices"]), "",
                 leases(state["leases"]), "", models(state["models"]))


def devices(entries: Sequence[Entry], busy: Mapping[str, Sequence[float]]) -> RenderableType:
    """A row for each device."""
    rows = [[d["name"], d["kind"], d["config"], f"{d['mhz']:g}", percent(d["busy"]),
             line(busy.get(d["name"], ())), number(d["waiting"]), number(d["executions"]),
             *_rate(d, "executions"), number(d["cycles"]), *_rate(d, "cycles")] for d in entries]
    columns = [("device", "left"), ("kind", "left"), ("config", "left"), ("MHz", "right"),
               ("busy", "right"), ("", "left"), ("waiting", "right"), ("executions", "right"),
               *_per_second(entries, "executions"), ("cycles", "right"),
               *_per_second(entries, "cycles")]
    return table("devices", columns, rows)


def cores(entries: Sequence[Entry]) -> RenderableType:
    """A row for each core of each device, and the lease that has it for itself."""
    rows = [[d["name"], str(k), _owner(c["lease"]), percent(c["busy"]), number(c["jobs"]),
             c["state"], c["host"] or "-", str(c["pid"] or "-"), str(c["restarts"]),
             c["program"] or "-"]
            for d in entries for k, c in enumerate(d["cores"])]
    return table("cores", [("device", "left"), ("core", "right"), ("lease", "left"),
                           ("busy", "right"), ("jobs", "right"), ("state", "left"),
                           ("host", "left"), ("process", "right"), ("restarts", "right"),
                           ("last program", "left")], rows)


def leases(entries: Sequence[Entry]) -> RenderableType:
    """A row for each lease."""
    rows = [[x["id"], x["tenant"], x["device"], f"{x['share']:g}", uses(x),
             str(x["priority"]), _limit(x["rate"]), _limit(x["memory_bytes"]),
             number(x["held_bytes"]), f"{x['waiting']:,} of {x['queue']:,}", number(x["answered"]),
             *_rate(x, "answered"), number(x["failed"]), *_rate(x, "cycles")] for x in entries]
    return table("leases", [
        ("lease", "left"), ("tenant", "left"), ("device", "left"), ("share", "right"),
        ("cores", "left"), ("priority", "right"), ("rate", "right"), ("memory", "right"),
        ("held", "right"), ("waiting", "right"), ("answered", "right"),
        *_per_second(entries, "answered"), ("failed", "right"), *_per_second(entries, "cycles")],
        rows)


def models(entries: Sequence[Entry]) -> RenderableType:
    """A row for each version of each model, and why one is not served."""
    rows = [[m["name"], m["version"], m["state"].lower(), _batches(m),
             number(m.get("held_bytes")), number(m["answered"]), *_rate(m, "answered"),
             number(m["failed"]), *_rate(m, "elements"), *_rate(m, "cycles")] for m in entries]
    made = table("models", [
        ("model", "left"), ("version", "right"), ("state", "left"), ("batch: µs", "left"),
        ("held", "right"), ("answered", "right"), *_per_second(entries, "answered"),
        ("failed", "right"), *_per_second(entries, "elements"), *_per_second(entries, "cycles")],
        rows)
    reasons = [f"{m['name']} {m['version']}: {m['reason']}" for m in entries if m["reason"]]
    return Group(made, *reasons)


def uses(lease: Entry) -> str:
    """The cores of a lease, as numbers with ranges."""
    uses = lease["uses"]
    starts = [k for k in uses if k - 1 not in uses]
    ends = [k for k in uses if k + 1 not in uses]
    said = ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in zip(starts, ends, strict=True))
    return said if lease["cores"] else f"{said} shared"


def line(values: Sequence[float]) -> str:
    """Shares from 0 to 1 as a line of blocks."""
    return "".join(LEVELS[min(len(LEVELS) - 1, int(v * len(LEVELS)))] for v in values)


def _batches(model: Entry) -> str:
    """Of the first machine, batch by batch what an execution takes."""
    costs = model.get("costs", ())
    return ", ".join(f"{c['batch']}: {number(c['microseconds'], 1)}" for c in costs
                     if c["config"] == costs[0]["config"]) or "-"


def _owner(lease: str | None) -> str:
    return "another tenant's" if lease is None else lease or "shared"


def _limit(value: float | None) -> str:
    return "none" if value is None else f"{value:,g}" if isinstance(value, float) else f"{value:,}"


def _rate(entry: Entry, name: str) -> list[str]:
    key = f"{name}_per_second"
    return [number(entry[key], 0 if entry[key] >= 100 else 1)] if key in entry else []


def _per_second(entries: Sequence[Entry], name: str) -> list[Column]:
    """The heading of a rate, if the entries have it."""
    has = any(f"{name}_per_second" in e for e in entries)
    return [("/s" if name == "answered" else f"{name}/s", "right")] if has else []
