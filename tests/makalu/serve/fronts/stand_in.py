# SPDX-License-Identifier: Apache-2.0
"""A Service whose models are numpy functions, and a process that serves it on loopback.

``python -m tests.makalu.serve.fronts.stand_in`` prints its HTTP and its gRPC port, and ends with
its input.
"""

import asyncio
import hashlib
import json
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from makalu.facts import Cost
from makalu.serve.fronts.app import application
from makalu.serve.fronts.body import Limits
from makalu.serve.fronts.connection import Connection, configuration
from makalu.serve.fronts.tensors import DTYPES
from makalu.serve.fronts.v2_grpc import server
from makalu.serve.ground import Ground
from makalu.serve.leases import Lease, Leases
from makalu.serve.requests import Failure, Reply, Request, ServeError, Totals
from makalu.serve.service import Service
from makalu.serve.tenants import Tenant, Tenants
from makalu.serve.terms import Terms
from makalu.serve.view import Entry, Served
from runtime.ports import InputError, Port, Takes
from tests.makalu.serve.conformance.arithmetic import INPUTS, OUTPUTS, WIDTH, arithmetic

TOKEN, ADMIN = "vision's", "root's"

BODY_BYTES, BODY_SECONDS = 2 << 20, 1.0

STREAM_SECONDS, CALLS = 1.0, 40

WIDE = 150_000


class Hasty(Connection):
    """Bounds that a test can wait for."""

    head_seconds = 1.0
    head_bytes = 16 << 10
    reply_seconds = 1.0
    most = 40


Function = Callable[..., dict[str, np.ndarray]]


def _port(name: str, datatype: str, *shape: int) -> Port:
    return Port(name, DTYPES[datatype], shape)


