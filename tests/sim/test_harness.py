# SPDX-License-Identifier: Apache-2.0
"""The memory model and the checker in it, by way of a stand-in machine that copies bytes."""

import dataclasses

import numpy as np
import pytest

from isa.presets import PRESETS
from isa.registers import OFFSET
from sim.build import build
from sim.harness import DramModel, Harness, SimulationError
from tests.sim import standin

SOURCE, TARGET = 0x1_0000, 0x80_0000
CONFIGS = ("tiny", "core256", "core1024")


def start(name: str = "tiny", dram: DramModel | None = None, *, size: int = 8192,
          manner: str = "good", max_burst: int = 256, target: int = TARGET, beyond: int = 0
          ) -> Harness:
    """A stand-in that has its orders, to write ``beyond`` bytes too far, and its doorbell rung."""
    h = Harness(build(standin.verilog(PRESETS[name])).path, dram or DramModel(),
                max_burst=max_burst)
    h.allocate(SOURCE, size)
    h.allocate(target, size)
    h.memory(SOURCE, size)[:] = standin.noise((size,))
    for register, value in (("CONTROL", 1), ("REGION2_BASE", SOURCE), ("REGION2_BASE_HI", 0),
                            ("REGION3_BASE", (target & 0xFFFFFFFF) + beyond),
                            ("REGION3_BASE_HI", target >> 32), ("REGION3_SIZE", size),
                            ("PROGRAM", standin.MANNERS[manner] << 7), ("DOORBELL", 1)):
        assert h.write(OFFSET[register], value) == 0
    return h


def test_a_bit_flips_in_its_cycle_once():
    """Before the byte is read it reaches the copy, afterwards it does not; only while busy."""
    h = start()
    h.flip(SOURCE + 8000, 0x81)
    h.flip(SOURCE + 16, 0x02, after=700)
    before = h.memory(SOURCE, 8192).copy()
    assert h.run(10**6)
    changed = np.flatnonzero(h.memory(SOURCE, 8192) != before)
    assert changed.tolist() == [16, 8000]
    assert h.memory(SOURCE, 8192)[8000] == before[8000] ^ 0x81
    wrong = h.memory(TARGET, 8192) != before + np.uint8(1)
    assert np.flatnonzero(wrong).tolist() == [8000]


def cycles(h: Harness) -> int:
    return h.read(OFFSET["CYCLES"])


def copied(h: Harness, size: int = 8192, target: int = TARGET) -> bool:
    return np.array_equal(h.memory(target, size), h.memory(SOURCE, size) + np.uint8(1))


