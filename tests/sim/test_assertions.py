# SPDX-License-Identifier: Apache-2.0
"""An assertion of the RTL stops a Verilated simulation, as it stops Amaranth's."""

import subprocess

import pytest

from hw.engine.profile import Buckets
from hw.top import verilog_of
from sim.verilator import SPEED_FLAGS, find, waivers

BENCH = """
module bench;
  reg clk = 0, rst = 1, active = 0, wait_out = 0;
  buckets dut(.clk(clk), .rst(rst), .events({wait_out, 2'b0, active}), .blocked(5'b0),
              .present(1'b0), .bucket());
  initial begin
    #2 clk = 1; #2 clk = 0; rst = 0;
    active = 1; #2 clk = 1; #2 clk = 0;
    wait_out = %d; #2 clk = 1; #2 clk = 0;
    $display("survived");
    $finish;
  end
endmodule
"""


@pytest.mark.parametrize("both", [0, 1])
def test_two_buckets_in_a_cycle(both, tmp_path):
    tool = find()
    (tmp_path / "dut.v").write_text(verilog_of(Buckets("tensor"), "buckets"))
    (tmp_path / "bench.sv").write_text(BENCH % both)
    subprocess.run([tool.executable, "--binary", "--assert", "--timing", "--top-module", "bench",
                    "--Mdir", "cpp", "--timescale", "1ns/1ps", *SPEED_FLAGS, *waivers(),
                    "-CFLAGS", "-std=c++20", "-Wno-PINMISSING", "bench.sv", "dut.v"],
                   cwd=tmp_path, env=tool.environment(), check=True, capture_output=True)
    done = subprocess.run([tmp_path / "cpp" / "Vbench"], text=True, capture_output=True)
    output = done.stdout + done.stderr
    assert ("survived" in output) == (not both)
    assert ("not in exactly one bucket" in output) == bool(both)
    assert (done.returncode != 0) == bool(both)
