# SPDX-License-Identifier: Apache-2.0
"""One memory behind several ports, by way of stand-in machines that copy bytes."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from isa.presets import PRESETS
from isa.registers import OFFSET
from runtime.host import START
from sim.build import build
from sim.harness import MISCHIEF, DramModel, Harness, SimulationError
from tests.sim import standin

SOURCE, TARGET, APART = 0x10_0000, 0x80_0000, 0x1_0000
"""Where core 0 reads and writes, and how far from there the next core does."""

BURST = 4
"""Beats of a stand-in's burst."""

ALONE = {   # cycles of a copy of 8 KiB, before there were channels and other cores
    "tiny": (2109, 5179, 2328, 3049, 3354), "core256": (1085, 2619, 1189, 1558, 1690),
    "core1024": (573, 1339, 632, 817, 858)}
MODELS = (DramModel(), DramModel(bandwidth=0.4), DramModel(stall=0.3, seed=3),
          DramModel(stall=0.2, bandwidth=0.7, reorder=0.3, seed=5),
          DramModel(max_reads=1, max_writes=2, read_latency=9))


def copiers(sizes: Sequence[int], dram: DramModel | None = None, name: str = "tiny",
            manners: Sequence[str] = (), waves=None, beats: int = BURST) -> Harness:
    """Cores that are to copy so many bytes each, but have not been started."""
    library = build(standin.verilog(PRESETS[name], beats), waves and "vcd")
    h = Harness(library.path, dram or DramModel(), cores=len(sizes), waves=waves)
    for core, size in enumerate(sizes):
        source, target = SOURCE + core * APART, TARGET + core * APART
        h.allocate(source, size)
        h.allocate(target, size)
        h.memory(source, size)[:] = standin.noise((size,), seed=core)
        manner = standin.MANNERS[manners[core] if manners else "good"] << 7
        for register, value in (("CONTROL", 1), ("REGION2_BASE", source), ("REGION2_BASE_HI", 0),
                                ("REGION3_BASE", target), ("REGION3_BASE_HI", 0),
                                ("REGION3_SIZE", size), ("PROGRAM", manner)):
            assert h.write(OFFSET[register], value, core) == 0
    return h


def ring(h: Harness, delays: Sequence[int] = ()) -> None:
    """Start all cores with the next run."""
    for core in range(h.cores):
        h.post(*START, core, delays[core] if delays else 0)


def cycles(h: Harness) -> list[int]:
    return [h.read(OFFSET["CYCLES"], core) for core in range(h.cores)]


def copied(h: Harness, sizes: Sequence[int]) -> bool:
    return all(np.array_equal(h.memory(TARGET + core * APART, size),
                              h.memory(SOURCE + core * APART, size) + np.uint8(1))
               for core, size in enumerate(sizes))


