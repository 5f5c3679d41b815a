# SPDX-License-Identifier: Apache-2.0
"""Builds machines of several bus and word widths and runs bench_machine.py on them in Verilator.
Those whose bus has the width of a word or is the widest are ``long``; the DMA engines' own tests
have them all."""

import dataclasses
import json

import pytest

from sim.cocotb_runner import get_runner
from tests.hw.memory.dma_bench import small
from tests.hw.stub_engines import stubbed

CONFIGS = {
    "bus_wider": small(4, 16, addr_bits=34, spm_bytes=16384),
    "bus_equal": small(8, 8, max_burst=256, addr_bits=32, spm_bytes=32768),
    "bus_narrower": small(16, 8, addr_bits=40, queue_depth=2, spm_bytes=65536),
    "wide": small(16, 32, max_burst=64, outstanding=8, spm_bytes=65536),
}


@pytest.mark.parametrize("name", [
    "bus_wider", "bus_narrower",
    *(pytest.param(name, marks=pytest.mark.long) for name in ("bus_equal", "wide"))])
def test_machine(name, tmp_path):
    config = CONFIGS[name]
    with stubbed():
        from hw.top import TOP, verilog
        text = verilog(config)
    source = tmp_path / "makalu.v"
    source.write_text(text)
    runner = get_runner()
    runner.build(sources=[source], hdl_toplevel=TOP, build_dir=tmp_path)
    runner.test(test_module="tests.cocotb.bench_machine", hdl_toplevel=TOP,
                extra_env={"BENCH_CONFIG": json.dumps(dataclasses.asdict(config))})
