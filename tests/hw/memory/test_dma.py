# SPDX-License-Identifier: Apache-2.0
"""LOAD and STORE against a copy word by word, for every ratio of bus to word, with stalls."""

import random

import numpy as np
import pytest

from isa.instructions import Fault, Instruction, Opcode, Region
from tests.hw.memory.dma_bench import BASES, REGION_BYTES, Bench, copy, small

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
@pytest.mark.parametrize("max_burst, outstanding", [(1, 2), (4, 2), (256, 8)])
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


def transfer(opcode, **fields):
    return Instruction(opcode, {"region": Region.OUTPUT, "n0": 8, "n1": 1, "n2": 1, "n3": 1,
                                **fields})


WORD, WORDS = 8, 1024
FAR = 0x7FFF_FFF8
FAULTS = {
    "count 0": (Fault.BAD_FIELD, {"n0": 0}), "count 3": (Fault.BAD_FIELD, {"n3": 0}),
    "misaligned": (Fault.BAD_FIELD, {"dram": 4}),
    "misaligned stride": (Fault.BAD_FIELD, {"dram_stride3": -4}),
    "behind": (Fault.DRAM_RANGE, {"dram": REGION_BYTES - 7 * WORD}),
    "before": (Fault.DRAM_RANGE, {"n1": 2, "dram_stride1": -WORD}),
    "wraps the offset": (Fault.DRAM_RANGE, {
        "n1": 4095, "n2": 4095, "n3": 3, "dram_stride1": FAR, "dram_stride2": FAR,
        "dram_stride3": FAR}),
    "behind the scratchpad": (Fault.SPM_RANGE, {"spm": WORDS - 7}),
    "before the scratchpad": (Fault.SPM_RANGE, {"n2": 2, "spm_stride2": -1}),
    "wraps the scratchpad": (Fault.SPM_RANGE, {
        "n1": 3, "spm_stride1": (1 << 19) - 1, "n3": 2, "spm_stride3": 2}),
    "misaligned and outside": (Fault.BAD_FIELD, {"dram": 0xFFFF_FFFC, "spm": WORDS}),
    "outside both": (Fault.DRAM_RANGE, {"dram": 0xFFFF_FFF8, "spm": WORDS}),
}


@pytest.mark.parametrize("opcode", BOTH, ids=lambda o: o.name.lower())
@pytest.mark.parametrize("name", FAULTS)
def test_faults(opcode, name):
    code, fields = FAULTS[name]
    program = [transfer(opcode, dram=4096), transfer(opcode, **fields), transfer(opcode)]
    bench = Bench(small(8, 16), seed=2)
    before = bench.dram.copy()
    bench.run(program)
    assert bench.fault == (code, 1)
    outside = np.ones(before.size, bool)
    outside[BASES[Region.OUTPUT]:BASES[Region.OUTPUT] + REGION_BYTES] = False
    np.testing.assert_array_equal(bench.dram[outside], before[outside])


@pytest.mark.parametrize("region", [Region.PROGRAM, Region.INPUT])
def test_read_only_regions(region):
    config = small(8, 16)
    assert Bench(config).run([transfer(Opcode.LOAD, region=region)]).fault is None
    bench = Bench(config).run([transfer(Opcode.STORE, region=region)])
    assert bench.fault == (Fault.DRAM_RANGE, 0) and not bench.memory.writes


