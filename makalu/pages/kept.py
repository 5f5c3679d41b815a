# SPDX-License-Identifier: Apache-2.0
"""Tables of measurements of chips in ``docs/chip.md``, whose rows are kept beside it: what was
measured before stays."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from makalu.measure.light import in_int8
from makalu.measure.mobilenet import mobilenet_v2
from makalu.measure.networks import Network, networks, of_files
from makalu.pages.isa_pages import DOCS, put, table
from sim.cache import say

MOBILENET = Network("mobilenet_v2", lambda: in_int8(mobilenet_v2(), "mobilenet_v2"))
"""Of true structure with seeded weights, as the light models."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """One table.

    Parameters
    ----------
    name : str
        Of its marks in the page, ``<!-- name -->`` and ``<!-- end of name -->``.
    figures : Path
        The rows, as JSON.
    titles : sequence of str
    key : sequence of str
        Fields of a row of which there is one, by which they are sorted.
    cells : function of a row and all rows
    page : Path
    """

    name: str
    figures: Path
    titles: Sequence[str]
    key: Sequence[str]
    cells: Callable[[Row, list[Row]], Iterable[object]]
    page: Path = DOCS / "chip.md"

    def rows(self) -> list[Row]:
        """Those that were measured before."""
        found: list[Row] = json.loads(self.figures.read_text()) if self.figures.exists() else []
        return found

    def write(self, rows: list[Row]) -> None:
        """The table into the page, the rows into the file beside it."""
        rows = sorted(rows, key=lambda row: [row[field] for field in self.key])
        put(self.page, f"<!-- {self.name} -->\n", f"<!-- end of {self.name} -->",
            table(self.titles, (self.cells(row, rows) for row in rows)))
        self.figures.write_text(json.dumps(rows, indent=1) + "\n")

    def add(self, rows: Iterable[Row]) -> None:
        """Rows one after another, as they are measured, each instead of the one before it with the
        same key."""
        for row in rows:
            others = [r for r in self.rows() if any(r[field] != row[field] for field in self.key)]
            self.write([*others, row])
            say(str(row))


def known() -> dict[str, Network]:
    """Networks that have a name."""
    return {network.label: network for network in (*networks()[0], MOBILENET)}


def named(name: str) -> Network:
    """One by its name, or a file."""
    return known().get(name) or of_files([Path(name)])[0]
