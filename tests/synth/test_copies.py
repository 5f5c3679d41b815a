# SPDX-License-Identifier: Apache-2.0
"""Cells that both halves read: each reader keeps its source, or an equal one of its own half."""

from copy import deepcopy
from pathlib import Path
from typing import Any
from zlib import crc32

from hw.top import verilog_of
from isa.presets import PRESETS
from synth.blocks import component
from synth.copies import split
from synth.ecp5 import synthesize
from synth.floorplan import half

COPY = "$copy"


def flip_flop(d: int, q: int) -> dict[str, Any]:
    return {"type": "TRELLIS_FF", "parameters": {"GSR": "DISABLED"},
            "port_directions": {"DI": "input", "CLK": "input", "Q": "output"},
            "connections": {"DI": [d], "CLK": [1], "Q": [q]}}


def logic(a: int, b: int | str, z: int) -> dict[str, Any]:
    return {"type": "LUT4", "parameters": {"INIT": "1000"},
            "port_directions": {"A": "input", "B": "input", "Z": "output"},
            "connections": {"A": [a], "B": [b], "Z": [z]}}


def module(cells: dict[str, dict[str, Any]]) -> dict[str, Any]:
    bits = {bit for c in cells.values() for pin in c["connections"].values() for bit in pin}
    return {"cells": cells, "netnames": {str(bit): {"bits": [bit]} for bit in bits}}


def side(name: str) -> int | None:
    return {"a": 0, "b": 1}.get(name[0])


def source(made: dict[str, Any], reader: str, pin: str) -> str:
    """The name of what drives a pin."""
    (bit,) = made["cells"][reader]["connections"][pin]
    (found,) = (name for name, c in made["cells"].items() for p, bits in c["connections"].items()
                if c["port_directions"][p] == "output" and bits == [bit])
    return found


def test_a_register_and_the_logic_behind_it() -> None:
    """The register is copied since the copies of the logic are in different halves; what drives the
    register is not."""
    made = module({"from": flip_flop(2, 3), "reg": flip_flop(3, 4), "lut": logic(4, "1", 5),
                   "a0": flip_flop(5, 6), "b0": flip_flop(5, 7), "b1": flip_flop(5, 8)})
    assert split(made, side) == 2
    assert source(made, "a0", "DI") == "lut"
    assert source(made, "b0", "DI") == source(made, "b1", "DI") == f"lut{COPY}"
    assert (source(made, "lut", "A"), source(made, f"lut{COPY}", "A")) == ("reg", f"reg{COPY}")
    assert source(made, "reg", "DI") == source(made, f"reg{COPY}", "DI") == "from"
    assert made["cells"][f"lut{COPY}"]["parameters"] == {"INIT": "1000"}
    assert made["cells"][f"lut{COPY}"]["connections"]["B"] == ["1"]
    assert made["netnames"][f"reg{COPY}"]["bits"] == made["cells"][f"reg{COPY}"]["connections"]["Q"]


def test_a_register_behind_several_is_copied_once() -> None:
    made = module({"reg": flip_flop(2, 3), "b9": logic(3, 4, 5), "lut": logic(3, 5, 6),
                   "late": logic(6, 3, 7), **{f"a{n}": flip_flop(n, 10 + n) for n in (5, 6, 7)},
                   **{f"b{n}": flip_flop(n, 20 + n) for n in (5, 6, 7)}})
    split(made, side)
    names = [n for n in made["cells"] if n.startswith("reg")]
    assert names == ["reg", f"reg{COPY}"]
    for n in (5, 6, 7):
        # the same cells, with the same pins, lie behind both
        paths = [[source(made, x, "DI")] for x in (f"a{n}", f"b{n}")]
        assert paths[0] != paths[1]
        assert paths[0][0] == paths[1][0].removesuffix("$copy")
    for name, cell in made["cells"].items():
        if cell["type"] == "LUT4" and name.endswith("$copy"):
            assert source(made, name, "A") in (f"reg{COPY}", f"lut{COPY}")


def test_what_others_read_stays_with_the_first() -> None:
    made = module({"reg": flip_flop(2, 3), "a0": flip_flop(3, 4), "b0": flip_flop(3, 5),
                   "c0": flip_flop(3, 6)})
    assert split(made, side) == 1
    assert [source(made, n, "DI") for n in ("a0", "b0", "c0")] == ["reg", f"reg{COPY}", "reg"]


def test_what_one_half_reads_is_left() -> None:
    wide = {**logic(3, 4, 5), "type": "PFUMX"}
    made = module({"reg": flip_flop(2, 3), "a0": flip_flop(3, 6), "c0": flip_flop(3, 7),
                   "lut": logic(6, 7, 4), "b0": wide, "a1": logic(4, 4, 9),
                   "sum": {**logic(6, 6, 10), "type": "CCU2C"}, "b2": flip_flop(10, 11),
                   "a2": flip_flop(10, 12)})
    # a PFUMX takes logic of its own slice, and carry chains are not copied
    assert split(made, side) == 0


def test_halves() -> None:
    tensor = "core.machine.tensor."
    assert [half(tensor + n) for n in ("tile0.x", "accumulator1.bank0.0.1", "drain.post1.lane0.y",
                                       "drain.i", "tile0")] == [0, 1, 1, None, None]


def inputs(made: dict[str, Any]) -> dict[tuple[str, str, int], object]:
    """What each input bit of each cell reads: the cell and pin that drive it, or else its net; a
    copy counts as what it is a copy of, and has to read the same."""
    drivers = {bit: (name.removesuffix(COPY), pin, k) for name, c in made["cells"].items()
               for pin, bits in c["connections"].items() if c["port_directions"][pin] == "output"
               for k, bit in enumerate(bits)}
    found: dict[tuple[str, str, int], object] = {}
    for name, c in made["cells"].items():
        for pin, bits in c["connections"].items():
            for k, bit in enumerate(bits if c["port_directions"][pin] == "input" else ()):
                reads = drivers.get(bit, bit)
                assert found.setdefault((name.removesuffix(COPY), pin, k), reads) == reads
    return found


def test_a_whole_netlist_stays_what_it_is(tmp_path: Path) -> None:
    """A block of the machine, its cells in halves at random."""
    tiny = PRESETS["tiny"]
    made = synthesize(verilog_of(component(tiny, "weights"), "weights"), "weights",
                      tmp_path / "weights.json")
    before = deepcopy(made)
    assert split(made, lambda name: (0, 1, None)[crc32(name.encode()) % 3]) > 50
    assert inputs(made) == inputs(before)
    for name, cell in made["cells"].items():
        assert cell["parameters"] == before["cells"][name.removesuffix(COPY)]["parameters"]
