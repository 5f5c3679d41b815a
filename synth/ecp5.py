# SPDX-License-Identifier: Apache-2.0
"""Mapping to an ECP5: Yosys, and then registers into the DSP blocks and the block RAMs.

::

    flip-flop ─► MULT18X18D ─► flip-flop      Yosys's netlist: the path holds the whole product
       d ─► [register  product  register] ─►  the same in one block, with its own registers

Yosys maps a product to a DSP block without registers. Where nothing but flip-flops of one clock and
one enable, without a reset, drive both operands, or are all that reads the product, the block's own
registers take their place: the same values in the same cycles, but the operands' way to the block
and the product's way from it are paths of their own. A flip-flop that something else reads, too,
stays as well. In the same way flip-flops behind a block RAM become its output register.

A LUT RAM has 16 words. Address bits that a smaller memory leaves constant are wires to a ground
that nextpnr has in one place of the device; such a bit takes the signal of another one instead.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synth.yosys import run

BLOCK, MEMORY, FLIP_FLOP = "MULT18X18D", "DP16KD", "TRELLIS_FF"
LUT_RAM, WORDS, WIDTH = "TRELLIS_DPR16X4", 16, 4

MAP = "+&scorr;&sweep;&dc2;&dch,-f,-r;&ps;&if,-W,900,-v;&mfs;&ps,-l"
"""What ABC does: Yosys's own script, but with 900 ps for a wire in place of 300. The output of a
block RAM comes so late that with short wires every other path may have ten LUTs and still be
shorter, and where time is left area is saved."""

Cells = dict[str, dict[str, Any]]
Bit = int | str
"""A net's number, or a constant."""

Control = tuple[Bit, Bit]
"""Clock and enable."""


@dataclass
class _Nets:
    """Which flip-flop drives a net, and which pins of which cells read it."""

    flip_flops: dict[Bit, str] = field(default_factory=dict)
    readers: dict[Bit, list[tuple[str, str]]] = field(default_factory=dict)

    def read(self, name: str, pin: str, bit: Bit) -> None:
        self.readers.setdefault(bit, []).append((name, pin))


def synthesize(text: str, top: str, to: Path) -> dict[str, Any]:
    """Verilog mapped to an ECP5, as the JSON netlist ``to`` for nextpnr; gives the top module.

    Raises
    ------
    SynthesisError
        If Yosys fails.
    """
    run(text, top, [f"scratchpad -set abc9.script {MAP}",
                    f"synth_ecp5 -top {top} -json {to.name}"], to.parent)
    netlist = json.loads(to.read_text())
    module: dict[str, Any] = netlist["modules"][top]
    pack(module)
    to.write_text(json.dumps(netlist))
    return module


def pack(module: dict[str, Any]) -> int:
    """Change a flat module of Yosys's JSON netlist; gives how many flip-flops are gone."""
    cells: Cells = module["cells"]
    nets, before = _Nets(), len(cells)
    for name, cell in cells.items():
        for pin, bits in cell["connections"].items():
            for bit in bits:
                if cell["port_directions"][pin] == "input":
                    nets.read(name, pin, bit)
                elif cell["type"] == FLIP_FLOP:
                    nets.flip_flops[bit] = name
    for name, port in module["ports"].items():
        for bit in port["bits"] if port["direction"] == "output" else ():
            nets.read(name, "port", bit)
    blocks = {name: cell for name, cell in cells.items() if cell["type"] == BLOCK}
    for name, cell in blocks.items():
        _operands(cells, nets, name, cell)
    for cell in blocks.values():
        _product(cells, nets, cell)
    for cell in [cell for cell in cells.values() if cell["type"] == MEMORY]:
        for port in "AB":
            _word(cells, nets, cell, port)
    for cell in cells.values():
        if cell["type"] == LUT_RAM:
            _addresses(cell)
    return before - len(cells)


def _operands(cells: Cells, nets: _Nets, name: str, cell: dict[str, Any]) -> None:
    pins = {s: list(_pins(cell, s)) for s in "AB"}
    controls: list[Any] = []
    for found in pins.values():
        mine = {_control(cells, nets.flip_flops.get(bit)) for _, bit in found if bit != "0"}
        if len(mine) != 1 or None in mine:
            return
        controls += mine
    (clock, enable_a), (other, enable_b) = controls
    if clock != other:
        return
    for pin, bit in (p for found in pins.values() for p in found if p[1] != "0"):
        source = nets.flip_flops[bit]
        before = cells[source]["connections"]["DI"][0]
        cell["connections"][pin] = [before]
        nets.read(name, pin, before)
        nets.readers[bit].remove((name, pin))
    for bit in {bit for found in pins.values() for _, bit in found if bit != "0"}:
        if not nets.readers[bit]:
            _remove(cells, nets, nets.flip_flops[bit])
    _use(cell, "INPUTA", "CE0", clock, enable_a)
    _use(cell, "INPUTB", "CE1", clock, enable_b)


