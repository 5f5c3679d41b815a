# SPDX-License-Identifier: Apache-2.0
"""Measures serving and writes docs/serving_benchmarks.md: ``python -m examples.serving``.

``--quick`` measures next to nothing and writes to build/bench. ``MAKALU_TRITON`` is a Python that
has nvidia-pytriton; without it there is no row of Triton.
"""

import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from examples.serving import measure
from examples.serving.measure import BATCHES, CONFIG, FULL, LOAD, QUICK, SHARES, Size
from makalu.cli.console import out
from makalu.pages.isa_pages import DOCS, table

TRITON = "MAKALU_TRITON"

NAMES = {"makalu": "Makalu", "triton": "Triton 2.51, Python model", "bare": "a bare server"}

OWN_P50, OWN_P99 = 2.0, 6.0
"""Milliseconds of the server's own share, at most."""

TEXT = """<!-- SPDX-License-Identifier: Apache-2.0 -->
<!-- Made by `make bench-serve`; edit examples/serving, not this page. -->
# Serving: benchmarks

Made by `make bench-serve` ([examples/serving](../examples/serving)): stock clients (`tritonclient`;
`locust` for arrivals that do not wait), loopback only, servers and clients in processes of their
own, every answer compared. The device is the golden model of `{config}` unless it is said
otherwise: it computes on the same CPU cores that server and clients run on, so that their times
are not independent of each other.

{machine}. Load average (of one minute) {before:.1f} at the begin, {after:.1f} at the end, where
this run alone makes about 2.

## What the server takes of a request

602,112 bytes of FP32 in and out of a model that computes little (a Relu, on the host in all
servers; Makalu's golden model adds a convolution of three numbers), one client, {requests} requests
for each row, servers by turns; milliseconds. *Round trip*: until the client has the array. *Without
the device*: less the time of the execution in the device's process, which each reply says
(`device_us`); of Triton nothing is taken off, its function takes 0.06. *A bare server* reads the
request and sends a reply that was made beforehand: what client and loopback take. *Own share*:
without the device, less the bare server's at the same percentile.

{latency}
{triton}
## Throughput by batch

Digits a second by the elements of a request, one client over gRPC, on a CPU.

{throughput}
## Shares

Leases that always wait, four clients each; their part of the cycles, to be within 5 % of that of
the shares.

{shares}
## A tenant that floods

A calm lease sends one digit every 50 ms; beside it six clients flood another of the same share with
batches of 8. Its p99 may grow by one execution of the longest program. All are 99th percentiles in
milliseconds; executions of both leases are longer where clients that flood take the same CPU.

{flood}
## At {load:.0%} load

Poisson arrivals over HTTP of {most} digits each, counted from when they were due; p99 is to be at
most 8 service times + 10 ms. The service time is the device's under this load. (Requests are as
large as they are so that the device, and not the CPU under all of it, is what is waited for.)

{open_load}
## After kill -9 of the device's process

From the kill to the answer of a request sent at once, over gRPC: a new process that imports, opens
the device and loads the program.

{recovery}"""


def met(yes: bool) -> str:
    """Whether a target is met."""
    return "yes" if yes else "**no**"


def page(size: Size, triton: str | None, say: Callable[[str], None]) -> str:
    """Measure everything."""
    before = os.getloadavg()[0]
    parts: dict[str, str] = {}
    for name, part in (("latency", lambda: _latency(size, triton)),
                       ("throughput", lambda: _throughput(size)),
                       ("shares", lambda: _shares(size)), ("flood", lambda: _flood(size)),
                       ("open_load", lambda: _open_load(size)),
                       ("recovery", lambda: _recovery(size))):
        began = time.monotonic()
        parts[name] = part()
        say(f"{name}, {time.monotonic() - began:.0f} s\n{parts[name]}")
    return TEXT.format(
        **parts, config=CONFIG, machine=_machine(), before=before, after=os.getloadavg()[0],
        requests=size.rounds * size.requests, load=LOAD, most=BATCHES[-1],
        triton="" if triton else f"\nTriton is left out: `{TRITON}` names no Python that has "
        "nvidia-pytriton.\n")


def _machine() -> str:
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text()
              .splitlines() if line.startswith("model name")] or [platform.machine()]
    return f"{os.cpu_count()} cores ({models[0]}), Python {platform.python_version()}"


def _latency(size: Size, triton: str | None) -> str:
    rows = []
    for protocol, found in measure.latency(size, triton).items():
        bare50, bare99 = found["bare"][:2]
        for name, (p50, p99, own50, own99) in found.items():
            mine = "" if name == "bare" else f"{own50 - bare50:.1f}, {own99 - bare99:.1f}"
            good = own50 - bare50 <= OWN_P50 and own99 - bare99 <= OWN_P99
            rows.append((
                protocol, NAMES[name], f"{p50:.1f}, {p99:.1f}", f"{own50:.1f}, {own99:.1f}", mine,
                f"{OWN_P50:g}, {OWN_P99:g}: {met(good)}" if name == "makalu" else ""))
    return table(("protocol", "server", "round trip p50, p99", "without the device p50, p99",
                  "own share p50, p99", "target"), rows)


def _throughput(size: Size) -> str:
    return table(("batch", "digits/s"), ((batch, f"{rate:,.0f}") for batch, rate in
                                         measure.throughput(size).items()))


def _shares(size: Size) -> str:
    return table(("share", "of all shares", "of all cycles", "apart", "target"), (
        (f"{share:g}", f"{due:.1%}", f"{got:.1%}", f"{abs(got / due - 1):.1%}",
         f"5 %: {met(abs(got / due - 1) <= 0.05)}")
        for share, (due, got) in zip(SHARES, measure.shares(size))))


def _flood(size: Size) -> str:
    found = measure.flood(size)
    alone, beside, queued, longest = (found[k] for k in ("alone", "beside", "queued", "longest"))
    return table(("round trip alone", "beside the flood", "of it in the queue",
                  "longest execution", "target"), [
        (f"{alone:.1f}", f"{beside:.1f}", f"{queued:.1f}", f"{longest:.1f}",
         f"{alone + longest:.1f}: {met(beside <= alone + longest)}")])


def _open_load(size: Size) -> str:
    found: dict[str, Any] = measure.open_load(size)
    most = 8 * found["service"] + 10
    return table(("service time, ms", "load reached", "requests", "p50, ms", "p99, ms", "target"), [
        (f"{found['service']:.1f}", f"{found['load']:.0%}", f"{found['requests']:,}",
         f"{found['p50']:.1f}", f"{found['p99']:.1f}", f"{most:.1f}: {met(found['p99'] <= most)}")])


def _recovery(size: Size) -> str:
    rows = []
    for device in ("golden", "rtl"):
        seconds = sorted(measure.recovery(size, device, "tiny"))
        rows.append((f"{device} `tiny`", len(seconds), f"{seconds[len(seconds) // 2]:.2f}",
                     f"{seconds[-1]:.2f}"))
    return table(("device", "deaths", "median, s", "longest, s"), rows)


def main(arguments: list[str]) -> None:
    """Write the page."""
    quick = "--quick" in arguments
    folder = Path("build/bench") if quick else DOCS
    folder.mkdir(parents=True, exist_ok=True)
    text = page(QUICK if quick else FULL, os.environ.get(TRITON), out.print)
    (folder / "serving_benchmarks.md").write_text(text)
    out.print(f"{folder / 'serving_benchmarks.md'} written")


if __name__ == "__main__":
    main(sys.argv[1:])
