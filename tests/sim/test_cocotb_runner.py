# SPDX-License-Identifier: Apache-2.0
"""The cocotb runner builds, runs, fails when the design is wrong, and writes waves on request."""

from pathlib import Path

import pytest

from sim.cocotb_runner import get_runner

COUNTER = """
module counter(input clk, input rst, input enable, output reg [7:0] count);
  wire [7:0] next;
  adder adder(.a(count), .sum(next));
  always @(posedge clk)
    if (rst) count <= 0;
    else if (enable) count <= next;
endmodule
module adder(input [7:0] a, output [7:0] sum);
  wire [7:0] inner;
  assign inner = a + STEP;
  assign sum = inner;
endmodule
"""


def run(folder: Path, step: str, waves: bool = False) -> None:
    source = folder / "counter.v"
    source.write_text(COUNTER.replace("STEP", step))
    runner = get_runner()
    runner.build(sources=[source], hdl_toplevel="counter", build_dir=folder, waves=waves)
    runner.test(test_module="tests.sim.cocotb_counter", hdl_toplevel="counter", waves=waves)


def test_passes_and_dumps_waves(tmp_path: Path) -> None:
    run(tmp_path, "8'd1", waves=True)
    assert "count" in (tmp_path / "dump.vcd").read_text()


def test_a_wrong_design_fails_and_inner_signals_stay_private(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path, "8'd2")
    symbols = "".join(p.read_text() for p in tmp_path.glob("Vtop__Syms*.cpp"))
    assert '"count"' in symbols and '"inner"' not in symbols
