# SPDX-License-Identifier: Apache-2.0
"""What the command line shows: results on standard output, everything else on standard error."""

import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from isa.errors import SUPPORTED
from isa.program import Program
from makalu import facts
from makalu.text import number, percent, plain
from sim.cache import cache_folder

WIDE = 120
"""Columns where the terminal does not tell: a file or a pipe."""



class Terminal(Console):
    """A console that takes text as it is: no markup, and nothing that a terminal obeys."""

    def __init__(self, **options: Any):
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """See :class:`rich.console.Console`."""
        return super().render_str(plain(text), **options)


out = Terminal(soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)
err = Terminal(stderr=True)

CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")


def emit_json(value: dict[str, Any]) -> None:
    """Exactly one JSON object on standard output."""
    click.echo(json.dumps(value))


def warn(text: str) -> None:
    """What a user should know of a result that comes all the same."""
    click.echo(f"makalu: warning: {text}", err=True)


def sentence(error: OSError) -> str:
    """An error of the file system, with what is wrong and where, and, if it concerns the folder of
    built simulations, how to name another."""
    if error.filename is None or error.strerror is None:
        return str(error)
    where = Path(os.fsdecode(error.filename))
    folder = cache_folder()
    cure = (f"; built simulations are kept in {folder}: name another folder with MAKALU_CACHE"
            if where.is_relative_to(folder) or folder.is_relative_to(where) else "")
    return f"{where}: {error.strerror.lower()}{cure}"


def warn_host_alone(program: Program) -> None:
    """Say so if the machine computes nothing of a network."""
    if facts.host_alone(program):
        warn(facts.host_alone_warning(program))


@contextlib.contextmanager
def progress(text: str, unit: str) -> Iterator[Callable[[float, float | None], None]]:
    """A progress bar on a terminal, nothing elsewhere; the yielded function takes what is done
    and, where it is known, the total."""
    bar = Progress(TextColumn("{task.description}", markup=False), BarColumn(),
                   TextColumn("{task.fields[state]}"), TimeElapsedColumn(), TimeRemainingColumn(),
                   console=err, transient=True, disable=not err.is_terminal)
    task = bar.add_task(plain(text), total=None, state="")

    def update(done: float, total: float | None = None) -> None:
        of = f" of {total:,.0f}" if total else ""
        bar.update(task, completed=done, total=total, state=f"{done:,.0f}{of} {unit}")

    with bar:
        yield update


def table(title: str, columns: list[tuple[str, str]], rows: list[list[str]]) -> Table:
    """A table; a column is its heading and ``left`` or ``right``."""
    t = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False,
              header_style="dim")
    for heading, side in columns:
        t.add_column(heading, justify="right" if side == "right" else "left",
                     no_wrap=side == "right")
    for row in rows:
        t.add_row(*row)
    return t


def report(program: Program) -> None:
    """The placement table and the program's numbers."""
    cycles = facts.node_cycles(program)
    folded = [p for p in program.placement if p["engine"] == "none" and p["op"] in CONVERSIONS]
    rows = [[p["node"], p["op"], p["engine"], number(cycles.get(p["node"])), p["reason"]]
            for p in program.placement if p not in folded]
    out.print(table(f"{program.name} on {program.config.name}: where each node runs",
                    [("node", "left"), ("operator", "left"), ("engine", "left"),
                     ("predicted cycles", "right"), ("why", "left")], rows), soft_wrap=False)
    if folded:
        kinds = Counter(p["op"] for p in folded)
        out.print("Not shown, folded into their neighbors: "
                  + ", ".join(f"{n} {op}" for op, n in sorted(kinds.items())))
    if cycles.get(""):
        out.print(f"{cycles['']:,} predicted cycles are of no node: tensors copied for the host")
    s = facts.summary(program)
    host = [p for p in program.placement if p["engine"] == "host"]
    out.print(f"{s['instructions']:,} instructions, program of {s['image_bytes']:,} bytes, "
              f"{s['macs']:,} MACs, {s['dram_bytes']:,} bytes of DRAM traffic "
              f"({s['compulsory_bytes']:,} at least; {s['spilled_bytes']:,} are spilled: what did "
              "not stay in the scratchpad)")
    predicted = (f", {s['predicted_cycles']:,} predicted ({percent(s['predicted_share'])} of the "
                 "roofline)" if s["predicted_cycles"] else "")
    out.print(f"roofline {s['roofline_cycles']:,} cycles{predicted}")
    if program.choices:
        rows = [[c["layer"], c["op"], c["type"], c.get("sqnr_alone", "-"), c["reason"]]
                for c in program.choices]
        out.print(table("what each layer is computed in",
                        [("layer", "left"), ("operator", "left"), ("type", "left"),
                         ("alone in INT8, dB", "right"), ("why", "left")], rows), soft_wrap=False)
    out.print(f"{len(host)} of {len(program.placement)} nodes run on the host"
              + (":" if host else ""))
    for line in facts.on_host(program):
        out.print(f"  {line}", markup=False)
    if host:
        out.print(f"what the machine runs, and what to do about the rest: {SUPPORTED}")
