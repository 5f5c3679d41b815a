# SPDX-License-Identifier: Apache-2.0
"""The trace of a simulated program: who ran when, against waits and counters."""

import numpy as np
import pytest

from compiler import compile_model
from examples.digits import INPUT, INT8, held_out
from isa.instructions import QUEUES, QUEUE_OF, Opcode
from isa.presets import PRESETS
from isa.registers import BUCKET_NAMES
from runtime.session import Session
from sim.device import RtlDevice
from sim.harness import DramModel

TINY = PRESETS["tiny"]
IMAGES = held_out()[0]


@pytest.fixture(scope="module")
def program():
    return compile_model(INT8, TINY, allow_host=("QuantizeLinear", "DequantizeLinear"))


@pytest.fixture(scope="module", params=[0.0, 0.3])
def run(request, program):
    device = RtlDevice(TINY, dram=DramModel(stall=request.param))
    session = Session(program, device)
    session.run({INPUT: IMAGES[:1]})
    return device.trace, session.counters[0]


def test_every_instruction_is_there_in_program_order(program, run):
    trace, counters = run
    want = [QUEUES.index(QUEUE_OF[i.opcode]) for i in program.instructions()[:-1]]
    assert program.instructions()[-1].opcode is Opcode.END
    assert trace["queue"].tolist() == want
    assert (np.diff(trace["dispatch"]) > 0).all() and trace["dispatch"][0] > 0
    assert (trace["start"] > trace["dispatch"]).all() and (trace["done"] > trace["start"]).all()
    assert trace["done"].max() < counters["CYCLES"] <= trace["done"].max() + 10
    for queue in range(len(QUEUES)):
        mine = trace[trace["queue"] == queue]
        assert (np.diff(mine["start"]) > 0).all() and (np.diff(mine["done"]) > 0).all()


def test_nobody_starts_before_whom_it_waits_for(program, run):
    trace, _ = run
    done = {q: trace["done"][trace["queue"] == k] for k, q in enumerate(QUEUES)}
    waits = 0
    for i, record in zip(program.instructions(), trace, strict=False):
        for bit, queue in enumerate(QUEUES):
            count = i.fields.get(f"wait_{queue}", 0)
            if i.wait_mask >> bit & 1 and count:
                waits += 1
                assert record["start"] > done[queue][count - 1]
    assert waits > 50


def test_the_cycles_of_the_instructions_are_those_of_the_counters(run):
    """Every cycle of an engine counts for an instruction, but those without any, and those before
    an instruction that waits is dispatched."""
    trace, counters = run
    for number, queue in enumerate(QUEUES):
        total = trace["cycles"][trace["queue"] == number].sum(axis=0)
        for name, count in zip(BUCKET_NAMES, total.tolist(), strict=True):
            if name != "idle":
                assert count == counters.get(f"{queue}_{name}".upper(), 0), (queue, name)


def test_a_trace_is_of_the_last_execution(program):
    device = RtlDevice(TINY)
    session = Session(program, device)
    session.run({INPUT: IMAGES[:1]})
    first = device.trace
    session.run({INPUT: IMAGES[1:2]})
    other = device.trace
    for field in ("queue", "dispatch", "start", "done", "cycles"):
        assert np.array_equal(other[field], first[field])
    assert other["signature"][0] != first["signature"][0]
    session.run({INPUT: IMAGES[:1]})
    assert np.array_equal(device.trace, first)


def test_what_did_not_happen_is_minus_one(program):
    """Broken off at some cycle, at which an instruction is in its queue and has not started."""
    found = []
    for limit in range(500, 800, 50):
        device = RtlDevice(TINY, max_cycles=limit)
        device.load(program)
        with pytest.raises(Exception, match="no interrupt"):
            device.execute(np.zeros(program.region_sizes[2], np.uint8))
        trace = device.trace
        device.close()
        assert 0 < len(trace) < program.instruction_count - 1
        found.append(trace["done"][0] > 0 and trace["done"][-1] == trace["start"][-1] == -1)
    assert any(found)
