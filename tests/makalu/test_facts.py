# SPDX-License-Identifier: Apache-2.0
"""What is said of programs and runs."""

from isa.instructions import Instruction, Opcode, Region, assembled
from isa.presets import PRESETS
from makalu import facts
from runtime.device import region_bytes
from tests.sim import standin

CONFIG = PRESETS["core256"]


def program():
    p = standin.program(CONFIG)
    p.image = assembled((
        Instruction(Opcode.LOAD, {"n0": 5, "n1": 2, "n2": 3, "n3": 1}),
        Instruction(Opcode.STORE, {"n0": 7, "n1": 1, "n2": 1, "n3": 1}),
        Instruction(Opcode.END)))
    p.instruction_count, p.node_of, p.predicted_cycles = 3, [0, 0, -1], [10, 20, 5]
    p.macs, p.multiplications, p.compulsory_bytes = 256_000, 256_000, 320
    return p


def test_static_dram_bytes():
    assert facts.dram_bytes(program()) == (30 + 7) * 16 + 3 * 32


def test_spilled_bytes_are_those_of_the_workspace():
    p = program()
    assert facts.spilled_bytes(p) == 0
    p.image = assembled((
        Instruction(Opcode.STORE, {"n0": 7, "n1": 1, "n2": 1, "n3": 1, "region": Region.OUTPUT}),
        Instruction(Opcode.STORE, {"n0": 5, "n1": 1, "n2": 1, "n3": 1, "region": Region.WORKSPACE}),
        Instruction(Opcode.LOAD, {"n0": 5, "n1": 2, "n2": 1, "n3": 1, "region": Region.WORKSPACE}),
        Instruction(Opcode.END)))
    p.instruction_count = 4
    assert facts.spilled_bytes(p) == facts.summary(p)["spilled_bytes"] == 15 * 16
    assert facts.dram_bytes(p) == 22 * 16 + len(p.image)


def test_node_cycles():
    assert facts.node_cycles(program()) == {"conv1": 30, "": 5}


def test_summary():
    s = facts.summary(program())
    assert s["roofline_cycles"] == 1000 and s["predicted_cycles"] == 35


def test_measured_is_the_mean_of_the_executions():
    names = ("CYCLES", "TENSOR_ACTIVE", "DRAM_READ_BYTES", "DRAM_WRITE_BYTES")
    counters = [dict(zip(names, v)) for v in ((2000, 1000, 600, 50), (4000, 2000, 600, 50))]
    m = facts.measured(program(), counters)
    assert (m["executions"], m["cycles"], m["dram_bytes"]) == (2, 3000, 650)
    assert m["dram_bytes_ahead"] == 650 - facts.dram_bytes(program())
    assert (m["roofline_share"], m["mac_utilization"], m["array_active_share"]) == (
        0.3333, 0.3333, 0.5)


def test_measured_without_counters():
    m = facts.measured(program(), [{}, {}])
    assert m["cycles"] is None and m["roofline_share"] is None and m["dram_bytes_ahead"] == 0
    assert m["dram_bytes"] == facts.dram_bytes(program())


def test_cost():
    cost = facts.cost(program())
    assert (cost.cycles, cost.roofline_cycles) == (35, 1000)
    assert cost.moved_bytes == facts.dram_bytes(program())
    assert cost.held_bytes == sum(region_bytes(program(), region) for region in Region)
    said = cost.at(mhz=50.0, batch=2)
    assert said["microseconds"] == 0.7 and said["elements_per_second"] == round(2 / 0.7e-6, 3)
    empty = program()
    empty.predicted_cycles = []
    assert facts.cost(empty).cycles == 1000
