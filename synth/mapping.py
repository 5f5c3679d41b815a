# SPDX-License-Identifier: Apache-2.0
"""What products and memories have become: DSP blocks with registers around them, block RAM.

A netlist (:func:`synth.area.mapped`) is looked at cell by cell. A DSP block's operands and product
are registered if its own registers are in use, or if nothing but flip-flops are next to them; a
block's ports count as flip-flops.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from isa.config import Config
from synth.area import counts

Cells = Mapping[str, dict[str, Any]]


class Kind(NamedTuple):
    """A type of DSP block: beginnings of the names of its pins, and the parameters that say which
    registers are in use (all of ``inputs``, any of ``outputs``)."""

    operands: tuple[str, ...]
    product: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


XILINX = Kind(("A", "B"), "P", ("AREG", "BREG"), ("MREG", "PREG"))

KINDS = {"MULT18X18D": Kind(("A", "B"), "P", ("REG_INPUTA_CLK", "REG_INPUTB_CLK"),
                            ("REG_PIPELINE_CLK", "REG_OUTPUT_CLK")),
         "DSP48E1": XILINX, "DSP48E2": XILINX}

FLIP_FLOPS = {"TRELLIS_FF": ("DI", "M"), **{f"FD{kind}E": ("D",) for kind in "RSCP"}}
"""Flip-flops and their data pins."""

LUT_RAMS = ("TRELLIS_DPR16X4", "RAM32", "RAM64", "RAM128", "RAM256")
"""Beginnings of names of memories made of LUTs."""

REGISTERS = {*FLIP_FLOPS, "SRL16E", "SRLC32E"}
"""What an operand comes from without logic in between; a shift register of Xilinx ends in one."""

BLOCK_RAMS = ("DP16KD", "RAMB")

DEEP = {"ecp5": 64, "xc7": 512, "xcup": 512}
"""Words from which on a memory belongs in block RAM; Yosys makes LUT RAM of shallow ones."""

PRODUCTS: dict[str, Callable[[Config], int]] = {"tile": lambda c: c.lanes ** 2}
"""Products that have to be DSP blocks with registers around them, by block."""

MEMORIES: dict[str, Callable[[Config], tuple[int, int]]] = {
    "scratchpad": lambda c: (c.spm_banks, c.spm_words // c.spm_banks),
    "accumulator": lambda c: (2, c.psum_depth)}
"""How many memories a block consists of, and their depth."""


def multipliers(cells: Cells) -> dict[str, int]:
    """``blocks``: DSP blocks; ``inside``: those whose own registers hold operands and product;
    ``registered``: those with registers around them, inside or next to them."""
    drivers = {bit: cell["type"] for cell, pin, bit in _bits(cells)
               if cell["port_directions"][pin] == "output"}
    readers: dict[int, list[tuple[str, str]]] = {}
    for cell, pin, bit in _bits(cells):
        if cell["port_directions"][pin] == "input":
            readers.setdefault(bit, []).append((cell["type"], pin))
    found = {"blocks": 0, "inside": 0, "registered": 0}
    for cell in cells.values():
        if (kind := KINDS.get(cell["type"])) is None:
            continue
        inputs = all(_used(cell, p) for p in kind.inputs)
        outputs = any(_used(cell, p) for p in kind.outputs)
        fed = all(drivers.get(bit, "TRELLIS_FF") in REGISTERS
                  for name in kind.operands for bit in _pins(cell, name))
        kept = all(pin in FLIP_FLOPS.get(reader, ()) for bit in _pins(cell, kind.product)
                   for reader, pin in readers.get(bit, ()))
        found["blocks"] += 1
        found["inside"] += inputs and outputs
        found["registered"] += (inputs or fed) and (outputs or kept)
    return found


def refusals(config: Config, block: str, target: str, cells: Cells) -> list[str]:
    """A sentence for each thing of a block that has not become what it should have."""
    name, said = f"{block} of {config.name} for {target}", []
    if block in PRODUCTS:
        wanted, found = PRODUCTS[block](config), multipliers(cells)
        if found["blocks"] < wanted:
            said.append(f"{name} has {found['blocks']} DSP blocks for {wanted} products: see that "
                        "each product is of two signals and no wider than a DSP block")
        elif found["registered"] < wanted:
            said.append(f"{name}: {found['registered']} of {wanted} DSP blocks have registers "
                        "before and behind them: register operands and product without logic "
                        "between")
    if block in MEMORIES:
        memories, depth = MEMORIES[block](config)
        of = counts(cells)
        blocks, luts = (sum(n for kind, n in of.items() if kind.startswith(names))
                        for names in (BLOCK_RAMS, LUT_RAMS))
        if depth >= DEEP[target] and (blocks < memories or luts):
            said.append(f"{name} has {blocks} block RAMs and {luts} LUT RAMs for {memories} "
                        f"memories of {depth} words: see that each is read in one clocked port "
                        "and has no reset")
    return said


def _bits(cells: Cells) -> Iterator[tuple[dict[str, Any], str, int]]:
    for cell in cells.values():
        for pin, bits in cell["connections"].items():
            yield from ((cell, pin, bit) for bit in bits if isinstance(bit, int))


def _pins(cell: dict[str, Any], name: str) -> Iterator[int]:
    """Bits of a bus, or of the pins that are its bits."""
    for pin, bits in cell["connections"].items():
        if pin == name or (pin.startswith(name) and pin.removeprefix(name).isdigit()):
            yield from (bit for bit in bits if isinstance(bit, int))


def _used(cell: dict[str, Any], parameter: str) -> bool:
    value = cell["parameters"].get(parameter, "NONE")
    return value != "NONE" and bool(set(str(value)) - {"0"})
