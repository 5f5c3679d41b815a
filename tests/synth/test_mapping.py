# SPDX-License-Identifier: Apache-2.0
"""Products and memories that have not become what they should have are named."""

from dataclasses import replace

import pytest

from hw.top import verilog_of
from isa.presets import PRESETS
from synth.area import mapped
from synth.blocks import PARTS
from synth.mapping import multipliers, refusals

TINY = PRESETS["tiny"]


def cell(kind: str, inputs: dict[str, int], outputs: dict[str, int], **parameters: str) -> dict:
    return {"type": kind, "parameters": parameters,
            "connections": {p: [b, "0"] for p, b in {**inputs, **outputs}.items()},
            "port_directions": {**dict.fromkeys(inputs, "input"),
                                **dict.fromkeys(outputs, "output")}}


def product(before: str = "TRELLIS_FF", behind: str = "TRELLIS_FF", kind: str = "MULT18X18D",
            **parameters: str) -> dict[str, dict]:
    """A product with a cell before each operand and one behind it."""
    return {"a": cell(before, {"DI": 1}, {"Q": 2}), "b": cell("TRELLIS_FF", {"DI": 3}, {"Q": 4}),
            "dsp": cell(kind, {"A0": 2, "B17": 4, "CLK0": 9}, {"P3": 5}, **parameters),
            "p": cell(behind, {"DI": 5}, {"Q": 6})}


INSIDE = {"REG_INPUTA_CLK": "CLK0", "REG_INPUTB_CLK": "CLK0", "REG_OUTPUT_CLK": "CLK0"}


@pytest.mark.parametrize("cells, inside, registered", [
    (product(), 0, 1), (product(before="LUT4"), 0, 0), (product(behind="LUT4"), 0, 0),
    (product(before="SRL16E"), 0, 1),
    (product("LUT4", "LUT4", **INSIDE), 1, 1),
    (product("LUT4", "LUT4", **{**INSIDE, "REG_INPUTB_CLK": "NONE"}), 0, 0),
    (product("LUT4", "LUT4", "DSP48E2", AREG="01", BREG="10", MREG="01", PREG="00"), 1, 1),
    (product("LUT4", "LUT4", "DSP48E2", AREG="01", BREG="10", MREG="00", PREG="00"), 0, 0)])
def test_registers(cells, inside, registered) -> None:
    assert multipliers(cells) == {"blocks": 1, "inside": inside, "registered": registered}


def test_a_tile_is_refused() -> None:
    few = product()
    assert "tile of tiny for ecp5 has 1 DSP blocks for 16 products: see" in refusals(
        TINY, "tile", "ecp5", few)[0]
    many = {f"{n}{k}": c for k in range(16) for n, c in product(behind="LUT4").items()}
    assert "tile of tiny for ecp5: 0 of 16 DSP blocks have registers" in refusals(
        TINY, "tile", "ecp5", many)[0]
    assert refusals(TINY, "post", "ecp5", few) == []


def test_a_memory_is_refused() -> None:
    luts = {str(k): cell("TRELLIS_DPR16X4", {}, {}) for k in range(8)}
    blocks = {str(k): cell("DP16KD", {}, {}) for k in range(4)}
    deep = replace(TINY, psum_depth=64)
    (sentence,) = refusals(deep, "accumulator", "ecp5", luts)
    assert sentence.startswith("accumulator of tiny for ecp5 has 0 block RAMs and 8 LUT RAMs for 2 "
                               "memories of 64 words: see")
    assert refusals(TINY, "accumulator", "ecp5", luts) == []
    assert refusals(deep, "accumulator", "xc7", luts) == []
    assert refusals(TINY, "scratchpad", "ecp5", blocks) == []
    assert refusals(TINY, "scratchpad", "ecp5", {**blocks, "one": luts["0"]})
    assert refusals(TINY, "scratchpad", "xc7", {k: blocks[k] for k in "012"})


@pytest.mark.parametrize("part", ["tile", "scratchpad"])
def test_of_the_design(part: str) -> None:
    cells = mapped(verilog_of(PARTS[part](TINY), part), part, "ecp5")
    assert refusals(TINY, part, "ecp5", cells) == []
    assert multipliers(cells)["registered"] == (TINY.macs if part == "tile" else 0)
