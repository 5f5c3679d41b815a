# SPDX-License-Identifier: Apache-2.0
"""Builds accumulators of two widths and runs bench_accumulator.py on them in Verilator; the smaller
one is ``long``."""

import dataclasses
import json

import pytest

from hw.tensor.accumulator import Accumulator
from hw.tensor.column import tree_bits
from hw.top import verilog_of
from sim.cocotb_runner import get_runner
from tests.hw.memory.dma_bench import small


@pytest.mark.parametrize("lanes,depth", [
    pytest.param(4, 8, marks=pytest.mark.long), (16, 32)])
def test_accumulator(lanes, depth, tmp_path):
    config = small(lanes, 16, psum_depth=depth)
    source = tmp_path / "accumulator.v"
    source.write_text(verilog_of(Accumulator(config), "accumulator"))
    runner = get_runner()
    runner.build(sources=[source], hdl_toplevel="accumulator", build_dir=tmp_path)
    runner.test(test_module="tests.cocotb.bench_accumulator", hdl_toplevel="accumulator",
                extra_env={"BENCH_CONFIG": json.dumps(dataclasses.asdict(config)),
                           "BENCH_SUM_BITS": str(tree_bits(lanes))})
