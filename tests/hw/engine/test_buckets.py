# SPDX-License-Identifier: Apache-2.0
"""Where the cycles of each engine go: the work is what the instruction asks for, the rest depends
on who is in the way, and everything adds up."""

import numpy as np
import pytest

from isa.instructions import Instruction, Opcode, Region
from tests.e2e.programs import contents, window as random_window
from tests.hw.memory.dma_bench import Bench, small
from tests.hw.tensor import test_engine as test_tensor
from tests.hw.vector import test_engine as test_vector
from tests.hw.window import test_engine as test_window


def test_tensor_takes_its_vectors():
    config = test_tensor.SMALL["8x8"]
    spm, fields, _ = test_tensor.place(config, 0)
    f = Instruction(Opcode.TENSOR, fields)
    columns = (f.ntx - 1) * f.nx + f.nx_last
    rows = (f.nty - 1) * f.ny + f.ny_last
    waits = []
    for rivalry in (0.0, 0.6):
        bench = test_tensor.bench(config)
        _, cycles, _ = bench.run(spm, [f], rivalry=rivalry)
        got = bench.buckets
        assert got["active"] == columns * rows * f.ncb * f.ns * f.nr * f.nnb
        assert sum(got.values()) == cycles and got["overhead"] > 20
        waits.append(got["wait_data"] + got["wait_weights"])
    assert waits[1] > waits[0]


def test_tensor_waits_for_weights_and_for_a_bank():
    """Few pixels a weight tile; then few passes a block, which the post-processor cannot follow."""
    config = test_tensor.SMALL["8x8"]
    _, fields, _ = test_tensor.place(config, 0)
    shared = dict(fields, nnb=4, ntx=1, nty=1, nx_last=fields["nx"], ny_last=fields["ny"])
    spm = np.full((config.spm_words, config.lanes // 4), 1, np.float32).view(np.uint8)
    bench = test_tensor.bench(config)
    few = dict(shared, nx=1, ny=1, nx_last=1, ny_last=1)
    bench.run(spm, [Instruction(Opcode.TENSOR, few)])
    assert bench.buckets["wait_weights"] > 2 * bench.buckets["active"]
    short = dict(shared, ns=1, nr=1, ncb=1, nnb=8, o_n=0)
    _, _, fault = bench.run(spm, [Instruction(Opcode.TENSOR, short)])
    assert fault is None and bench.buckets["wait_out"] > bench.buckets["active"]


@pytest.mark.parametrize("queue", ["load", "vector"])
def test_waits_count_for_the_queue(queue):
    """A TENSOR that waits for a counter which never comes."""
    config = test_tensor.SMALL["8x8"]
    spm, fields, _ = test_tensor.place(config, 0)
    bit = {"load": 1, "vector": 8}[queue]
    waiting = Instruction(Opcode.TENSOR, {**fields, "wait_mask": bit, f"wait_{queue}": 1})
    bench = test_tensor.bench(config)
    with pytest.raises(AssertionError, match="0 of 1 done after 200 cycles"):
        bench.run(spm, [waiting], limit=200)
    assert bench.buckets[f"wait_{queue}"] > 190
    assert sum(bench.buckets.values()) == 200


@pytest.mark.parametrize("case,rivalry", [(c, 0.0) for c in test_vector.CASES] + [("add", 0.5)])
def test_vector_takes_its_taps(case, rivalry):
    config = test_vector.MACHINES["8 lanes by 8"]
    i = Instruction(Opcode.VECTOR, test_vector.CASES[case])
    spm = np.random.default_rng(3).integers(0, 256, (config.spm_words, config.lanes), np.uint8)
    bench = test_vector.bench(config)
    _, cycles, _ = bench.run(spm, [i], rivalry=rivalry)
    assert bench.buckets["active"] == i.nx * i.ny * i.ncb * i.ns * -(-i.nr // 2)
    assert sum(bench.buckets.values()) == cycles


def test_vector_waits_for_its_lanes():
    config = test_vector.MACHINES["4 lanes by 1"]
    i = Instruction(Opcode.VECTOR, test_vector.CASES["add"])
    spm = np.zeros((config.spm_words, config.lanes), np.uint8)
    bench = test_vector.bench(config)
    bench.run(spm, [i])
    assert bench.buckets["wait_out"] > 2 * bench.buckets["active"]


@pytest.mark.parametrize("name,rivalry", [("4 lanes, 3 taps", 0.0), ("8 lanes, 2 taps", 0.5),
                                          ("4 groups, 4 taps", 0.0)])
def test_window_adds_up(name, rivalry):
    config = test_window.MACHINES[name]
    rng = np.random.default_rng([5, config.lanes, config.tiles])
    program = [random_window(rng, config) for _ in range(3)]
    bench = test_window.bench(config)
    _, cycles, _ = bench.run(contents(rng, config, program), program, rivalry=rivalry)
    assert sum(bench.buckets.values()) == cycles
    assert bench.buckets["active"] > 0 and bench.buckets["wait_weights"] > 0


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("opcode", [Opcode.LOAD, Opcode.STORE])
def test_dma_moves_its_beats(opcode, stall):
    config = small(8, 8)
    fields = dict(region=Region.WORKSPACE, n0=50, n1=2, n2=1, n3=1, dram_stride1=1024,
                  spm_stride1=100)
    program = [Instruction(opcode, dict(fields, spm=k * 300)) for k in range(2)]
    bench = Bench(config, stall=stall, latency=30).run(program)
    got = bench.buckets
    assert got["active"] == 2 * 2 * 50
    assert sum(got.values()) == bench.cycles
    assert got["wait_dram"] > 20 and got["wait_gang"] == 0
    assert (got["wait_out"] > 0) == bool(stall)


def test_a_load_that_is_held_waits_for_its_gang():
    """All that it would wait for the memory."""
    config = small(8, 8)
    program = [Instruction(Opcode.LOAD, dict(region=Region.WORKSPACE, n0=50, n1=1, n2=1, n3=1))]
    alone, held = (Bench(config, latency=30, held=held).run(program).buckets
                   for held in (False, True))
    assert held["wait_gang"] == alone["wait_dram"] > 20
    assert held["wait_dram"] == alone["wait_gang"] == 0
