# SPDX-License-Identifier: Apache-2.0
"""``makalu serve`` and ``makalu fleet``: models in a folder, for stock clients."""

import asyncio
import importlib.util
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import update_wrapper
from pathlib import Path
from typing import Any

import click

from isa.chip import CHIPS
from makalu.cli.console import out
from makalu.cli.options import DeviceName, config_option, mhz_option

NEEDS = {"fastapi": "fastapi", "uvicorn": "uvicorn", "grpc": "grpcio",
         "tritonclient": "tritonclient", "prometheus_client": "prometheus-client"}

USUAL = 2
"""Cores of each device of a fleet."""

ENVIRONMENT = {"auto_envvar_prefix": "MAKALU_SERVE"}


@dataclass(frozen=True)
class Serving:
    """The options that all servers have."""

    folder: Path
    devices: tuple[str, ...]
    config: str
    host: str
    port: int
    grpc_port: int
    tenants: Path | None
    poll: float
    mhz: float
    limit: float
    drain: float
    log: str

    def run(self, cores: int | None, begin: Callable[[str, str, int], Any], usual: int = 1) -> None:
        """Serve until told to stop; each device has so many cores, by default ``usual``, or all of
        a chip; ``begin`` begins its processes."""
        from makalu.serve import log, server, tenants
        from makalu.serve.accelerator import Hardware
        from makalu.serve.metrics import Metrics
        from makalu.serve.requests import Record
        from makalu.serve.service import Service

        log.set_up(self.log)
        metrics = Metrics()
        hardware = [Hardware(name, device, self.config, cores or _all(device, usual), self.mhz,
                             self.limit)
                    for name, device in _named(self.devices).items()]

        def answered(record: Record) -> None:
            log.request(record)
            metrics.answered(record)

        async def run() -> None:
            service = Service(
                self.folder, hardware, tenants.load(self.tenants) if self.tenants else None,
                self.poll, log.say, metrics.seen, answered, begin)
            await server.run(service, metrics, server.Address(
                self.host, self.port, self.grpc_port, self.drain))

        asyncio.run(run())


def serving(command: Callable[..., None]) -> Callable[..., None]:
    """The argument and the options of :class:`Serving`, which the command takes as ``how``."""
    def gathered(**given: Any) -> None:
        how = Serving(**{name: given.pop(name) for name in Serving.__dataclass_fields__})
        command(how=how, **given)

    made: Callable[..., None] = update_wrapper(gathered, command)
    for option in reversed((
            click.argument("folder", type=click.Path(path_type=Path),
                           envvar="MAKALU_SERVE_FOLDER"),
            click.option("--device", "devices", multiple=True, type=DeviceName(),
                         default=("golden",), show_default=True, metavar="DEVICE",
                         help=f"golden, rtl, board, {', '.join(CHIPS)} (chips, whose cores leases "
                              "share) or uart:PORT; given several times, leases choose."),
            config_option,
            click.option("--host", default="127.0.0.1", show_default=True,
                         help="Address to listen on; 0.0.0.0 is every network."),
            click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True,
                         help="Of HTTP; 0: any that is free."),
            click.option("--grpc-port", type=click.IntRange(0, 65535), default=8081,
                         show_default=True),
            click.option("--tenants", type=click.Path(path_type=Path), metavar="FILE.json",
                         help="Who may ask, with digests of their tokens (makalu token).  "
                              "[default: anybody]"),
            click.option("--poll", type=click.FloatRange(0), default=2.0, show_default=True,
                         help="Seconds between two looks at the folder; 0: only when asked."),
            mhz_option,
            click.option("--limit", type=click.FloatRange(0, min_open=True), default=600.0,
                         show_default=True, help="Seconds that an execution may take."),
            click.option("--drain", type=click.FloatRange(0), default=30.0, show_default=True,
                         help="Seconds that requests may need when the server is told to stop."),
            click.option("--log", default="info", show_default=True,
                         type=click.Choice(("debug", "info", "warning", "error")),
                         help="Lines of JSON on standard error."))):
        made = option(made)
    return made


