# SPDX-License-Identifier: Apache-2.0
"""The page of standard cells: what it computes of the blocks' areas."""

import pytest

from isa.presets import PRESETS
from synth.asic import page
from synth.blocks import BLOCKS, WITHIN, copies

COLUMNS = [{"name": "float32", "types": "INT8", "area": 10.0, "delay": 1.0}]


@pytest.mark.parametrize("name", ["ecp5", "core256", "core1024"])
def test_area_of_a_mac_is_that_of_the_whole_machine(name: str) -> None:
    """Each tile has its own multipliers; what lies inside another block is not counted again."""
    config = PRESETS[name]
    blocks = [{"name": b, "area": 1000.0 * k, "delay": 1.0, "memory": 8.0}
              for k, b in enumerate(BLOCKS, 1)]
    rows = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]]
            for line in page(config, "cells.lib", blocks, COLUMNS).splitlines()
            if line.startswith("| ")}
    tile = config.lanes * config.columns
    assert rows["tile"][:3] == ["1,000", str(config.tiles), f"{1000 / tile:,.0f}"]
    assert rows["accumulator"][2] == f"{2000 / tile:,.0f}"
    assert rows["post"][1:3] == ["in drain", ""]
    whole = sum(r["area"] * (config.tiles if r["name"] in ("tile", "accumulator") else 1)
                for r in blocks if r["name"] != "post")
    assert rows["**all**"][0] == f"{whole:,.0f}"
    assert rows["**all**"][2] == f"{whole / config.macs:,.0f}"
    assert WITHIN.keys() <= BLOCKS.keys() and copies(config, "post") == 0
