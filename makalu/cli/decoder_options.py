# SPDX-License-Identifier: Apache-2.0
"""What a decoder's program needs to be told, and how it is made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from isa.program import Program
from makalu import api
from makalu.cli import console
from makalu.cli.options import How, given_by_default

NOT_OF_A_DECODER = {"batch": "--batch", "calibration": "--calibration", "quantizer": "--quantize",
                    "keep": "--keep", "sqnr": "--sqnr", "agreement": "--agreement"}
"""Options of a compilation that say nothing of one."""


def decoder_options(context: str | None) -> Callable[..., Any]:
    """The options that say how long a decoder's cache is, with the default of ``--context``."""
    def decorated(f: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
                click.option("--prefill", type=click.IntRange(1), default=16, show_default=True,
                             metavar="N",
                             help="Tokens of a decoder's prompt that one execution takes."),
                click.option("--context", callback=_sizes, default=context,
                             show_default=context is not None, metavar="N,…",
                             help="Tokens that a decoder's cache holds: those of the prompt and of "
                                  "the text. Of several numbers each is read as long as it is "
                                  "enough.")):
            f = option(f)
        return f
    return decorated


def _sizes(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(v) for v in value.split(",")) if value else ()
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a number, nor numbers with commas between "
                                 "them", ctx, param) from None


def compile_decoder(model: str, how: How, context: tuple[int, ...], prefill: int) -> Program:
    """The program that a decoder compiles to; machine and precision that nobody has named are those
    of :func:`makalu.api.decoder`."""
    ctx = click.get_current_context()
    for name, option in NOT_OF_A_DECODER.items():
        if not given_by_default(ctx, name):
            raise click.ClickException(f"{option} is not for a decoder: leave it or --context out")
    given = {name: value for name, value in (("config", how.config), ("precision", how.precision))
             if not given_by_default(ctx, name)}
    with console.err.status(f"compiling {Path(model).name}"):
        return api.decoder(model, context=context, prefill=prefill, host=how.host,
                           dram_price=how.dram_price, **given)
