# SPDX-License-Identifier: Apache-2.0
"""What every protocol talks to."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from makalu.serve.accelerator import Accelerator
from makalu.serve.core import Link
from makalu.serve.leases import Lease, Leases, Terms
from makalu.serve.messages import Ran
from makalu.serve.models import Models, Version
from makalu.serve.process import Process
from makalu.serve.queues import Batch, Compiled, Part, Piece
from makalu.serve.repository import Repository
from makalu.serve.requests import Failure, Reply, Request, ServeError, Totals
from makalu.serve.tenants import Tenant, Tenants
from runtime.ports import InputError, Port


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


@dataclass(frozen=True)
class Hardware:
    """An accelerator as it is asked for: its name, what :func:`makalu.api.open_device` opens, the
    configuration, its cores, the clock in MHz that times are quoted at, and the seconds that an
    execution may take."""

    name: str
    device: str
    config: str
    cores: int = 1
    mhz: float = 100.0
    limit: float = 600.0


class Service:
    """Models, leases and accelerators behind all protocols. All methods run in one event loop.

    Parameters
    ----------
    folder : Path
        The model repository.
    hardware : sequence of Hardware
    tenants : Tenants
    poll : float
        Seconds between two looks at the repository; 0: only when asked.
    say : function of str and keywords
        Called with events for the log.
    seen : function of Batch and Ran
        Called after each execution, for metrics.
    begin : function of device and config
        Begins the process of a core: here, or elsewhere.
    """

    def __init__(self, folder: Path, hardware: Sequence[Hardware], tenants: Tenants | None = None,
                 poll: float = 0.0, say: Callable[..., None] = lambda event, **facts: None,
                 seen: Callable[[Batch, Ran], None] = lambda batch, ran: None,
                 begin: Callable[[str, str], Link] = Process):
        self.hardware = {h.name: h for h in hardware}
        self.tenants = tenants or Tenants()
        self.leases = Leases({h.name: h.cores for h in hardware})
        self.accelerators: Mapping[str, Accelerator] = {
            h.name: Accelerator(h.name, h.config, partial(begin, h.device, h.config), h.cores,
                                h.limit,
                                leases=lambda name=h.name: self._on(name),  # type: ignore[misc]
                                seen=self._ran, say=say) for h in hardware}
        self.models = Models(Repository(folder), self.accelerators, say)
        self.draining = False
        self._poll, self._say, self._seen = poll, say, seen
        self._started = False
        self._tokens: dict[str, tuple[float, float]] = {}
        self._polling: asyncio.Task[None] | None = None
        self._open = 0

    async def start(self) -> None:
        """Start the devices, load the models, and give every tenant a first lease."""
        await asyncio.gather(*(a.start() for a in self.accelerators.values()))
        first = next(iter(self.hardware))
        for tenant in self.tenants.all:
            if tenant.leases and tenant.shares:
                self.leases.attach(tenant, Terms(first, share=min(1.0, tenant.shares)))
        await self.models.refresh()
        self._started = True
        if self._poll:
            self._polling = asyncio.create_task(self._look())

    async def drain(self, seconds: float) -> None:
        """Take nothing new, and wait until everything is answered, or for so many seconds."""
        self.draining = True
        end = time.monotonic() + seconds
        while self._open and time.monotonic() < end:
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """End the device processes; what still waits is failed."""
        if self._polling:
            self._polling.cancel()
        await asyncio.gather(*(a.close() for a in self.accelerators.values()))

    @property
    def ready(self) -> bool:
        """Whether it has started, every device answers, and it is not draining."""
        return (self._started and not self.draining
                and all(a.ready for a in self.accelerators.values()))

    def tenant(self, token: str | None) -> Tenant:
        """Who a token belongs to; ServeError NO_TOKEN."""
        return self.tenants.of(token)

    async def infer(self, tenant: Tenant, request: Request) -> Reply:
        """Answer a request; ServeError. Whoever waits may be cancelled."""
        if self.draining:
            raise ServeError(Failure.DOWN, "the server is stopping: ask another one", 1.0)
        version = self._version(tenant, request.model, request.version)
        lease = self._lease(tenant, request.lease)
        self._open += 1
        try:
            inputs, elements = self._inputs(version, request)
            parts = self._queue(lease, version, inputs, elements)
            pieces = await self._answers(lease, parts, request.timeout)
        except BaseException:
            version.count(failed=1)
            raise
        finally:
            self._open -= 1
        return _reply(version, request, parts, pieces)

    def _inputs(self, version: Version, request: Request) -> tuple[dict[str, np.ndarray], int]:
        try:
            inputs = version.takes.named(request.inputs)
            elements = version.takes.elements(inputs)
        except InputError as e:
            raise ServeError(Failure.BAD, str(e)) from None
        found = [p.name for p in version.outputs]
        for name in request.outputs:
            if name not in found:
                raise ServeError(Failure.BAD, f"model {version.name!r} has no output {name!r}; it "
                                 f"gives {', '.join(found)}")
        return inputs, elements

    def _queue(self, lease: Lease, version: Version, inputs: dict[str, np.ndarray], elements: int
               ) -> list[Part]:
        """The request in parts that each fit into an execution, in the lease's queue."""
        accelerator = self.accelerators[lease.terms.device]
        compiled = version.compiled[accelerator.config]
        most = compiled.most if version.takes.alike else elements
        if lease.waiting >= lease.terms.queue:
            wait = compiled.cycles[compiled.most] * lease.waiting / 1e6 / self._mhz(lease)
            raise ServeError(Failure.TOO_MANY, f"{lease.waiting} requests wait for lease "
                             f"{lease.id!r}, which is all it may have: try again later", max(
                                 0.01, wait))
        self._hold(lease, compiled)
        self._pay(lease, elements)
        loop, now = asyncio.get_running_loop(), time.monotonic()
        parts = [Part(compiled, {k: v[at:at + most] if v.ndim else v for k, v in inputs.items()},
                      min(most, elements - at), now, loop.create_future())
                 for at in range(0, elements, most)]
        accelerator.put(lease, parts)
        return parts

    async def _answers(self, lease: Lease, parts: list[Part], timeout: float | None) -> list[Piece]:
        """The answers of all parts. Those that have not been dispatched when the time is over, or
        when nobody waits any more, never will be."""
        answers = [p.answer for p in parts]
        try:
            _, late = await asyncio.wait(answers, timeout=timeout,
                                         return_when=asyncio.FIRST_EXCEPTION)
            if late and timeout is not None and not all(p.dispatched for p in parts):
                raise ServeError(Failure.EXPIRED, f"the request was still waiting after {timeout:g}"
                                 " s, which is its deadline, and was dropped")
            if late:
                await asyncio.wait(answers, return_when=asyncio.FIRST_EXCEPTION)
            for a in answers:
                if a.done():
                    a.result()      # the error of a part, whichever has one
            return [a.result() for a in answers]
        finally:
            for part in parts:
                if not part.answer.cancel() and not part.answer.cancelled():
                    part.answer.exception()     # seen, if another part's was raised
                self.accelerators[lease.terms.device].queues.forget(lease, part)

    def _hold(self, lease: Lease, compiled: Compiled) -> None:
        """Have a lease hold the memory of a model's programs."""
        key = f"{compiled.name}/{compiled.version}"
        if key in lease.held:
            return
        held = sum(lease.held.values()) + compiled.bytes
        of_all = compiled.bytes + sum(sum(x.held.values()) for x in self.leases.of(lease.tenant))
        for limit, have, who in ((lease.terms.memory_bytes, held, f"lease {lease.id!r}"),
                                 (lease.tenant.memory_bytes, of_all,
                                  f"tenant {lease.tenant.name!r}")):
            if limit is not None and have > limit:
                raise ServeError(Failure.NO_MEMORY, f"{who} may hold {limit:,} bytes on the device,"
                                 f" and {compiled.name!r} makes it {have:,}: resize it, or unload "
                                 "another model")
        lease.held[key] = compiled.bytes

    def _pay(self, lease: Lease, elements: int) -> None:
        """Take elements out of the lease's bucket, which fills with its rate."""
        rate = lease.terms.rate
        if rate is None:
            return
        now = time.monotonic()
        level, at = self._tokens.get(lease.id, (rate, now))
        level = min(max(rate, elements), level + (now - at) * rate)
        if level < elements:
            raise ServeError(Failure.TOO_MANY, f"lease {lease.id!r} has a rate of {rate:g} elements"
                             " a second: send fewer, or resize it", (elements - level) / rate)
        self._tokens[lease.id] = level - elements, now

    def _version(self, tenant: Tenant, name: str, version: str) -> Version:
        if not tenant.sees(name):
            raise ServeError(Failure.NOT_FOUND, f"model {name!r} is not served here")
        return self.models.get(name, version)

    def _lease(self, tenant: Tenant, id: str) -> Lease:
        if id:
            return self.leases.get(tenant, id)
        mine = self.leases.of(tenant)
        if not mine:
            raise ServeError(Failure.FORBIDDEN, f"tenant {tenant.name!r} has no lease: attach one "
                             "with makalu lease attach, or POST /makalu/leases")
        return mine[0]

    def _on(self, device: str) -> list[Lease]:
        return [lease for lease in self.leases.all() if lease.terms.device == device]

    def _mhz(self, lease: Lease) -> float:
        return self.hardware[lease.terms.device].mhz

    def _ran(self, batch: Batch, ran: Ran) -> None:
        version = self.models.of(batch.model)
        if version is not None:
            version.count(elements=batch.elements, executions=1)
        self._seen(batch, ran)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._poll)
            try:
                await self.models.refresh()
            except OSError as e:    # a folder that somebody is just changing
                self._say("poll", error=str(e))

    def model(self, tenant: Tenant, name: str, version: str = "") -> Served:
        """A model that is ready; ServeError NOT_FOUND, or DOWN while it loads or does not load."""
        return _served(self._version(tenant, name, version))

    def totals(self, tenant: Tenant, name: str = "", version: str = "") -> dict[Served, Totals]:
        """What was served of a model's ready versions (``name`` "": of all that the tenant sees).

        Raises
        ------
        ServeError
            NOT_FOUND, DOWN.
        """
        if name:
            self._version(tenant, name, version)
        return {_served(v): v.totals for v in self.models.all()
                if v.state == "READY" and tenant.sees(v.name) and name in ("", v.name)
                and version in ("", v.number)}

    def index(self, tenant: Tenant) -> list[Entry]:
        """All versions that the tenant sees, whatever their state."""
        known = [Entry(v.name, v.number, v.state, v.reason) for v in self.models.all()]
        there = {e.name for e in known}
        rest = [Entry(name, "", "UNLOADED") for name in self.models.repository.names()
                if name not in there]
        return [e for e in known + rest if tenant.sees(e.name)]

    async def load(self, tenant: Tenant, name: str, folder: Path | None = None) -> None:
        """Read a model's folder again, which may be another one in the repository than that of its
        name, and serve what it has; returns when it is ready. ServeError FORBIDDEN, NOT_FOUND, BAD
        (does not compile: the sentence of the compiler)."""
        self._administers(tenant, name)
        if folder is not None:
            self.models.repository.link(name, folder)
        await self.models.load(name)

    async def unload(self, tenant: Tenant, name: str) -> None:
        """Stop serving a model; what waits for it is still answered. ServeError."""
        self._administers(tenant, name)
        await self.models.unload(name)
        for lease in self.leases.all():
            lease.held = {k: v for k, v in lease.held.items() if not k.startswith(f"{name}/")}

    def _administers(self, tenant: Tenant, name: str) -> None:
        if not tenant.sees(name):
            raise ServeError(Failure.NOT_FOUND, f"there is no model {name!r} in the repository")
        if not tenant.admin:
            raise ServeError(Failure.FORBIDDEN, f"tenant {tenant.name!r} may not load or unload "
                             "models: ask who runs the server")

    async def attach(self, tenant: Tenant, terms: dict[str, Any]) -> Lease:
        """A new lease; without ``device`` on the one with the smallest shares. ServeError."""
        device = terms.get("device") or min(self.hardware, key=lambda name: sum(
            x.terms.share for x in self._on(name)) / self.hardware[name].cores)
        lease = self.leases.attach(tenant, Terms(device).changed(**{**terms, "device": device}))
        self._say("attach", **lease.json())
        self._wake()
        return lease

    async def change(self, tenant: Tenant, id: str, changes: dict[str, Any]) -> Lease:
        """Resize or move a lease: what waits goes with it. ServeError."""
        lease = self.leases.get(tenant, id)
        before = lease.terms.device
        self.leases.change(lease, **changes)
        if lease.terms.device != before:
            self._move(lease, self.accelerators[before], self.accelerators[lease.terms.device])
        self._say("change", **lease.json())
        self._wake()
        return lease

    def _move(self, lease: Lease, old: Accelerator, new: Accelerator) -> None:
        """Take what waits to another device, compiled for that one."""
        parts = old.queues.take(lease)
        for part in parts:
            version = self.models.of(part.model)
            if version is not None:
                part.model = version.compiled[new.config]
            elif new.config != old.config:
                old.fail([part], ServeError(Failure.DOWN, f"model {part.model.name!r} was unloaded "
                                            "while the lease moved"))
        new.put(lease, [p for p in parts if not p.answer.done()])

    async def detach(self, tenant: Tenant, id: str) -> None:
        """End a lease, after what waits for it was answered. ServeError."""
        lease = self.leases.get(tenant, id)
        self.leases.close(lease)
        while lease.waiting:
            await asyncio.sleep(0.005)
        self.leases.detach(lease)
        self._tokens.pop(lease.id, None)
        self._say("detach", lease=lease.id, tenant=lease.tenant.name)
        self._wake()

    def _wake(self) -> None:
        for accelerator in self.accelerators.values():
            accelerator.wake()

    def status(self, tenant: Tenant) -> dict[str, Any]:
        """Devices, leases, models and their numbers, for ``makalu ls``, ``top``, ``monitor`` and
        the page::

            {"time": s, "draining": bool,
             "devices": [{"name", "kind", "config", "mhz", "cores": [{"state", "host", "pid",
                          "restarts", "program"}], "busy": share of the last second, "cycles",
                          "waiting", "executions"}],
             "leases": [Lease.json()],
             "models": [{"name", "version", "state", "reason", "program", "batches", "cycles",
                         "bytes", "answered", "failed", "elements"}]}
        """
        return {"time": time.time(), "draining": self.draining,
                "devices": [self._device(name) for name in self.hardware],
                "leases": [lease.json() for lease in self.leases.visible(tenant)],
                "models": [_model(v) for v in self.models.all() if tenant.sees(v.name)]}

    def _device(self, name: str) -> dict[str, Any]:
        hardware, a = self.hardware[name], self.accelerators[name]
        return {"name": name, "kind": hardware.device, "config": hardware.config,
                "mhz": hardware.mhz, "busy": round(a.busy, 4), "cycles": a.cycles,
                "executions": a.executions, "waiting": len(a.queues),
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


def _reply(version: Version, request: Request, parts: list[Part], pieces: list[Piece]) -> Reply:
    """The pieces of an answer put together; all are of programs of this version."""
    known = {p.hash for c in version.compiled.values() for p in c.programs.values()}
    strange = {p.program for p in pieces} - known
    if strange:
        raise ServeError(Failure.BROKEN, f"program {', '.join(strange)} answered, which is not one "
                         f"of model {version.name!r} version {version.number}")
    names = request.outputs or [p.name for p in version.outputs]
    outputs = {name: pieces[0].outputs[name] if len(pieces) == 1 else
               np.concatenate([p.outputs[name] for p in pieces]) for name in names}
    queued = min(p.dispatched for p in parts) - parts[0].arrived
    ran = math.fsum(p.seconds for p in pieces)
    version.count(answered=1, queued=queued, ran=ran)
    return Reply(version.name, version.number, pieces[-1].program, outputs, request.id,
                 sum(p.cycles for p in pieces), queued, ran)
