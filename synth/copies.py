# SPDX-License-Identifier: Apache-2.0
"""Cells that both halves of a device read, once for each half.

::

                ┌─► tile 0                       ┌─► flip-flop ─► tile 0
    flip-flop ──┤              becomes    source ┤
                └─► tile 1                       └─► flip-flop ─► tile 1

Synthesis takes equal registers for one, and so tiles that work in step share theirs, and the logic
behind them. On a device the tiles lie far from each other, and such a register's wires cross it.
"""

from collections.abc import Callable
from typing import Any

FLIP_FLOP, LOGIC = "TRELLIS_FF", "LUT4"

OUTPUT = {FLIP_FLOP: "Q", LOGIC: "Z"}

Reader = tuple[str, str, int]
"""Cell, pin, bit of the pin."""


def split(module: dict[str, Any], half: Callable[[str], int | None]) -> int:
    """Copy cells of a flat module of Yosys's JSON netlist.

    Parameters
    ----------
    module : dict
    half : callable
        0 or 1 for a cell's name, None if it belongs to neither.

    Returns
    -------
    int
        Number of copies.
    """
    cells: dict[str, dict[str, Any]] = module["cells"]
    readers: dict[int, list[Reader]] = {}
    drivers: dict[int, str] = {}
    for name, cell in cells.items():
        for pin, bits in cell["connections"].items():
            for k, bit in enumerate(bits):
                if isinstance(bit, int) and cell["port_directions"][pin] == "input":
                    readers.setdefault(bit, []).append((name, pin, k))
                elif cell["type"] in OUTPUT and pin == OUTPUT[cell["type"]]:
                    drivers[bit] = name
    halves = {name: half(name) for name in cells}
    unused = 1 + max((bit for net in module["netnames"].values() for bit in net["bits"]
                      if isinstance(bit, int)), default=1)
    waits = sorted(drivers)
    copies: dict[int, int] = {}
    while waits:
        net = waits.pop()
        name = drivers[net]
        cell = cells[name]
        sides = [[r for r in readers.get(net, []) if halves[r[0]] == side] for side in (0, 1)]
        if not sides[1] or not (sides[0] or net in copies) or any(
                cells[r[0]]["type"] == "PFUMX" for r in readers[net]):
            continue
        # a flip-flop of neither half may lie between them
        logic = cell["type"] == LOGIC
        if net not in copies:
            copies[net] = unused + len(copies)
            copy = f"{name}$copy"
            cells[copy] = {**cell, "connections": {
                **cell["connections"], OUTPUT[cell["type"]]: [copies[net]]}}
            module["netnames"][copy] = {"hide_name": 0, "bits": [copies[net]], "attributes": {}}
            halves[copy] = 1 if logic else None
            for pin, bits in cells[copy]["connections"].items():
                if cell["port_directions"][pin] == "input":
                    for k, bit in enumerate(bits):
                        if isinstance(bit, int):
                            readers.setdefault(bit, []).append((copy, pin, k))
        for reader, pin, k in sides[1]:
            bits = cells[reader]["connections"][pin] = list(cells[reader]["connections"][pin])
            bits[k] = copies[net]
        readers[net] = [r for r in readers[net] if r not in sides[1]]
        if logic:
            if len(readers[net]) == len(sides[0]):
                halves[name] = 0
            waits += [bit for pin, bits in cell["connections"].items() for bit in bits
                      if cell["port_directions"][pin] == "input" and bit in drivers]
    return len(copies)
