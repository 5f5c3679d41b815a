# SPDX-License-Identifier: Apache-2.0
"""What is seen of the service: models, what was served of them, and its state."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from makalu.serve.accelerator import Accelerator
from makalu.serve.leases import Leases
from makalu.serve.models import Models, Version
from makalu.serve.requests import Totals
from makalu.serve.tenants import Tenant
from runtime.ports import Port


@dataclass(frozen=True, eq=False)
class Served:
    """A version of a model that is ready.

    Parameters
    ----------
    name, version : str
    program : str
        Hash of its program of the largest batch, hexadecimal.
    inputs, outputs : tuple of Port
        A first dimension of 0 takes any number of elements.
    batches : tuple of int
        Sizes that it is compiled for, ascending.
    costs : tuple of dict
        Of each machine (``config``) and batch what :meth:`makalu.facts.Cost.at` says.
    """

    name: str
    version: str
    program: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    batches: tuple[int, ...]
    costs: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Entry:
    """A version of a model in the repository: ``READY``, ``LOADING``, ``UNLOADED``, or
    ``UNAVAILABLE`` with the reason why it does not load."""

    name: str
    version: str
    state: str
    reason: str = ""


class View:
    """Shows a tenant what it may see.

    Parameters
    ----------
    leases : Leases
    models : Models
    accelerators : mapping of str to Accelerator
        By name.
    """

    def __init__(self, leases: Leases, models: Models, accelerators: Mapping[str, Accelerator]):
        self._leases, self._models, self._accelerators = leases, models, accelerators

    def model(self, tenant: Tenant, name: str, version: str = "") -> Served:
        """A model that is ready; ServeError NOT_FOUND, or DOWN while it loads or does not load."""
        return self._served(self._models.seen(tenant, name, version))

    def totals(self, tenant: Tenant, name: str = "", version: str = "") -> dict[Served, Totals]:
        """What was served of a model's ready versions (``name`` "": of all that the tenant sees).

        Raises
        ------
        ServeError
            NOT_FOUND, DOWN.
        """
        if name:
            self._models.seen(tenant, name, version)
        return {self._served(v): v.totals for v in self._models.all()
                if v.state == "READY" and tenant.sees(v.name) and name in ("", v.name)
                and version in ("", v.number)}

    def index(self, tenant: Tenant) -> list[Entry]:
        """All versions that the tenant sees, whatever their state."""
        known = [Entry(v.name, v.number, v.state, v.reason) for v in self._models.all()]
        there = {e.name for e in known}
        rest = [Entry(name, "", "UNLOADED") for name in self._models.repository.names()
                if name not in there]
        return [e for e in known + rest if tenant.sees(e.name)]

    def status(self, tenant: Tenant) -> dict[str, Any]:
        """Devices, leases, models and their numbers::

            {"time": s, "tenant": "…",
             "devices": [{"name", "kind", "config", "mhz", "cores": [{"state", "host", "pid",
                          "restarts", "program", "lease", "busy", "jobs"}],
                          "busy": share of the last second, "cycles", "waiting", "executions"}],
             "leases": [the fields of Shown],
             "models": [{"name", "version", "state", "reason", "program", "batches",
                         "costs": [of Served], "held_bytes", "cycles", "answered", "failed",
                         "elements"}]}

        A core's ``lease`` is the one that has it for itself, "" if it is shared, and None if it is
        another tenant's.
        """
        leases = self._leases.visible(tenant)
        return {"time": time.time(), "tenant": tenant.name,
                "devices": [_device(a, {x.id for x in leases})
                            for a in self._accelerators.values()],
                "leases": [asdict(x.shown()) for x in leases],
                "models": [self._model(v) for v in self._models.all() if tenant.sees(v.name)]}

    def _model(self, version: Version) -> dict[str, Any]:
        t = version.totals
        facts: dict[str, Any] = {
            "name": version.name, "version": version.number, "state": version.state,
            "reason": version.reason, "cycles": t.cycles, "answered": t.answered,
            "failed": t.failed, "elements": t.elements}
        if version.state == "READY":
            served = self._served(version)
            facts |= {"program": served.program, "batches": served.batches, "costs": served.costs,
                      "held_bytes": max(c.bytes for c in version.compiled.values())}
        return facts

    def _served(self, version: Version) -> Served:
        mhz = {a.config: a.hardware.mhz for a in self._accelerators.values()}
        compiled = next(iter(version.compiled.values()))
        return Served(version.name, version.number, compiled.programs[compiled.most].hash,
                      version.inputs, version.outputs, tuple(compiled.programs),
                      tuple({"config": config, **cost.at(mhz[config], batch)}
                            for config, c in version.compiled.items()
                            for batch, cost in c.costs.items()))


def _device(a: Accelerator, seen: set[str]) -> dict[str, Any]:
    return {"name": a.name, "kind": a.hardware.device, "config": a.config, "mhz": a.hardware.mhz,
            "busy": round(a.busy, 4), "cycles": a.cycles, "executions": a.executions,
            "waiting": len(a.queues),
            "cores": [_core(a, k, seen) for k in range(a.hardware.cores)]}


def _core(a: Accelerator, k: int, seen: set[str]) -> dict[str, Any]:
    lane, use, owner = a.lane(k), a.uses[k], a.ground.owner(k)
    return {"state": "ready" if lane.ready else "down", "host": lane.host, "pid": lane.pid,
            "restarts": lane.restarts, "program": use.program, "busy": round(use.busy, 4),
            "jobs": use.jobs, "lease": owner if owner in seen | {""} else None}
