# SPDX-License-Identifier: Apache-2.0
"""Figures of a block against those that are documented."""

from typing import Any

AREA, FREQUENCY = 0.05, 0.10
"""What may be lost: so much more of a kind of cell, so much less frequency."""

MHZ = "MHz"
"""The figure that is better if it is larger; all others are areas."""


def losses(name: str, old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> list[str]:
    """A sentence for each figure of ``new`` that is worse than that of ``old``, by more than the
    margin. Both are figures by name for each target; what ``new`` has not measured is let pass."""
    said = []
    for target in old.keys() & new.keys():
        if "error" in new[target] and "error" not in old[target]:
            said.append(f"{name}, {target}: {new[target]['error']}")
            continue
        for figure, before in old[target].items():
            now = new[target].get(figure)
            if isinstance(before, str) or now is None or not _worse(figure, before, now):
                continue
            change = f"{abs(now - before) / before:.1%}" if before else "from none"
            more, margin = ("less", FREQUENCY) if figure == MHZ else ("more", AREA)
            said.append(f"{name}, {target}: {figure} was {before:,} and is {now:,}, {change} "
                        f"{more}, of which {margin:.0%} are allowed: win it back, or run make "
                        "synthesis if it is meant")
    return sorted(said)


def _worse(figure: str, before: float, now: float) -> bool:
    if figure == MHZ:
        return now < before * (1 - FREQUENCY)
    return now > before * (1 + AREA)
