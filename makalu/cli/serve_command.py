# SPDX-License-Identifier: Apache-2.0
"""``makalu serve``: models in a folder, for stock clients."""

import asyncio
import importlib.util
from pathlib import Path

import click

from makalu.cli.console import out
from makalu.cli.options import DeviceName, config_option

NEEDS = {"fastapi": "fastapi", "uvicorn": "uvicorn", "grpc": "grpcio",
         "tritonclient": "tritonclient", "prometheus_client": "prometheus-client"}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--device", "devices", multiple=True, type=DeviceName(), default=("golden",),
              show_default=True, metavar="DEVICE",
              help="golden, rtl, board or uart:PORT; given several times, leases choose.")
@config_option
@click.option("--cores", type=click.IntRange(1), default=1, show_default=True,
              help="Processes of each device: its cores.")
@click.option("--host", "address", default="127.0.0.1", show_default=True,
              help="Address to listen on; 0.0.0.0 is every network.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True,
              help="Of HTTP; 0: any that is free.")
@click.option("--grpc-port", type=click.IntRange(0, 65535), default=8081, show_default=True)
@click.option("--tenants", "tenants_file", type=click.Path(path_type=Path), metavar="FILE.json",
              help="Who may ask, with digests of their tokens (makalu token).  [default: anybody]")
@click.option("--poll", type=click.FloatRange(0), default=2.0, show_default=True,
              help="Seconds between two looks at the folder; 0: only when asked.")
@click.option("--mhz", type=click.FloatRange(0, min_open=True), default=100.0, show_default=True,
              help="Clock of the machine, for the times that are quoted.")
@click.option("--limit", type=click.FloatRange(0, min_open=True), default=600.0,
              show_default=True, help="Seconds that an execution may take.")
@click.option("--drain", type=click.FloatRange(0), default=30.0, show_default=True,
              help="Seconds that requests may need when the server is told to stop.")
@click.option("--log", "level", default="info", show_default=True,
              type=click.Choice(("debug", "info", "warning", "error")),
              help="Lines of JSON on standard error.")
def serve(folder: Path, devices: tuple[str, ...], config: str, cores: int, address: str, port: int,
          grpc_port: int, tenants_file: Path | None, poll: float, mhz: float, limit: float,
          drain: float, level: str) -> None:
    """Serve the models in FOLDER, as NAME/VERSION/model.onnx (or another format, or a .mkl
    program), with the Open Inference Protocol over HTTP and gRPC, TensorFlow Serving's REST and
    SageMaker's container contract. NAME/makalu.json may say how: {"batches": [1, 4], "delay_ms": 2,
    "serve": "all", "options": {"precision": "fp16"}}.

    \b
    Examples:
      makalu serve models
      makalu serve models --device rtl --config core1024 --cores 2
      makalu serve models --tenants tenants.json --host 0.0.0.0
      curl localhost:8080/makalu/status
    """
    missing = [package for module, package in NEEDS.items() if not importlib.util.find_spec(module)]
    if missing:
        raise click.ClickException(f"serving needs {', '.join(missing)}: pip install "
                                   "'makalu[serve]'")
    from makalu.serve import log, server, tenants
    from makalu.serve.metrics import Metrics
    from makalu.serve.service import Hardware, Service

    log.set_up(level)
    metrics = Metrics()
    hardware = [Hardware(name, device, config, cores, mhz, limit)
                for name, device in _named(devices).items()]

    async def run() -> None:
        service = Service(folder, hardware, tenants.load(tenants_file) if tenants_file else None,
                          poll, log.say, metrics.seen)
        await server.run(service, metrics, server.Address(address, port, grpc_port, drain))

    asyncio.run(run())


def _named(devices: tuple[str, ...]) -> dict[str, str]:
    """Devices by a name of their own: ``golden0``, ``golden1``, ``rtl0``."""
    names: dict[str, str] = {}
    for device in devices:
        kind = device.partition(":")[0]
        names[f"{kind}{sum(n.startswith(kind) for n in names)}"] = device
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
