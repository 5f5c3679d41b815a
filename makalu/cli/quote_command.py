# SPDX-License-Identifier: Apache-2.0
"""``makalu quote``: what a model would cost, before it is served."""

from dataclasses import replace
from typing import Any

import click

from compiler.source.imports.formats import is_model
from isa.program import Program
from makalu import api, facts
from makalu.cli import console
from makalu.cli.options import (How, compile_options_of_batches, json_option, load_net, mhz_option)
from makalu.text import number, percent
from runtime.session import Session

COLUMNS = (("batch", "batch", 0), ("cycles", "cycles", 0), ("microseconds", "µs", 1),
           ("elements_per_second", "elements/s", 0), ("roofline_cycles", "roofline", 0),
           ("roofline_share", "reached", None), ("moved_bytes", "DRAM bytes moved", 0),
           ("held_bytes", "DRAM bytes held", 0))
"""Of the table: key, heading, digits; None is a share."""


@click.command()
@click.argument("model")
@compile_options_of_batches
@mhz_option
@json_option
def quote(model: str, how: How, batches: tuple[int, ...], mhz: float, as_json: bool) -> None:
    """Say what MODEL (.mkl, .onnx or another format) costs, before it is served: for each batch the
    cycles that the compiler predicts, the time at a clock, the DRAM that the program holds and the
    bytes that an inference moves.

    A tenant who needs N elements a second needs N over elements/s of a device's cycles, which is
    what the share of a lease buys. What the host runs is not in it.

    \b
    Examples:
      makalu quote examples/digits_int8.onnx --host all
      makalu quote examples/digits_int8.onnx --host all --batch 1 --batch 4 --batch 16 --mhz 200
      makalu quote net_fp32.onnx --host all --config core256_fp --precision fp16 --json
      makalu quote net.mkl
    """
    if not is_model(model) and batches:
        raise click.ClickException(f"{model} is a program, whose batch is fixed: leave --batch out,"
                                   " or give the model that it was compiled from")
    programs = [load_net(model, replace(how, batch=batch)) for batch in batches or (None,)]
    rows = [facts.cost(p).at(mhz, _batch(p)) for p in programs]
    host = facts.summary(programs[0])["host_nodes"]
    if as_json:
        console.emit_json({"model": programs[0].name, "config": programs[0].config.name,
                           "precision": programs[0].precision, "mhz": mhz, "host_nodes": host,
                           "batches": rows})
        return
    console.out.print(console.table(
        f"{programs[0].name} on {programs[0].config.name} at {mhz:g} MHz, an inference",
        [(heading, "right") for _, heading, _ in COLUMNS],
        [[_cell(row[key], digits) for key, _, digits in COLUMNS] for row in rows]))
    if host:
        console.out.print(f"{host} nodes run on the host, whose time is not in this: makalu report "
                          "names them")


def _batch(program: Program) -> int:
    with api.open_device("golden", program.config) as device:
        return Session(program, device, loaded=True).batch


def _cell(value: Any, digits: int | None) -> str:
    return percent(value) if digits is None else number(value, digits)
