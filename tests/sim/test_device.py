# SPDX-License-Identifier: Apache-2.0
"""The simulated device through its registers, on the stand-in machine."""

import dataclasses

import numpy as np
import pytest

from isa.instructions import Fault, Region
from isa.presets import PRESETS
from isa.program import ProgramError
from runtime.device import DeviceFault, MachineError
from runtime.session import Session
from sim.device import RtlDevice
from sim.harness import DramModel
from tests.sim import standin

TINY = PRESETS["tiny"]


def device(config=TINY, **kwargs) -> RtlDevice:
    return RtlDevice(config, verilog=standin.verilog(config), **kwargs)


@pytest.mark.parametrize("name", ["tiny", "core256", "core1024"])
def test_runs_a_session(name):
    config = PRESETS[name]
    d = device(config, dram=DramModel(stall=0.1))
    session = Session(standin.program(config), d)
    x = standin.noise((3, 4, 8, 8))
    y = session.run({"x": x})["y"]
    assert np.array_equal(y, x + np.uint8(1))
    assert len(session.counters) == 3 and all(c["CYCLES"] > 100 for c in session.counters)
    assert d.simulated_cycles >= sum(c["CYCLES"] for c in session.counters)
    assert d.simulated_seconds > 0


def test_a_fault_names_node_and_instruction_and_recovers():
    base = 1 << (TINY.addr_bits - 2)
    program = standin.program(TINY)
    size = program.region_sizes[Region.INPUT]
    d = device(dram=DramModel(errors=((base, base + (1 << 20), "SLVERR"),)))
    d.load(program)
    for _ in range(2):
        with pytest.raises(DeviceFault, match="'add-one' stopped at instruction 1 .node 'conv1'., "
                                              "fetch and decoder: the memory answered SLVERR"
                           ) as e:
            d.execute(np.zeros(size, np.uint8))
        assert (e.value.code, e.value.index, e.value.node) == (Fault.AXI_SLVERR, 1, "conv1")


def test_refuses_a_program_for_another_machine():
    with pytest.raises(ProgramError, match="compiled for 'core256'"):
        device().load(standin.program(PRESETS["core256"]))


def test_refuses_a_design_that_is_another_machine():
    other = dataclasses.replace(TINY, queue_depth=8)
    d = RtlDevice(other, verilog=standin.verilog(TINY))
    with pytest.raises(MachineError, match="configuration hash is 0x"):
        d.load(standin.program(other))


def test_gives_up_after_max_cycles():
    text = standin.verilog(TINY).replace("mode != HANG", "mode == HANG")
    d = RtlDevice(TINY, verilog=text, max_cycles=5000)
    d.load(standin.program(TINY))
    with pytest.raises(MachineError, match="no interrupt in 5000 cycles: STATUS 0x1"):
        d.execute(np.zeros(1024, np.uint8)[:d.memory(Region.INPUT).size])


def test_waves(tmp_path):
    path = tmp_path / "run.vcd"
    d = device(waves=path)
    Session(standin.program(TINY), d).run(standin.noise((1, 4, 8, 8)))
    d.close()
    text = path.read_text()
    assert "m_axi_araddr" in text and text.count("\n#") > 100


def test_wave_suffix_is_checked():
    with pytest.raises(ValueError, match=r"has to end in \.vcd or \.fst"):
        device(waves="run.gtk")


def test_needs_a_program():
    with pytest.raises(RuntimeError, match="no program is loaded"):
        device().execute(np.zeros(0, np.uint8))
