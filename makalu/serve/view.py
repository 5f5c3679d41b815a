# SPDX-License-Identifier: Apache-2.0
"""What is seen of the service: models, what was served of them, and its state."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
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
    cycles : dict of int to int
        Predicted, by batch.
    bytes : int
        DRAM that its programs hold on the device.
    config : str
        The machine.
    """

    name: str
    version: str
    program: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    batches: tuple[int, ...]
    cycles: dict[int, int] = field(hash=False)
    bytes: int
    config: str


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
        return _served(self._models.seen(tenant, name, version))

    def totals(self, tenant: Tenant, name: str = "", version: str = "") -> dict[Served, Totals]:
        """What was served of a model's ready versions (``name`` "": of all that the tenant sees).

        Raises
        ------
        ServeError
            NOT_FOUND, DOWN.
        """
        if name:
            self._models.seen(tenant, name, version)
        return {_served(v): v.totals for v in self._models.all()
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
                          "restarts", "program"}], "busy": share of the last second, "cycles",
                          "waiting", "executions"}],
             "leases": [the fields of Shown],
             "models": [{"name", "version", "state", "reason", "program", "batches", "cycles",
                         "bytes", "answered", "failed", "elements"}]}
        """
        return {"time": time.time(), "tenant": tenant.name,
                "devices": [_device(a) for a in self._accelerators.values()],
                "leases": [asdict(x.shown()) for x in self._leases.visible(tenant)],
                "models": [_model(v) for v in self._models.all() if tenant.sees(v.name)]}


def _device(a: Accelerator) -> dict[str, Any]:
    return {"name": a.name, "kind": a.hardware.device, "config": a.config, "mhz": a.hardware.mhz,
            "busy": round(a.busy, 4), "cycles": a.cycles, "executions": a.executions,
            "waiting": len(a.queues),
            "cores": [{"state": "ready" if core.ready else "down", "host": core.host,
                       "pid": core.pid, "restarts": core.restarts, "program": core.program}
                      for core in a.cores]}


def _model(version: Version) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": version.name, "version": version.number, "state": version.state,
        "reason": version.reason, "answered": version.totals.answered,
        "failed": version.totals.failed, "elements": version.totals.elements}
    if version.state == "READY":
        served = _served(version)
        facts |= {"program": served.program, "batches": served.batches, "bytes": served.bytes,
                  "cycles": {str(b): n for b, n in served.cycles.items()}}
    return facts


def _served(version: Version) -> Served:
    config, compiled = next(iter(version.compiled.items()))
    return Served(version.name, version.number, compiled.programs[compiled.most].hash,
                  version.inputs, version.outputs, tuple(compiled.programs),
                  compiled.cycles, compiled.bytes, config)
