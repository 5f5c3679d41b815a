# SPDX-License-Identifier: Apache-2.0
"""Where the multipliers of a machine lie on an ECP5-85, if it takes most of them.

::

    row of DSP blocks   groups of four multipliers
                     0     1     2     3     4     5     6     7     8     9    10    11    12
               10  └─ t0.c0 ─┘ └─ t0.c1 ─┘ └─ t0.c2 ─┘ vector └─ t1.c2 ─┘ └─ t1.c1 ─┘ └─ t1.c0 ─┘
               34  └─ t0.c3 ─┘ └─ t0.c4 ─┘ └─ post0 ─┘ vector └─ post1 ─┘ └─ t1.c4 ─┘ └─ t1.c3 ─┘
               58  └─ t0.c5 ─┘ └─ t0.c6 ─┘ └─ t0.c7 ─┘ others └─ t1.c7 ─┘ └─ t1.c6 ─┘ └─ t1.c5 ─┘

nextpnr moves multipliers one by one, and where nearly all places are taken it leaves a column's
scattered over the device. Here a column (``c``) of a tile (``t``) has its eight multipliers side by
side, each tile half of the device, the post-processors the middle. All other cells find their
places around them.
"""

from collections.abc import Mapping
from typing import Any

from isa.config import Config

SIZE = "85k"
"""The device."""

ROWS, GROUPS = (10, 34, 58), (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)
"""Tile coordinates: y of the rows of DSP blocks, x of each group's first multiplier."""

IN_GROUP = ((0, "MULT18_0"), (1, "MULT18_1"), (4, "MULT18_4"), (5, "MULT18_5"))
"""Distance in x and name of a group's multipliers."""

LANES, TILES = 8, 2
"""Of the machines that are planned."""

COLUMNS = ((10, 0), (10, 2), (10, 4), (34, 0), (34, 2), (58, 0), (58, 2), (58, 4))
"""Row and first of the two groups of each column of the first tile; the second is its mirror
image."""

TENSOR = "core.machine.tensor."


def planned(config: Config, size: str) -> bool:
    """Whether there is a plan for a machine on a device."""
    return (config.lanes, config.tiles, config.floats, size) == (LANES, TILES, False, SIZE)


def fix(cells: Mapping[str, dict[str, Any]]) -> int:
    """Give the multipliers of a planned machine's flat netlist their places; returns how many have
    one. The others are left to the placer."""
    places, fixed = _places(), 0
    for name in sorted(n for n, cell in cells.items() if cell["type"] == "MULT18X18D"):
        free: list[str] = next((p for start, p in places.items() if name.startswith(start)), [])
        if free:
            cells[name]["attributes"]["BEL"] = free.pop(0)
            fixed += 1
    return fixed


def _places() -> dict[str, list[str]]:
    """Places by the beginning of the cells' names."""
    last = len(GROUPS) - 1
    places: dict[str, list[str]] = {}
    for c, (y, first) in enumerate(COLUMNS):
        pair = (first, first + 1)
        places[f"{TENSOR}tile0.column{c}."] = _multipliers(y, *pair)
        places[f"{TENSOR}tile1.column{c}."] = _multipliers(y, *(last - g for g in pair))
    return {**places, f"{TENSOR}drain.post0.": _multipliers(34, 4, 5),
            f"{TENSOR}drain.post1.": _multipliers(34, 7, 8),
            "core.machine.vector.": _multipliers(34, 6) + _multipliers(10, 6)}


def _multipliers(y: int, *groups: int) -> list[str]:
    """Their names in nextpnr."""
    return [f"X{GROUPS[g] + x}/Y{y}/{name}" for g in groups for x, name in IN_GROUP]
