# SPDX-License-Identifier: Apache-2.0
"""Areas: blocks synthesize, multipliers become DSP blocks, memories of the FPGA are used."""

import pytest

from isa.presets import PRESETS
from synth.area import columns, page, paired, synthesize
from synth.blocks import BLOCKS

TINY = PRESETS["tiny"]


def test_columns() -> None:
    got = columns({"LUT4": 10, "CCU2C": 3, "TRELLIS_DPR16X4": 2, "TRELLIS_FF": 7, "MULT18X18D": 1,
                   "DP16KD": 4, "PFUMX": 9}, "ecp5")
    assert got == {"LUT4": 28, "flip-flops": 7, "DSP": 1, "block RAM": 4}
    got = columns({"$_AND_": 5, "$_NOT_": 2, "$_DFFE_PP_": 3, "$_SDFF_PP0_": 1}, "generic")
    assert got == {"gates": 7, "flip-flops": 4}
    got = columns({"LUT6": 2, "LUT5": 1, "LUT4": 1, "INV": 1, "LUT3": 3, "LUT2": 3, "RAM32M": 2,
                   "FDRE": 5, "DSP48E1": 1}, "xc7")
    assert got == {"LUT": 19, "flip-flops": 5, "DSP48": 1, "RAMB18": 0, "LUT, paired": 15}


def test_small_luts_share_one() -> None:
    """Two functions of five inputs in all."""
    assert paired({"LUT4": 2}) == 2
    assert paired({"LUT5": 1, "LUT1": 1}) == 2
    assert paired({"LUT3": 2}) == 2
    assert paired({"LUT3": 1, "LUT2": 1}) == paired({"LUT4": 1, "INV": 1}) == 1
    assert paired({"LUT2": 5, "LUT1": 2}) == 4


def test_a_product_is_a_dsp_block() -> None:
    """Sixteen multipliers, and the registers that the design says."""
    area = synthesize(TINY, "tile", "ecp5")
    assert area["DSP"] == TINY.macs
    assert area["flip-flops"] > 2 * TINY.macs * 9      # two sets of weights


def test_page() -> None:
    rows = [{"block": "tile", "generic": {"gates": 1200, "flip-flops": 3},
             "ecp5": {"LUT4": 1, "flip-flops": 2, "DSP": 3, "block RAM": 4}}]
    assert "| tile | 1,200 | 3 | 1 | 2 | 3 | 4 |" in page(TINY, rows)


@pytest.mark.parametrize("block", ["feeder", "control"])
def test_blocks_synthesize(block: str) -> None:
    assert synthesize(TINY, block, "ecp5")["LUT4"] > 100
    assert block in BLOCKS
