# SPDX-License-Identifier: Apache-2.0
"""HTTP and gRPC on their ports, until the process is told to stop."""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import uvicorn

from makalu.serve.fronts import v2_grpc
from makalu.serve.fronts.app import application
from makalu.serve.fronts.connection import configuration
from makalu.serve.log import say
from makalu.serve.metrics import Metrics
from makalu.serve.requests import Failure, ServeError
from makalu.serve.service import Service


@dataclass(frozen=True)
class Address:
    """Where to listen; a port of 0 is any that is free. ``drain`` is how many seconds requests that
    were taken may need when the server stops."""

    host: str
    http: int
    grpc: int
    drain: float


class Http(uvicorn.Server):
    """uvicorn, whose signals are the caller's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


async def run(service: Service, metrics: Metrics, address: Address) -> None:
    """Serve until SIGTERM or SIGINT; then take nothing new, and answer what was taken."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics.watch(service)
    http = Http(configuration(application(service, metrics.text)))
    rpc = v2_grpc.server(service)
    try:
        grpc_port = rpc.add_insecure_port(f"{address.host}:{address.grpc}")
    except RuntimeError:
        raise _taken(address.host, address.grpc, "--grpc-port") from None
    listener = _listen(address)
    await rpc.start()
    listening = asyncio.create_task(http.serve([listener]))
    starting = asyncio.create_task(service.start())
    try:
        await asyncio.wait([starting, asyncio.create_task(stop.wait()), listening],
                           return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            gc.collect()
            gc.freeze()      # of 117,000 objects a full collection would take 98 ms
            say("ready", http=listener.getsockname()[1], grpc=grpc_port, models=[
                f"{v.name}/{v.number}" for v in service.models.all() if v.state == "READY"])
            await asyncio.wait([asyncio.create_task(stop.wait()), listening],
                               return_when=asyncio.FIRST_COMPLETED)
        say("drain", seconds=address.drain)
        await service.drain(address.drain)
    finally:
        starting.cancel()
        http.should_exit = True
        await asyncio.gather(listening, rpc.stop(1.0), return_exceptions=True)
        await service.close()
        say("stopped")


def _listen(address: Address) -> socket.socket:
    """The socket of HTTP. It names TCP, without which asyncio leaves small replies waiting."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.http))
    except OSError:
        listener.close()
        raise _taken(address.host, address.http, "--port") from None
    return listener


def _taken(host: str, port: int, option: str) -> ServeError:
    return ServeError(Failure.CONFLICT, f"port {port} of {host} cannot be listened on: another "
                      f"program may have it, or {host} is not this computer's; choose another with "
                      f"{option} or --host")