@click.command(context_settings=ENVIRONMENT)
@serving
@click.option("--cores", type=click.IntRange(1), metavar="N",
              help="Of each device, each a process of its own; of a chip, those that are used.  "
                   "[default: 1, or all of a chip]")
def serve(how: Serving, cores: int | None) -> None:
    """Serve the models in FOLDER, as NAME/VERSION/model.onnx (or another format, or a .mkl
    program), with the Open Inference Protocol over HTTP and gRPC, TensorFlow Serving's REST and
    SageMaker's container contract. NAME/makalu.json may say how: {"batches": [1, 4], "delay_ms": 2,
    "serve": "all", "options": {"precision": "fp16"}}.

    In a container, FOLDER and each option may come from the environment, as MAKALU_SERVE_FOLDER,
    MAKALU_SERVE_DEVICES and so on.

    \b
    Examples:
      makalu serve models
      makalu serve models --device rtl --config core1024 --cores 2
      makalu serve models --device chip4_small
      makalu serve models --tenants tenants.json --host 0.0.0.0
      curl localhost:8080/makalu/status
    """
    _need(NEEDS, "serve")
    from makalu.serve.process import Process

    how.run(cores, Process.begin)


@click.command(context_settings=ENVIRONMENT)
@serving
@click.option("--cores", type=click.IntRange(1), metavar="N",
              help="Of each device, wherever the cluster has room for them; of a chip, which takes "
                   "the room of one, those that are used.  [default: 2, or all of a chip]")
@click.option("--address", metavar="HOST:PORT",
              help="The head of a Ray cluster; auto: the cluster that this computer is in.  "
                   "[default: a new one, of this computer alone]")
def fleet(how: Serving, cores: int | None, address: str | None) -> None:
    """Serve the models in FOLDER as makalu serve does, with cores on the computers of a Ray cluster
    (makalu[ray]). A computer says how many it takes; when one goes, its cores are started again
    where there is room, and what they were running is run again.

    \b
    Examples:
      makalu fleet models
      ray start --head --resources='{"makalu_core": 2}'
      ray start --address=HEAD:6379 --resources='{"makalu_core": 4}'    (on another computer)
      makalu fleet models --address HEAD:6379 --cores 6 --config core1024 --device rtl
    """
    _need(NEEDS, "serve")
    _need({"ray": "ray"}, "ray")
    from makalu.serve import fleet

    fleet.join(address, sum(1 if device in CHIPS else cores or USUAL for device in how.devices))
    how.run(cores, fleet.Actor.begin, USUAL)


def _need(modules: dict[str, str], extra: str) -> None:
    missing = [package for module, package in modules.items()
               if not importlib.util.find_spec(module)]
    if missing:
        raise click.ClickException(f"this needs {', '.join(missing)}: pip install "
                                   f"'makalu[{extra}]'")


def _all(device: str, usual: int) -> int:
    """Cores of a device of which nobody says how many."""
    return CHIPS[device].cores if device in CHIPS else usual


def _named(devices: tuple[str, ...]) -> dict[str, str]:
    """Devices by a name of their own: ``golden0``, ``golden1``, ``rtl0``, ``chip4-0``."""
    names: dict[str, str] = {}
    count: Counter[str] = Counter()
    for device in devices:
        kind = device.partition(":")[0] + ("-" if device in CHIPS else "")
        names[f"{kind}{count[kind]}"] = device
        count[kind] += 1
    return names


@click.command()
def token() -> None:
    """Make a token for a tenant, and the digest of it for the server's file of tenants.

    \b
    Example:
      makalu token
    """
    from makalu.serve.tenants import new_token

    made, digest = new_token()
    out.print(f"token         {made}\ntoken_sha256  {digest}")
