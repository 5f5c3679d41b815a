# SPDX-License-Identifier: Apache-2.0
"""Builds tiles and runs bench_tile.py on them in Verilator; all but the widest are ``long``."""

import pytest

from hw.tensor.tile import Tile
from hw.top import verilog_of
from sim.cocotb_runner import get_runner
from tests.hw.memory.dma_bench import small


@pytest.mark.parametrize("lanes,words", [
    *(pytest.param(*shape, marks=pytest.mark.long) for shape in ((4, 1), (8, 2))), (16, 4)])
def test_tile(lanes, words, tmp_path):
    source = tmp_path / "tile.v"
    tile = Tile(small(lanes, 16, weight_words=words, spm_banks=8))
    source.write_text(verilog_of(tile, "tile"))
    runner = get_runner()
    runner.build(sources=[source], hdl_toplevel="tile", build_dir=tmp_path)
    runner.test(test_module="tests.cocotb.bench_tile", hdl_toplevel="tile",
                extra_env={"BENCH_LANES": str(lanes), "BENCH_WORDS": str(words),
                           "BENCH_LATENCY": str(tile.latency)})
