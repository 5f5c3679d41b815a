# SPDX-License-Identifier: Apache-2.0
"""Where the multipliers and block RAMs of a machine lie on an ECP5-85, if it takes most of the
former.

::

    row of DSP blocks   groups of four multipliers
                     0     1     2     3     4     5     6     7     8     9    10    11    12
               10  └─ t0.c0 ─┘ └─ t0.c1 ─┘ └─ t0.c2 ─┘ vector └─ t1.c2 ─┘ └─ t1.c1 ─┘ └─ t1.c0 ─┘
               34  └─ t0.c3 ─┘ └─ t0.c4 ─┘ └─ t0.c5 ─┘ vector └─ t1.c5 ─┘ └─ t1.c4 ─┘ └─ t1.c3 ─┘
               58  └─ t0.c6 ─┘ └─ t0.c7 ─┘ └─ post0 ─┘ others └─ post1 ─┘ └─ t1.c7 ─┘ └─ t1.c6 ─┘

    row of block RAMs   four in each group
               22  scratchpad: bits 0 to 39 of a word, those of all banks side by side
               46  └─── scratchpad: bits 40 to 59 ───┘ └─ queues ─┘ bits 60 to 63
               70  └─────── accumulator 0 ───────┘             └─────── accumulator 1 ───────┘

nextpnr moves multipliers and block RAMs one by one. Where nearly all multipliers are taken it
leaves a column's scattered over the device, and a memory's block RAMs wherever a row has room.
Here a column (``c``) of a tile (``t``) has its eight multipliers side by side, each tile half of
the device; a bit of the scratchpad comes from one place, whichever bank it is in; and the PSUM
banks and the multipliers of the post-processors lie so that these take the lower third of the
device, which is empty otherwise. All other cells find their places around them.
"""

import re
from collections.abc import Mapping
from typing import Any

from isa.config import Config

SIZE = "85k"
"""The device."""

MULTIPLIER_ROWS, MEMORY_ROWS = (10, 34, 58), (22, 46, 70)
"""Tile coordinates (y) of the rows of DSP blocks, and of block RAMs that are used."""

GROUPS = (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)
"""Tile coordinates (x) of each group's first multiplier or block RAM."""

MULTIPLIERS = ((0, "MULT18_0"), (1, "MULT18_1"), (4, "MULT18_4"), (5, "MULT18_5"))
MEMORIES = ((0, "EBR0"), (2, "EBR1"), (4, "EBR2"), (6, "EBR3"))
"""Distance in x and name of a group's."""

LANES, TILES, BANKS, BANK_BLOCKS, PSUM_BLOCKS = 8, 2, 4, 16, 8
"""Of the machines that are planned: the last three are banks of the scratchpad, block RAMs of each,
four bits wide, and block RAMs of a PSUM bank."""

COLUMNS = ((10, 0), (10, 2), (10, 4), (34, 0), (34, 2), (34, 4), (58, 0), (58, 2))
"""Row and first of the two groups of each column of the first tile; the second is its mirror
image."""

TENSOR = "core.machine.tensor."

QUEUES = ("fetch.buffer", *(f"sequencer.{q}_queue" for q in ("load", "vector", "store", "tensor")))
"""Of two block RAMs each."""


def planned(config: Config, size: str) -> bool:
    """Whether there is a plan for a machine on a device."""
    return ((config.lanes, config.tiles, config.spm_banks, config.floats, size)
            == (LANES, TILES, BANKS, False, SIZE)
            and config.spm_bytes == BANKS * BANK_BLOCKS * 2048)


def half(name: str) -> int | None:
    """In which half a cell of a tile, of its PSUM banks, or of its post-processor lies; None for
    another cell."""
    found = re.match(re.escape(TENSOR) + r"(?:tile|accumulator|drain\.post)([01])\.", name)
    return int(found[1]) if found else None


def fix(cells: Mapping[str, dict[str, Any]]) -> int:
    """Give the multipliers and block RAMs of a planned machine's flat netlist their places; returns
    how many have one. The others are left to the placer."""
    multipliers, memories, fixed = _multipliers(), _memories(), 0
    for name in sorted(cells):
        cell = cells[name]
        place: str | None = None
        if cell["type"] == "MULT18X18D":
            free = next((p for start, p in multipliers.items() if name.startswith(start)), [])
            place = free.pop(0) if free else None
        elif cell["type"] == "DP16KD":
            place = memories.get(name)
        if place:
            cell["attributes"]["BEL"] = place
            fixed += 1
    return fixed


def _multipliers() -> dict[str, list[str]]:
    """Places by the beginning of the cells' names."""
    def groups(row: int, *numbers: int) -> list[str]:
        return [place for g in numbers for place in _group(row, g, MULTIPLIERS)]

    last = len(GROUPS) - 1
    top, middle, low = MULTIPLIER_ROWS
    places: dict[str, list[str]] = {}
    for c, (row, first) in enumerate(COLUMNS):
        pair = (first, first + 1)
        places[f"{TENSOR}tile0.column{c}."] = groups(row, *pair)
        places[f"{TENSOR}tile1.column{c}."] = groups(row, *(last - g for g in pair))
    return {**places, f"{TENSOR}drain.post0.": groups(low, 4, 5),
            f"{TENSOR}drain.post1.": groups(low, 8, 7),
            "core.machine.vector.": groups(middle, 6) + groups(top, 6)}


def _memories() -> dict[str, str]:
    """Places by the cells' names."""
    upper, middle, lower = (
        [place for g in range(len(GROUPS)) for place in _group(row, g, MEMORIES)]
        for row in MEMORY_ROWS)
    bits = iter(upper[2:42] + middle[4:24] + middle[34:38])
    queues = iter(middle[24:34])
    places = {f"core.machine.scratchpad.bank{b}.0.{k}": next(bits)
              for k in range(BANK_BLOCKS) for b in range(BANKS)}
    places |= {f"core.machine.{queue}.fifo.storage.0.{k}": next(queues)
               for queue in QUEUES for k in range(2)}
    for tile, side in enumerate((lower, lower[::-1])):
        those = iter(side[1:])
        places |= {f"{TENSOR}accumulator{tile}.bank{b}.0.{k}": next(those)
                   for k in range(PSUM_BLOCKS) for b in range(2)}
    return places


def _group(row: int, number: int, those: tuple[tuple[int, str], ...]) -> list[str]:
    """The names of a group's places in nextpnr."""
    return [f"X{GROUPS[number] + x}/Y{row}/{name}" for x, name in those]
