# SPDX-License-Identifier: Apache-2.0
"""The bench that test_cocotb_runner.py runs inside the simulator."""

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly


@cocotb.test()
async def counts_while_enabled(dut):
    dut.rst.value = 1
    dut.enable.value = 0
    Clock(dut.clk, 10, "ns").start()
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0
    dut.enable.value = 1
    await ClockCycles(dut.clk, 7)
    dut.enable.value = 0
    await ClockCycles(dut.clk, 3)
    await ReadOnly()
    assert int(dut.count.value) == 7