@pytest.mark.parametrize("name", CONFIGS)
def test_copies_through_every_bus_width(name):
    h = start(name)
    assert h.run(100_000)
    assert copied(h)
    beats = 8192 // PRESETS[name].bus_bytes
    s = h.statistics
    assert (s.read_beats, s.write_beats) == (beats, beats)
    assert (s.read_bursts, s.write_bursts) == (beats // 4, beats // 4)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", range(4))
def test_copies_under_random_stalls(name, seed):
    h = start(name, DramModel(stall=0.4, seed=seed))
    assert h.run(1_000_000)
    assert copied(h)


def test_stalls_depend_on_the_seed_alone():
    def measure(seed: int) -> int:
        h = start(dram=DramModel(stall=0.3, seed=seed))
        assert h.run(1_000_000)
        return cycles(h)

    assert measure(1) == measure(1)
    assert len({measure(seed) for seed in range(5)}) > 1


def test_both_directions_share_the_bandwidth():
    beats = 2 * 65536 // 8
    for bandwidth in (1.0, 0.5, 0.3):
        h = start(dram=DramModel(bandwidth=bandwidth), size=65536)
        assert h.run(1_000_000)
        assert beats / bandwidth <= cycles(h) <= beats / bandwidth + 200
        assert copied(h, 65536)


def test_latency_of_one_burst():
    def measure(read: int, write: int) -> int:
        h = start(dram=DramModel(read_latency=read, write_latency=write), size=32)
        assert h.run(10_000)
        return cycles(h)

    base = measure(1, 1)
    assert measure(101, 1) == base + 100
    assert measure(1, 71) == base + 70


def test_outstanding_reads_are_limited():
    few = start(dram=DramModel(max_reads=1, read_latency=100), size=4096)
    assert few.run(1_000_000)
    bursts = 4096 // 32
    assert cycles(few) >= bursts * 100
    many = start(dram=DramModel(max_reads=8, read_latency=100), size=4096)
    assert many.run(1_000_000)
    assert cycles(many) < cycles(few) / 4


def test_addresses_above_four_gigabytes():
    high = 0x12_3456_7000
    h = start("core256", target=high)
    assert h.run(100_000)
    assert copied(h, target=high)


@pytest.mark.parametrize("response,code", [("SLVERR", 5), ("DECERR", 6)])
@pytest.mark.parametrize("base", [SOURCE, TARGET])
def test_injected_errors(response, code, base):
    h = start(dram=DramModel(errors=((base + 4096, base + 4104, response),)))
    h.memory(TARGET, 8192)[:] = 0x77
    good = h.memory(SOURCE, 8192) + np.uint8(1)
    assert h.run(100_000)
    assert h.read(OFFSET["ERROR_CODE"]) == code
    wrong = np.flatnonzero(h.memory(TARGET, 8192) != good)
    assert wrong.size and (wrong // 8 == 4096 // 8).all()
    if base == TARGET:
        assert (h.memory(TARGET + 4096, 8) == 0x77).all()


@pytest.mark.parametrize("what, base, code", [
    ("read SLVERR", SOURCE, 5), ("read DECERR", SOURCE, 6), ("write SLVERR", TARGET, 5),
    ("write DECERR", TARGET, 6)])
def test_errors_of_a_burst(what, base, code):
    """The burst alone, all of it: here of 32 bytes."""
    h = start(dram=DramModel(mischief=((what, standin.READ_ID if base == SOURCE else
                                        standin.WRITE_ID, 7),)))
    good = h.memory(SOURCE, 8192) + np.uint8(1)
    assert h.run(100_000)
    assert h.read(OFFSET["ERROR_CODE"]) == code
    wrong = np.flatnonzero(h.memory(TARGET, 8192) != good)
    assert set(wrong // 32) == {7}
    assert base == SOURCE or not h.memory(TARGET + 7 * 32, 32).any()


@pytest.mark.parametrize("what, number", [
    ("lost R", standin.READ_ID), ("lost last R", standin.READ_ID), ("lost B", standin.WRITE_ID),
    ("shut AR", standin.READ_ID), ("shut AW", standin.WRITE_ID), ("shut W", 0)])
def test_silence(what, number):
    assert start().run(20_000)
    assert not start(dram=DramModel(mischief=((what, number, 3),))).run(20_000)


def test_nothing_is_outside_the_allocated_memory():
    h = start(beyond=4096)
    assert h.run(100_000)
    assert h.read(OFFSET["ERROR_CODE"]) == 6


@pytest.mark.parametrize("manner,words", [
    ("cross", "crosses a 4 KiB boundary"),
    ("early_last", "WLAST is 1 on beat 3 of 4"),
    ("no_last", "WLAST is 0 on beat 4 of 4"),
    ("drop", "ARVALID fell before ready"),
    ("change", "AR payload changed before ready"),
    ("narrow", "is not as wide as the bus"),
    ("stop", "assertion at"),
])
def test_bad_manners_are_reported_with_the_cycle(manner, words):
    with pytest.raises(SimulationError, match=rf"cycle \d+: .*{words}"):
        start(dram=DramModel(stall=0.5), manner=manner).run(100_000)


def test_long_bursts_are_reported():
    with pytest.raises(SimulationError, match="burst of 4 beats at .* is longer than 2"):
        start(max_burst=2).run(100_000)


def test_a_run_has_a_limit_and_goes_on():
    h = start()
    assert not h.run(100)
    assert h.run(100_000)
    assert copied(h)


def test_progress_and_cancel():
    seen: list[int] = []

    def progress(cycle: int) -> None:
        seen.append(cycle)
        if len(seen) == 3:
            raise KeyboardInterrupt

    h = start(manner="hang")
    with pytest.raises(KeyboardInterrupt):
        h.run(10_000_000, progress, every=1000)
    assert np.diff(seen).tolist() == [1000, 1000]


def test_reset_in_mid_flight():
    h = start(dram=DramModel(stall=0.2))
    assert not h.run(300)
    h.reset()
    for register, value in (("CONTROL", 1), ("DOORBELL", 1)):
        h.write(OFFSET[register], value)
    assert h.run(100_000)
    assert copied(h)


@pytest.mark.parametrize("field,value", [
    ("bandwidth", 0.0), ("bandwidth", 1.5), ("stall", 1.0), ("read_latency", 0),
    ("max_writes", 0), ("errors", ((0, 1, "OKAY"),)), ("reorder", 1.0),
    ("mischief", (("lost everything", 0, 0),))])
def test_model_parameters_are_checked(field, value):
    with pytest.raises(ValueError, match=f"memory model: {field} is"):
        dataclasses.replace(DramModel(), **{field: value})


def test_memory_is_checked():
    h = start()
    with pytest.raises(ValueError, match="not aligned"):
        h.allocate(0x100_0004, 32)
    with pytest.raises(MemoryError, match="1,152,921,504,606,846,976 bytes for a simulated mem"):
        h.allocate(0x100_0000, 1 << 60)
    with pytest.raises(ValueError, match="no memory is allocated"):
        h.memory(0, 32)
