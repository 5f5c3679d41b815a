# SPDX-License-Identifier: Apache-2.0
"""``makalu plan``: what chips of several cores would make of a model."""

import dataclasses
from dataclasses import replace
from typing import Any

import click

from compiler.source.imports.formats import is_model
from isa.chip import MOST_CORES
from isa.instructions import MOST_RANKS
from isa.program import Program
from makalu import api
from makalu.cli import console
from makalu.cli.options import (How, compile_each, compile_options, json_option, load_net,
                                mhz_option)
from makalu.plan import PRICES, Planned, plan as planned, sizes
from makalu.text import number, percent
from runtime.session import Session

COLUMNS = ("cores", "groups", "DRAM, B/cycle", "price", "cycles", "of one alone", "unicast",
           "elements/s")


@click.command()
@click.argument("model")
@click.option("--cores", type=click.IntRange(1, MOST_CORES), default=MOST_CORES, show_default=True,
              metavar="N", help="As many cores at most; fewer are shown beside them.")
@click.option("--bandwidth", type=click.FloatRange(0, min_open=True), metavar="BYTES",
              help="Of the memory, in bytes a cycle.  [default: what a chip of so many cores has]")
@click.option("--groups-of", type=click.IntRange(2, MOST_RANKS), metavar="N",
              help="Compile for N cores that run the network together, too, and show chips with "
              "groups of so many beside those with an input a core.")
@compile_options
@mhz_option
@json_option
def plan(model: str, cores: int, bandwidth: float | None, groups_of: int | None, how: How,
         mhz: float, as_json: bool) -> None:
    """Say what MODEL (.mkl, .onnx or another format) would make of a chip, an input a core, as the
    compiler predicts it: how many cycles each core takes, how close that is to a core that has the
    memory for itself, and how many elements all infer in a second.

    Cores of a chip are a gang, which reads weights and instructions once; "unicast" is what they
    would reach if each read for itself. "price" is the --dram-price of the program that is the
    quickest there; without that option several are tried. What the host runs is not in it.

    With --groups-of, groups of several cores have an input each: fewer cycles for it, and mostly
    fewer elements in a second. "of one alone" is then the speed of each core of a group.

    docs/chip.md has what simulated chips of four cores take beside these predictions.

    \b
    Examples:
      makalu plan net.onnx --config core1024
      makalu plan net.onnx --config core1024 --cores 16 --bandwidth 64
      makalu plan net.onnx --config core1024 --cores 16 --groups-of 4
      makalu plan net_fp32.onnx --config core1024_fp --precision fp16 --mhz 1000 --json
    """
    if groups_of and not is_model(model):
        raise click.ClickException(f"{model}: a program is for the number of cores that it was "
                                   "compiled for; give the model, or leave --groups-of out")
    prices = (how.dram_price,) if how.dram_price or not is_model(model) else PRICES
    programs, rows = [dict[float, Program]() for _ in range(1 + bool(groups_of))], list[Planned]()
    with console.progress("compiling", "programs") as update:
        for k, price in enumerate(prices):
            update(k, len(prices))
            priced = replace(how, dram_price=price)
            made = (compile_each(model, priced, (1, groups_of)) if groups_of
                    else [load_net(model, priced)])
            for of_size, program in zip(programs, made, strict=True):
                of_size[price] = program
    counts = sizes(cores)
    with console.progress("predicting", "chips") as update:
        for row in planned(programs, counts, bandwidth):
            rows.append(row)
            update(len(rows), len(counts))
    _show(programs[0][prices[0]], rows, mhz, as_json)


def _show(program: Program, rows: list[Planned], mhz: float, as_json: bool) -> None:
    with api.open_device("golden", program.config) as device:
        batch = Session(program, device, loaded=True).batch
    if as_json:
        console.emit_json({
            "model": program.name, "config": program.config.name, "mhz": mhz, "batch": batch,
            "chips": [{**dataclasses.asdict(row),
                       "elements_per_second": round(row.a_second(mhz, batch), 3)}
                      for row in rows]})
        return
    console.out.print(console.table(
        f"{program.name} on chips of {program.config.name} at {mhz:g} MHz, an input a "
        "group, predicted", [(heading, "right") for heading in COLUMNS],
        [_cells(row, mhz, batch) for row in rows]))


def _cells(row: Planned, mhz: float, batch: int) -> list[str]:
    values: list[Any] = [
        str(row.cores), f"{row.groups} x {row.ranks}", f"{row.bytes_a_cycle:g}",
        f"{row.price:g}", number(row.gang, 0), percent(row.share(row.gang)),
        percent(row.share(row.unicast)),
        number(row.a_second(mhz, batch), 0)]
    return values