@pytest.mark.parametrize("name", ALONE)
def test_one_core_on_one_channel_takes_the_cycles_that_it_took(name):
    found = []
    for dram in MODELS:
        h = copiers([8192], dram, name)
        ring(h)
        assert h.run(10**6) and copied(h, [8192])
        found += cycles(h)
    assert tuple(found) == ALONE[name]


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_every_core_gets_its_own_bytes(name, channels):
    sizes = [8192, 4096, 32, 1024, 2048]
    for seed in range(3):
        h = copiers(sizes, DramModel(channels=channels, stall=0.3, reorder=0.2, seed=seed), name)
        ring(h, [0, 300, 2, 17, 17])
        assert h.run(10**6) and copied(h, sizes)
        beats = [size // h.bus_bytes for size in sizes]
        of = [h.statistics_of(core) for core in range(h.cores)]
        assert [s.read_beats for s in of] == [s.write_beats for s in of] == beats
        assert sum(h.channel_beats) == 2 * sum(beats)
        assert (h.statistics.read_beats, h.statistics.write_beats) == (sum(beats), sum(beats))


def test_stalls_differ_from_core_to_core_and_from_seed_to_seed():
    found = []
    for seed in (1, 1, 2):
        h = copiers([4096] * 4, DramModel(channels=4, stall=0.3, seed=seed))
        ring(h)
        assert h.run(10**6)
        found.append(cycles(h))
    assert found[0] == found[1] != found[2]
    assert len(set(found[0])) > 1


def test_addresses_go_to_the_channels_in_turn():
    """2 KiB from 0x100000 and back to 0x800000: the first block is of channel 0."""
    h = copiers([2048 + 64], DramModel(channels=4))
    ring(h)
    assert h.run(10**6) and copied(h, [2048 + 64])
    assert np.array(h.channel_beats) * h.bus_bytes == pytest.approx([1024 + 128, 1024, 1024, 1024])


@pytest.mark.parametrize("dram", [
    DramModel(channels=4), DramModel(channels=4, stall=0.3), DramModel(channels=3, stall=0.1),
    DramModel()], ids=str)
def test_a_burst_may_reach_into_several_channels(dram):
    """Bursts of 2 KiB, of which each of four channels has a block."""
    sizes = [16384, 16384]
    h = copiers(sizes, dram, beats=2048 // 8)
    ring(h)
    assert h.run(10**6) and copied(h, sizes)
    assert h.statistics.read_bursts == h.statistics.write_bursts == sum(sizes) // 2048
    assert sum(h.channel_beats) == 2 * sum(sizes) // 8
    assert dram.channels != 4 or len(set(h.channel_beats)) == 1


def test_equal_cores_share_a_channel_evenly():
    """They end together, and the channel moves a beat in every cycle."""
    size = 32768
    for cores in (2, 3, 4):
        h = copiers([size] * cores)
        ring(h)
        assert h.run(10**6) and copied(h, [size] * cores)
        took, least = cycles(h), 2 * cores * size // h.bus_bytes
        assert least <= min(took) and max(took) <= 1.01 * least + 100
        assert max(took) - min(took) <= 0.01 * least


def test_turns_are_bursts():
    """Of two cores that ask for a burst each in the same cycle, one has all of its own first."""
    beats = 64
    h = copiers([8 * beats] * 2, beats=beats)
    ring(h)
    assert h.run(10**4) and copied(h, [8 * beats] * 2)
    first, second = cycles(h)
    assert second - first >= beats - 2


def test_a_core_waits_for_one_burst_of_each_other_core():
    """A copy of one burst beside streams: reading and writing are kept by a burst of each, in
    either direction."""
    alone = copiers([32])
    ring(alone)
    assert alone.run(10**4)
    beside = copiers([32, 32768, 32768, 32768])
    ring(beside, [1000, 0, 0, 0])
    assert beside.run(10**6, cores=[0])
    assert beside.ended(1) is None
    late = cycles(beside)[0] - cycles(alone)[0]
    assert 0 < late <= 2 * 3 * 2 * BURST + 2 * BURST


def test_idle_cores_cost_nothing():
    alone = copiers([8192])
    ring(alone)
    assert alone.run(10**5)
    beside = copiers([8192] * 4)
    beside.post(*START, 0)
    assert beside.run(10**5, cores=[0])
    assert cycles(beside) == [*cycles(alone), 0, 0, 0]


def test_channels_add_up():
    """With as many channels as cores each has the bandwidth of one alone, nearly."""
    size = 32768
    alone = copiers([size])
    ring(alone)
    assert alone.run(10**6)
    for cores in (2, 4):
        h = copiers([size] * cores, DramModel(channels=cores))
        ring(h)
        assert h.run(10**6) and copied(h, [size] * cores)
        assert max(cycles(h)) <= 1.1 * cycles(alone)[0]


def test_runs_end_with_one_interrupt_or_with_all():
    h = copiers([4096, 1024, 2048])
    ring(h, [0, 40, 9])
    start = h.cycle
    assert h.run(10**5, any_of=True)
    assert [h.ended(core) is None for core in range(3)] == [True, False, True]
    assert h.ended(1) == h.cycle
    assert h.run(10**5, cores=[1, 2])
    assert h.ended(2) == h.cycle and h.ended(0) is None
    assert not h.run(10)
    assert h.run(10**5)
    assert h.ended(0) == h.cycle > start
    assert copied(h, [4096, 1024, 2048])


def test_a_core_starts_when_its_delay_is_over():
    size = 1024
    h = copiers([size] * 3, DramModel(channels=8))
    ring(h, [0, 1000, 2500])
    first = h.cycle
    assert h.run(10**5)
    ends = [(h.ended(core) or 0) - first for core in range(3)]
    assert [b - a for a, b in pairwise(ends)] == [1000, 1500]
    assert len(set(cycles(h))) == 1


def test_what_goes_wrong_names_the_core():
    h = copiers([1024] * 3, manners=["good", "good", "cross"])
    ring(h)
    with pytest.raises(SimulationError, match="core 2: AXI violation in cycle .* 4 KiB boundary"):
        h.run(10**5)
    h = copiers([1024] * 3, manners=["good", "stop", "good"])
    ring(h)
    with pytest.raises(SimulationError, match="design .core 1. stopped in cycle .*: assertion at"):
        h.run(10**5)


def test_an_error_of_the_memory_is_of_whoever_reads_there():
    h = copiers([1024] * 2, DramModel(errors=((SOURCE + APART, SOURCE + APART + 8, "SLVERR"),)))
    ring(h)
    assert h.run(10**5)
    assert [h.read(OFFSET["ERROR_CODE"], core) for core in range(2)] == [0, 5]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("what", MISCHIEF)
def test_what_the_memory_does_wrong_it_does_to_core_0(what, channels):
    """Silence keeps that for ever, and no other."""
    writes = what in MISCHIEF[MISCHIEF.index("write SLVERR"):] and what != "shut AR"
    number = 0 if what == "shut W" else standin.WRITE_ID if writes else standin.READ_ID
    h = copiers([1024] * 2, DramModel(channels=channels, mischief=((what, number, 3),)))
    ring(h)
    silent = what.startswith(("lost", "shut"))
    assert h.run(10**4, cores=[0]) != silent
    assert h.run(10**4, cores=[1])
    expected = h.memory(SOURCE + APART, 1024) + np.uint8(1)
    assert np.array_equal(h.memory(TARGET + APART, 1024), expected)
    assert h.read(OFFSET["ERROR_CODE"], 1) == 0
    assert (h.read(OFFSET["ERROR_CODE"], 0) != 0) == what.endswith("ERR")


def test_waves_have_all_cores(tmp_path):
    path = tmp_path / "two.vcd"
    h = copiers([256] * 2, waves=path)
    ring(h)
    assert h.run(10**5)
    h.close()
    text = path.read_text()
    assert "core0" in text and "core1" in text and text.count("m_axi_araddr") >= 2


def test_numbers_of_cores_are_checked():
    library = build(standin.verilog(PRESETS["tiny"])).path
    for cores in (0, 65):
        with pytest.raises(ValueError, match=f"{cores} cores: a simulation has from 1 to 64"):
            Harness(library, DramModel(), cores=cores)
    h = copiers([256] * 2)
    for call in (lambda: h.read(0, 2), lambda: h.post(0, 0, -1), lambda: h.run(1, cores=[2]),
                 lambda: h.statistics_of(2)):
        with pytest.raises(ValueError, match="there is no core .*: the simulation has 2"):
            call()
    with pytest.raises(ValueError, match="one core at least"):
        h.run(1, cores=[])
    with pytest.raises(ValueError, match="memory model: channels is 0"):
        DramModel(channels=0)
