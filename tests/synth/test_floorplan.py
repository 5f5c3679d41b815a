# SPDX-License-Identifier: Apache-2.0
"""The floorplan: places of the device, none twice, what belongs together side by side."""

import re

from isa.presets import PRESETS
from synth import floorplan

DEVICE = {f"X{x + at}/Y{y}/{name}" for rows, those in (
    (floorplan.MULTIPLIER_ROWS, floorplan.MULTIPLIERS), (floorplan.MEMORY_ROWS, floorplan.MEMORIES))
    for y in rows for x in floorplan.GROUPS for at, name in those}


def netlist(names: list[str], kind: str = "MULT18X18D") -> dict[str, dict]:
    return {name: {"type": kind, "attributes": {}} for name in names}


def at(cell: dict) -> tuple[int, int]:
    x, y = map(int, re.findall(r"[XY](\d+)", cell["attributes"]["BEL"]))
    return x, y


TENSOR = floorplan.TENSOR
ARRAY = [f"{TENSOR}tile{t}.column{c}.product{k}" for t in range(2) for c in range(8)
         for k in range(8)]
OTHERS = [f"{TENSOR}drain.post{t}.lane0.${k}" for t in range(2) for k in range(8)] + [
    f"core.machine.vector.post.lane0.${k}" for k in range(8)]
SCRATCHPAD = [f"core.machine.scratchpad.bank{b}.0.{k}" for b in range(4) for k in range(16)]
PSUMS = [f"{TENSOR}accumulator{t}.bank{b}.0.{k}" for t in range(2) for b in range(2)
         for k in range(8)]
QUEUES = [f"core.machine.{q}.fifo.storage.0.{k}" for q in floorplan.QUEUES for k in range(2)]


def test_each_has_a_place_of_its_own() -> None:
    cells = netlist(ARRAY + OTHERS) | netlist(SCRATCHPAD + PSUMS + QUEUES, "DP16KD")
    assert len(DEVICE) == 156 + 156
    assert floorplan.fix(cells) == len(cells)
    places = [cell["attributes"]["BEL"] for cell in cells.values()]
    assert len(set(places)) == len(places)
    assert set(places) <= DEVICE


def test_columns_are_side_by_side() -> None:
    """Eight multipliers within two groups of a row, each tile in its half."""
    cells = netlist(ARRAY)
    floorplan.fix(cells)
    columns: dict[str, set[tuple[int, int]]] = {}
    for name, cell in cells.items():
        columns.setdefault(name.rsplit(".", 1)[0], set()).add(at(cell))
    for column, places in columns.items():
        xs, ys = zip(*places, strict=True)
        assert len(set(ys)) == 1 and max(xs) - min(xs) < 18, column
        assert (max(xs) < 60) == ("tile0" in column)


def test_banks_are_side_by_side() -> None:
    """Whichever bank a bit of the scratchpad is in, it comes from one place."""
    cells = netlist(SCRATCHPAD, "DP16KD")
    floorplan.fix(cells)
    for k in range(16):
        xs, ys = zip(*(at(cells[f"core.machine.scratchpad.bank{b}.0.{k}"]) for b in range(4)),
                     strict=True)
        assert len(set(ys)) == 1 and max(xs) - min(xs) < 12


def test_what_is_too_many_or_unknown_is_left_to_the_placer() -> None:
    cells = netlist([f"{TENSOR}drain.post0.lane0.${k}" for k in range(9)]
                    + [f"{TENSOR}$3", "core.control.$1"])
    cells["other"] = {"type": "LUT4", "attributes": {}}
    assert floorplan.fix(cells) == 8
    assert sum("BEL" not in cell["attributes"] for cell in cells.values()) == 4


def test_planned() -> None:
    assert floorplan.planned(PRESETS["ecp5"], "85k")
    assert not floorplan.planned(PRESETS["ecp5"], "45k")
    assert not floorplan.planned(PRESETS["ecp5_fp"], "85k")
    assert not floorplan.planned(PRESETS["tiny"], "85k")
