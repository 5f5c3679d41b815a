# SPDX-License-Identifier: Apache-2.0
"""``makalu ls``, ``top`` and ``monitor``: what a server's devices, leases and models do."""

import json
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any

import click
from rich.live import Live

from makalu.cli import console
from makalu.cli.client import NoServer, Server, server_options
from makalu.cli.options import json_option
from makalu.cli.rates import with_rates
from makalu.cli.state_table import tables

SAMPLES = 30
"""Of a device's busy line."""

interval_option = click.option(
    "--interval", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True,
    metavar="SECONDS", help="Between two looks; rates are of this time.")


@click.command()
@server_options
@json_option
def ls(server: Server, as_json: bool) -> None:
    """List a server's devices and their cores, leases and models.

    \b
    Examples:
      makalu ls
      makalu ls --json --server http://10.0.0.7:8080 --token TOKEN
    """
    state = server.status()
    if as_json:
        console.emit_json(state)
    else:
        console.out.print(tables(state))


@click.command()
@interval_option
@click.option("--once", is_flag=True, help="Show one interval and end.")
@server_options
def top(server: Server, interval: float, once: bool) -> None:
    """Show live what a server does: devices and their cores, leases, models, rates a second. Ctrl-C
    ends it.

    \b
    Examples:
      makalu top
      makalu top --once --interval 5
    """
    if not once and not console.out.is_terminal:
        raise click.ClickException("top draws on a terminal: use --once, or makalu monitor for "
                                   "lines of JSON")
    states = _states(server, interval)
    if once:
        console.out.print(tables(next(states)))
        return
    busy: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=SAMPLES))
    try:
        with Live(console=console.out, screen=True, auto_refresh=False) as live:
            live.update(f"{server.url}: a first look takes {interval:g} s", refresh=True)
            for state in states:
                if "error" in state:
                    live.update(f"{state['error']}\nIt is tried again.", refresh=True)
                    continue
                for device in state["devices"]:
                    busy[device["name"]].append(device["busy"])
                live.update(tables(state, busy), refresh=True)
    except KeyboardInterrupt:
        return


@click.command()
@interval_option
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many lines.")
@server_options
def monitor(server: Server, interval: float, count: int | None) -> None:
    """Print what a server does, one JSON object a line: the state of /makalu/status with the rate
    of each counter beside it, as cycles_per_second. A server that goes away is a line with an
    error, and is asked again.

    \b
    Examples:
      makalu monitor
      makalu monitor --interval 5 | jq '.leases[] | {id, cycles_per_second, waiting}'
      makalu monitor --count 1
    """
    try:
        for k, state in enumerate(_states(server, interval), 1):
            print(json.dumps(state), flush=True)
            if k == count:
                return
    except (KeyboardInterrupt, BrokenPipeError):
        return


def _states(server: Server, interval: float) -> Iterator[dict[str, Any]]:
    """A state with rates after each interval; of one in which the server did not answer its time
    and the error. NoServer if it does not answer at first."""
    before = server.status()
    while True:
        time.sleep(interval)
        try:
            now = server.status()
        except NoServer as e:
            yield {"time": time.time(), "error": str(e)}
            continue
        yield with_rates(before, now)
        before = now
