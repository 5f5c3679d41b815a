# SPDX-License-Identifier: Apache-2.0
"""The table of docs/frameworks.md, on the screen and in the page."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table

from examples.frameworks.trial import Row, Trial, measure
from makalu.cli.console import out

HEAD = ("network", "framework", "precision", "difference after import", "SQNR", "same class",
        "top-1 of the framework", "top-1 of the machine", "cycles on the RTL")


def cells(row: Row) -> list[str]:
    """A row in words."""
    a, right = row.agreement, (row.right, row.right_here)
    return [row.trial.network, row.trial.framework, row.trial.precision, f"{row.difference:.1e}",
            "equal" if a.sqnr_db is None else f"{a.sqnr_db:.1f} dB", f"{a.same_top1} of {a.rows}",
            *("" if r is None else f"{r:.1%}" for r in right), f"{row.cycles:,}"]


def report(makers: Sequence[Callable[[Path], list[Trial]]]) -> list[Row]:
    """Make the trials, measure each, and print the table."""
    table = Table(*HEAD, title="Networks of each framework: the golden model, and some inputs on "
                  "the simulated RTL with the same bits")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for make in makers:
            for trial in make(Path(folder)):
                rows.append(measure(trial, out.print))
                table.add_row(*cells(rows[-1]))
    out.print(table)
    return rows