def test_bursts_of_a_gang():
    """Those of a LOAD with ``group`` say so, each of its runs; no others do."""
    program = [transfer(Opcode.LOAD, dram=4096 * k, spm=64 * k, n0=48, n1=2, dram_stride1=1024,
                        spm_stride1=48, group=group) for k, group in enumerate((0, 1, 1, 0))]
    bench = check(Bench(small(8, 16), seed=3, stall=0.3), program)
    base = BASES[Region.OUTPUT]
    assert bench.memory.users == [(at - base) // 4096 in (1, 2) for at, _ in bench.memory.reads]
    assert len(bench.memory.users) >= 8


def test_address_space_ends():
    """A region that reaches past 2**addr_bits: the part behind is refused."""
    config = small(8, 16, addr_bits=32)
    inside, across = transfer(Opcode.STORE, dram=0), transfer(Opcode.STORE, dram=8)
    bases = (0, 0, 0, (1 << 32) - 64)
    bench = Bench(config, bases=bases).run([across])
    assert bench.fault == (Fault.DRAM_RANGE, 0) and not bench.memory.writes
    for base in (1 << 32, 1 << 63, (1 << 64) - 32):
        bench = Bench(config, bases=(0, 0, 0, base)).run([inside])
        assert bench.fault == (Fault.DRAM_RANGE, 0) and not bench.memory.writes


@pytest.mark.parametrize("opcode", BOTH, ids=lambda o: o.name.lower())
@pytest.mark.parametrize("resp, code", [(2, Fault.AXI_SLVERR), (3, Fault.AXI_DECERR)])
def test_error_responses(opcode, resp, code):
    program = [transfer(opcode, dram=1024 * k, spm=32 * k, n0=100) for k in range(3)]
    errors = {BASES[Region.OUTPUT] + 1024 + 700: resp}
    bench = Bench(small(8, 16), errors=errors, stall=0.2, latency=4).run(program)
    assert bench.fault == (code, 1)


@pytest.mark.parametrize("opcode, breach, burst, index", [
    *((Opcode.LOAD, b, 3, 1) for b in ("rlast", "rid", "exokay")),
    *((Opcode.STORE, b, 3, 1) for b in ("bid", "exokay")),
    (Opcode.LOAD, "rlast", 0, 0), (Opcode.STORE, "bid", 0, 0),
    # an answer too many is taken for the next one, or for nobody's
    (Opcode.LOAD, "more", 3, 2), (Opcode.STORE, "more", 11, 5)])
def test_a_memory_that_breaks_the_rules(opcode, breach, burst, index):
    """The fault is named, with the instruction whose burst it was: each has two."""
    program = [transfer(opcode, dram=128 * k, spm=16 * k, n0=16) for k in range(6)]
    config = small(8, 16, max_burst=8)
    bench = Bench(config, latency=3, breach=(breach, burst)).run(program, linger=6)
    assert len(bench.memory.reads + bench.memory.writes) > burst
    assert bench.fault == (Fault.AXI_PROTOCOL, index)


@pytest.mark.parametrize("opcode", BOTH, ids=lambda o: o.name.lower())
@pytest.mark.parametrize("latency, stall", [(1, 0.0), (3, 0.0), (3, 0.3)])
@pytest.mark.parametrize("bad", [0, 2, 5])
def test_an_error_in_the_middle_of_a_burst(opcode, latency, stall, bad):
    """The answer comes while another burst is on its way: it ends as AXI says, little more is asked
    for, and no data behind the error enters the scratchpad."""
    config = small(8, 16, max_burst=4)
    program = [transfer(opcode, dram=0, spm=0, n0=128)]
    errors = {BASES[Region.OUTPUT] + 4 * 16 * bad: 2}
    bench = Bench(config, errors=errors, latency=latency, stall=stall, seed=bad + latency)
    spm = bench.spm.copy()
    bench.run(program)
    assert bench.fault == (Fault.AXI_SLVERR, 0)
    asked = bench.memory.writes if opcode is Opcode.STORE else bench.memory.reads
    assert len(asked) <= bad + 1 + config.outstanding + IN_FRONT_OF_THE_BUS
    assert bench.memory.beats["w" if opcode is Opcode.STORE else "r"] == sum(n for _, n in asked)
    assert (bench.spm == spm)[8 * bad:].all()


IN_FRONT_OF_THE_BUS = 3
"""Requests that the controller has promised, with that of the cycle in which the halt comes."""


@pytest.mark.parametrize("halt_at", [12, 25, 40, 41, 42, 43, 60, 90])
@pytest.mark.parametrize("opcode", BOTH, ids=lambda o: o.name.lower())
def test_halt_leaves_the_bus_at_rest(opcode, halt_at):
    """What was asked for is finished, a store with empty strobes; nothing new is asked for."""
    config = small(8, 16, max_burst=64)
    program = [transfer(opcode, dram=8 + 4096 * k, spm=256 * k, n0=256) for k in range(2)]
    bench = Bench(config, stall=0.3, latency=6, seed=halt_at)
    dram, spm = bench.dram.copy(), bench.spm.copy()
    want_dram, want_spm = dram.copy(), spm.copy()
    copy(program, want_dram, want_spm, BASES)
    bench.run(program, halt_at=halt_at)
    wrote = np.zeros(dram.size, bool)
    wrote[list(bench.memory.touched)] = True
    np.testing.assert_array_equal(bench.dram, np.where(wrote, want_dram, dram))
    changed = (bench.spm != spm).any(axis=1)
    np.testing.assert_array_equal(bench.spm[changed], want_spm[changed])
    asked = bench.memory.writes if opcode is Opcode.STORE else bench.memory.reads
    assert len(asked) <= bench.asked_at_halt + IN_FRONT_OF_THE_BUS
    beats = bench.memory.beats["w" if opcode is Opcode.STORE else "r"]
    assert beats == sum(n for _, n in asked)