def _pair(a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    return {"sum": a + b, "odd": a % 2 != 0}


MODELS: dict[str, tuple[tuple[Port, ...], tuple[Port, ...], Function]] = {
    "scale": ((_port("x", "FP32", 0, 3),), (_port("y", "FP32", 0, 3),),
              lambda x: {"y": 2 * x + 1}),
    "pair": ((_port("a", "INT8", 0, 2), _port("b", "FP32", 0, 2)),
             (_port("sum", "FP32", 0, 2), _port("odd", "BOOL", 0, 2)), _pair),
    "wide": ((_port("x", "FP32", 1, WIDE),), (_port("y", "FP32", 1, WIDE),), lambda x: {"y": -x}),
    **{model: (tuple(_port(n, v2, 0, WIDTH) for n in INPUTS),
               tuple(_port(n, v2, 0, WIDTH) for n in OUTPUTS), arithmetic)
       for model, v2 in (("floats", "FP32"), ("integers", "INT32"))},
    **{f"turn-{name}": ((_port("x", name, 0, 2),), (_port("y", name, 0, 2),),
                        lambda x: {"y": x[:, ::-1]}) for name in DTYPES},
    **{name: ((_port("x", "FP32", 0, 1),), (_port("y", "FP32", 0, 1),), lambda x: {"y": x})
       for name in ("slow", "broken", "full", "hidden")},
}


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class StandIn(Service):
    """Answers at once, but the models ``slow``, ``broken`` and ``full``; ``late`` is loading."""

    def __init__(self) -> None:
        self._tenants = Tenants((
            Tenant("vision", _digest(TOKEN), ("[!h]*",), shares=8.0, leases=2),
            Tenant("root", _digest(ADMIN), shares=100.0, leases=100, admin=True)))
        self.leases = Leases({"card": Ground(4)})
        self._unloaded: set[str] = set()
        self._totals = {name: Totals() for name in MODELS}
        self.seen: dict[str, Any] = {"cancelled": 0}

    def tenant(self, token: str | None) -> Tenant:
        return self._tenants.of(token)

    @property
    def ready(self) -> bool:
        return not self._unloaded

    def model(self, tenant: Tenant, name: str, version: str = "") -> Served:
        if name == "late":
            raise ServeError(Failure.DOWN, "model 'late' is loading", 2.5)
        if name not in MODELS or name in self._unloaded or version not in ("", "1") \
                or not tenant.sees(name):
            raise ServeError(Failure.NOT_FOUND, f"there is no model {name!r} of version "
                             f"{version!r}")
        inputs, outputs, _ = MODELS[name]
        return Served(name, "1", "ab" * 32, inputs, outputs, (1, 4), tuple(
            {"config": "tiny", **Cost(cycles, 90, 4096, 512).at(100, batch)}
            for batch, cycles in ((1, 100), (4, 250))))

    async def infer(self, tenant: Tenant, request: Request) -> Reply:
        served = self.model(tenant, request.model, request.version)
        self.seen.update(lease=request.lease, timeout=request.timeout, id=request.id)
        takes = Takes(served.name, served.inputs)
        try:
            inputs = takes.named(request.inputs)
            elements = takes.elements(inputs)
        except InputError as e:
            raise ServeError(Failure.BAD, str(e)) from None
        if unknown := set(request.outputs) - {p.name for p in served.outputs}:
            raise ServeError(Failure.BAD, f"there is no output {unknown}")
        await self._special(request)
        outputs = MODELS[served.name][2](**inputs)
        done = self._totals[served.name]
        self._totals[served.name] = Totals(done.answered + 1, 0, done.elements + elements,
                                           done.executions + 1, queued=0.25, ran=0.5, last=7.0)
        return Reply(served.name, served.version, served.program,
                     {name: outputs[name] for name in request.outputs or outputs}, request.id, 123,
                     queued=0.25, ran=0.5)

    async def _special(self, request: Request) -> None:
        if request.model == "broken":
            raise ZeroDivisionError("inner detail")
        if request.model == "full":
            raise ServeError(Failure.TOO_MANY, "the queue is full", 1.5)
        if request.model == "slow":
            try:
                await asyncio.sleep(30 if request.timeout is None else request.timeout)
            except asyncio.CancelledError:
                self.seen["cancelled"] += 1
                raise
            raise ServeError(Failure.EXPIRED, "its time is over")

    def totals(self, tenant: Tenant, name: str, version: str = "") -> dict[Served, Totals]:
        names = [name] if name else [n for n in MODELS if tenant.sees(n)]
        return {self.model(tenant, n, version): self._totals[n] for n in names}

    def index(self, tenant: Tenant) -> list[Entry]:
        entries = [Entry(n, "1", "UNLOADED" if n in self._unloaded else "READY") for n in MODELS]
        return [e for e in [*entries, Entry("late", "1", "LOADING"),
                            Entry("odd", "2", "UNAVAILABLE", "no such operator")]
                if tenant.sees(e.name)]

    async def load(self, tenant: Tenant, name: str, folder: Path | None = None) -> None:
        self._changeable(tenant, name)
        if folder is not None:
            raise ServeError(Failure.BAD, f"{str(folder)!r} is no folder of the repository")
        self._unloaded.discard(name)

    async def unload(self, tenant: Tenant, name: str) -> None:
        self._changeable(tenant, name)
        self._unloaded.add(name)

    def _changeable(self, tenant: Tenant, name: str) -> None:
        if not tenant.admin:
            raise ServeError(Failure.FORBIDDEN, "only an administrator loads models")
        if name not in MODELS:
            raise ServeError(Failure.NOT_FOUND, f"there is no model {name!r}")

    async def attach(self, tenant: Tenant, terms: dict[str, Any]) -> Lease:
        return self.leases.attach(tenant, Terms("card").changed(**terms))

    async def change(self, tenant: Tenant, id: str, changes: dict[str, Any]) -> Lease:
        return self.leases.change(self.leases.get(tenant, id), **changes)

    async def detach(self, tenant: Tenant, id: str) -> None:
        self.leases.detach(self.leases.get(tenant, id))

    def status(self, tenant: Tenant) -> dict[str, Any]:
        return {"time": 0.0, "tenant": tenant.name, "draining": False, "devices": [],
                "leases": [asdict(lease.shown()) for lease in self.leases.visible(tenant)],
                "models": []}


async def main() -> None:
    """Serve until the input ends. ``GET /metrics`` gives what the stand-in has seen, as JSON."""
    service = StandIn()
    app = application(service, lambda: json.dumps(service.seen).encode(),
                      Limits(BODY_BYTES, BODY_SECONDS))
    rpc = server(service, BODY_BYTES, STREAM_SECONDS, CALLS)
    rpc_port = rpc.add_insecure_port("127.0.0.1:0")
    await rpc.start()
    # asyncio sends at once (TCP_NODELAY) on sockets that are of TCP by name only
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        rest = uvicorn.Server(configuration(app, Hasty))
        serving = asyncio.create_task(rest.serve([listening]))
        print(listening.getsockname()[1], rpc_port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        rest.should_exit = True
        await serving
    await rpc.stop(1)


if __name__ == "__main__":
    asyncio.run(main())
