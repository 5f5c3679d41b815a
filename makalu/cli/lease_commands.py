# SPDX-License-Identifier: Apache-2.0
"""``makalu lease``: shares of a server's devices, while it runs."""

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any
from urllib.parse import quote

import click

from makalu.cli import console, state_table
from makalu.cli.client import Server, server_options
from makalu.cli.options import json_option
from makalu.serve.terms import Terms

LEASES = "/makalu/leases"

TERMS = [f for f in fields(Terms) if f.name != "device"]


def _given(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, Any]:
    """The term, if it was given; the server says what it may be."""
    if value is None:
        return {}
    if value == "none":
        return {str(param.name): None}
    for kind in (int, float):
        try:
            return {str(param.name): kind(value)}
        except ValueError:
            continue
    raise click.BadParameter(f"{value!r} is neither a number nor none", ctx, param)


def term_options(f: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each term of a lease, which the command gets as ``terms``."""
    @functools.wraps(f)
    def command(**given: Any) -> Any:
        terms: dict[str, Any] = {}
        for term in TERMS:
            terms |= given.pop(term.name)
        return f(terms=terms, **given)

    for term in reversed(TERMS):
        said = "none" if term.default is None else term.default
        must = term.metadata["must"].replace("null", "none")
        command = click.option(
            f"--{term.name.replace('_', '-')}", term.name, callback=_given, metavar="NUMBER",
            help=f"{term.metadata['about']} It is {must}.  [new leases: {said}]")(command)
    return command


@click.group()
def lease() -> None:
    """Attach, resize, move and detach shares of a server's devices, while requests run.

    \b
    Examples:
      makalu lease attach --share 2
      makalu lease resize default-1 --share 4 --rate 1000
      makalu lease move default-1 golden1
      makalu lease detach default-1
      makalu lease ls --server http://10.0.0.7:8080 --token TOKEN
    """


@lease.command()
@click.option("--device", metavar="NAME",
              help="One of makalu ls.  [default: the one with the smallest shares, of those that "
                   "have the cores]")
@term_options
@server_options
@json_option
def attach(server: Server, device: str | None, terms: dict[str, Any], as_json: bool) -> None:
    """Get a new lease. Requests name it by the parameter `lease`; without one they use the tenant's
    first.

    \b
    Examples:
      makalu lease attach --share 2
      makalu lease attach --cores 2
      makalu lease attach --device rtl0 --cores 1 --priority 5 --queue 64
    """
    body = {**({"device": device} if device else {}), **terms}
    _show(server.ask(LEASES, "POST", body), as_json)


@lease.command()
@click.argument("id", metavar="LEASE")
@term_options
@server_options
@json_option
def resize(server: Server, id: str, terms: dict[str, Any], as_json: bool) -> None:
    """Change the terms of LEASE; what waits keeps waiting.

    \b
    Examples:
      makalu lease resize default-1 --share 4
      makalu lease resize default-1 --cores 1
      makalu lease resize default-1 --rate none --memory-bytes 1000000
    """
    if not terms:
        raise click.UsageError("say what is to change: " + ", ".join(
            f"--{t.name.replace('_', '-')}" for t in TERMS))
    _show(server.ask(_path(id), "PATCH", terms), as_json)


@lease.command()
@click.argument("id", metavar="LEASE")
@click.argument("device")
@server_options
@json_option
def move(server: Server, id: str, device: str, as_json: bool) -> None:
    """Move LEASE to DEVICE, with what waits for it.

    \b
    Example:
      makalu lease move default-1 rtl0
    """
    _show(server.ask(_path(id), "PATCH", {"device": device}), as_json)


@lease.command()
@click.argument("id", metavar="LEASE")
@server_options
def detach(server: Server, id: str) -> None:
    """End LEASE, after what waits for it was answered.

    \b
    Example:
      makalu lease detach default-1
    """
    server.ask(_path(id), "DELETE")
    console.out.print(f"{id} is detached")


@lease.command("ls")
@server_options
@json_option
def list_leases(server: Server, as_json: bool) -> None:
    """List the tenant's leases; an administrator sees everybody's.

    \b
    Examples:
      makalu lease ls
      makalu lease ls --json
    """
    found = server.ask(LEASES)
    if as_json:
        console.emit_json({"leases": found})
    else:
        console.out.print(state_table.leases(found))


def _path(id: str) -> str:
    return f"{LEASES}/{quote(id, safe='')}"


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        console.emit_json(found)
    else:
        console.out.print(state_table.leases([found]))