def _product(cells: Cells, nets: _Nets, cell: dict[str, Any]) -> None:
    behind, control = _behind(cells, nets, cell, "P")
    clocks = cell["connections"].get("CLK0")
    if control is None or (clocks and clocks[0] != control[0]):
        return
    _swallow(cells, nets, cell, behind)
    _use(cell, "OUTPUT", "CE2", *control)


def _word(cells: Cells, nets: _Nets, cell: dict[str, Any], port: str) -> None:
    behind, control = _behind(cells, nets, cell, f"DO{port}")
    if control == (cell["connections"][f"CLK{port}"][0], "1"):
        _swallow(cells, nets, cell, behind)
        cell["parameters"][f"REGMODE_{port}"] = "OUTREG"


def _addresses(cell: dict[str, Any]) -> None:
    pins = cell["connections"]
    pairs = list(zip(pins["RAD"], pins["WAD"], strict=True))
    live = next((pair for pair in pairs if pair != ("0", "0")), None)
    if live is None or live == pairs[-1]:
        return
    used = sum((pair != ("0", "0")) << bit for bit, pair in enumerate(pairs))
    words = [cell["parameters"]["INITVAL"][::-1][k * WIDTH:(k + 1) * WIDTH] for k in range(WORDS)]
    cell["parameters"]["INITVAL"] = "".join(words[k & used] for k in range(WORDS))[::-1]
    pins["RAD"], pins["WAD"] = (list(bits) for bits in zip(
        *(live if pair == ("0", "0") else pair for pair in pairs), strict=True))


def _behind(cells: Cells, nets: _Nets, cell: dict[str, Any], bus: str
            ) -> tuple[dict[str, str], Control | None]:
    """Flip-flops that are all that reads a bus, by its pin, and what controls them; None if it is
    not the same for all, or there are others."""
    reads = {pin: nets.readers.get(bit, []) for pin, bit in _pins(cell, bus)}
    behind = {pin: those[0][0] for pin, those in reads.items() if those}
    if any(len(those) > 1 or those[0][1] != "DI" for those in reads.values() if those):
        return {}, None
    controls = {_control(cells, name) for name in behind.values()}
    return behind, controls.pop() if len(controls) == 1 else None


def _swallow(cells: Cells, nets: _Nets, cell: dict[str, Any], behind: dict[str, str]) -> None:
    for pin, name in behind.items():
        cell["connections"][pin] = cells[name]["connections"]["Q"]
        _remove(cells, nets, name)


def _pins(cell: dict[str, Any], bus: str) -> Iterator[tuple[str, Bit]]:
    """Pins of a bus, and their nets."""
    for pin, bits in cell["connections"].items():
        if pin.startswith(bus) and pin[len(bus):].isdigit() and bits:
            yield pin, bits[0]


def _control(cells: Cells, name: str | None) -> Control | None:
    """A flip-flop's, if it can go into a block: it has no reset, and begins with zero."""
    cell = cells.get(name or "", {})
    if cell.get("type") != FLIP_FLOP:
        return None
    p = {k: str(v).strip() for k, v in cell["parameters"].items()}
    c = cell["connections"]
    if (p.get("CLKMUX") != "CLK" or p.get("REGSET") != "RESET" or p.get("CEMUX") not in ("1", "CE")
            or c.get("LSR", ["0"]) != ["0"] or "DI" not in c):
        return None
    return c["CLK"][0], c["CE"][0] if p["CEMUX"] == "CE" else "1"


def _use(cell: dict[str, Any], register: str, enable_pin: str, clock: Bit, enable: Bit) -> None:
    cell["parameters"] |= {
        f"REG_{register}_CLK": "CLK0", f"REG_{register}_CE": enable_pin,
        f"REG_{register}_RST": "RST0", "CLK0_DIV": "ENABLED", "RESETMODE": "SYNC"}
    for pin, bit in (("CLK0", clock), (enable_pin, enable), ("RST0", "0")):
        cell["connections"][pin] = [bit]
        cell["port_directions"][pin] = "input"


def _remove(cells: Cells, nets: _Nets, name: str) -> None:
    cell = cells.pop(name)
    for pin, bits in cell["connections"].items():
        for bit in bits:
            if cell["port_directions"][pin] == "input":
                nets.readers[bit].remove((name, pin))
