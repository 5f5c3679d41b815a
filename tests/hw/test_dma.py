# SPDX-License-Identifier: Apache-2.0
"""LOAD and STORE against a copy word by word, for every ratio of bus to word, with stalls."""

import random

import numpy as np
import pytest

from isa.instructions import Fault, Instruction, Opcode, Region
from tests.hw.dma_bench import BASES, REGION_BYTES, Bench, copy, small

RATIOS = [(lanes, bus) for lanes in (4, 8, 16) for bus in (8, 16, 32)]
BOTH = (Opcode.LOAD, Opcode.STORE)


def patterns(rng: random.Random, opcode: Opcode, word: int, count: int) -> list[Instruction]:
    """Instructions whose destinations do not overlap: each has a strip of its own."""
    program = []
    strip, words = 1024 // count, REGION_BYTES // word // count
    for k in range(count):
        n0, n1, n2, n3 = (rng.randint(1, 9), rng.randint(1, 3), rng.randint(1, 2),
                          rng.randint(1, 2))
        gap = n0 + rng.randint(0, 3)
        span = gap * n1 * n2 * n3
        dram = k * words + rng.randint(0, 3)
        down = rng.random() < 0.5
        step = -gap if down else gap
        if down:
            dram += gap * (n1 - 1)
        program.append(Instruction(opcode, dict(
            region=Region.WORKSPACE if rng.random() < 0.5 else Region.OUTPUT,
            dram=dram * word, spm=k * strip + rng.randint(0, 3), n0=n0, n1=n1, n2=n2, n3=n3,
            dram_stride1=step * word, dram_stride2=gap * n1 * word,
            dram_stride3=gap * n1 * n2 * word,
            spm_stride1=gap, spm_stride2=gap * n1, spm_stride3=gap * n1 * n2)))
        assert span + 4 <= strip
    return program


def check(bench: Bench, program: list[Instruction]) -> Bench:
    dram, spm = bench.dram.copy(), bench.spm.copy()
    copy(program, dram, spm, BASES)
    bench.run(program)
    assert bench.fault is None
    np.testing.assert_array_equal(bench.dram, dram)
    np.testing.assert_array_equal(bench.spm, spm)
    assert max(bench.memory.most.values()) <= bench.config.outstanding
    return bench


@pytest.mark.parametrize("opcode", BOTH, ids=lambda o: o.name.lower())
@pytest.mark.parametrize("lanes, bus", RATIOS)
def test_strided_copies_with_stalls(opcode, lanes, bus):
    program = patterns(random.Random(lanes * bus), opcode, lanes, 6)
    check(Bench(small(lanes, bus), stall=0.3, latency=5, seed=lanes + bus), program)


@pytest.mark.parametrize("opcode", BOTH, ids=lambda o: o.name.lower())
@pytest.mark.parametrize("max_burst, outstanding", [(1, 1), (4, 2), (256, 8)])
def test_burst_limits(opcode, max_burst, outstanding):
    config = small(16, 8, max_burst=max_burst, outstanding=outstanding)
    program = patterns(random.Random(3), opcode, 16, 3)
    check(Bench(config, stall=0.2, seed=1), program)


@pytest.mark.parametrize("opcode", BOTH, ids=lambda o: o.name.lower())
@pytest.mark.parametrize("lanes, bus", [(16, 32), (16, 16), (16, 8), (4, 32)])
def test_full_bandwidth(opcode, lanes, bus):
    """Long runs in several instructions, one of them unaligned: a beat a cycle."""
    words = 300
    program = [Instruction(opcode, dict(region=Region.WORKSPACE, dram=k * words * lanes,
                                        spm=k * words, n0=words, n1=1, n2=1, n3=1))
               for k in range(3)]
    bench = check(Bench(small(lanes, bus), latency=8), program)
    beats = bench.memory.beats["r" if opcode is Opcode.LOAD else "w"]
    assert beats <= 3 * words * lanes / bus + 4
    overhead = 32
    assert bench.cycles <= beats + overhead
