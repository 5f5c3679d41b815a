# SPDX-License-Identifier: Apache-2.0
"""Cores that read together: memory is read once, and each gets all of it in its place."""

import random
from dataclasses import replace

import pytest
from amaranth.back import rtlil

from hw.chip.depths import Depths
from hw.chip.hub import Hub
from hw.memory.axi import FETCH_ID, LOAD_ID, Resp
from tests.hw.chip.hub_bench import Bench, Burst, Core, random_bursts
from tests.hw.memory.dma_bench import small

CONFIG = small(4, 8, max_burst=64, outstanding=4)
TIGHT = (Depths(bursts=2, pieces=3, beats=64), Depths(bursts=2, pieces=3, beats=64),
         Depths(bursts=1, pieces=1))


def with_groups(cores: list[Core], groups: tuple[int, ...], bursts: int, seed: int) -> None:
    """Adds bursts of the groups, in one order for all members, each core's among its own."""
    rng = random.Random(f"groups {seed}")
    for g, members in enumerate(groups, start=1):
        shared = [replace(b, group=g) for b in random_bursts(CONFIG, 8 + g, seed, bursts, 0).reads
                  if b.axi_id == LOAD_ID]
        for core in cores:
            if members >> core.number & 1:
                places = sorted(rng.randrange(len(core.reads) + 1) for _ in shared)
                for k in range(len(shared))[::-1]:
                    core.reads.insert(places[k], shared[k])


@pytest.mark.parametrize("cores, channels, groups, stall, depths", [
    (2, 1, (0b11,), 0.5, None), (2, 2, (0b11,), 0.0, TIGHT), (3, 2, (0b101, 0b010), 0.4, None),
    (4, 2, (0b1001, 0b0110), 0.2, TIGHT), (2, 2, (0b01,), 0.3, None)])
def test_random_bursts_of_groups(cores, channels, groups, stall, depths):
    """Among reads and writes of the cores' own, from memories in which a group's answer comes
    before or after those, some blocks with errors."""
    seed = 64 * cores + channels + len(groups)
    agents = [random_bursts(CONFIG, k, seed, 20 // cores + 4, 4) for k in range(cores)]
    with_groups(agents, groups, 16, seed)
    Bench(CONFIG, agents, channels, stall=stall, latency=(1, 40), seed=seed, depths=depths,
          groups=groups, errors={3: 2, 12: 3}).run().check()


@pytest.mark.parametrize("stall, depths", [(0.0, TIGHT), (0.4, None)])
def test_instructions_are_fetched_together(stall, depths):
    """By all of a group, each at its own pace, while LOADs are read together, too; the third core
    fetches the same for itself."""
    rng = random.Random(f"fetch {stall}")
    code = [Burst(FETCH_ID, 256 * rng.randrange(48), 16) for _ in range(24)]
    cores = [Core(k, [replace(b, group=1) if k < 2 else b for b in code], [],
                  rest=(0.0, 0.5, 0.2)[k]) for k in range(3)]
    with_groups(cores[:2], (0b011,), 12, 5)
    bench = Bench(CONFIG, cores, 2, stall=stall, latency=(1, 40), depths=depths, groups=(0b011,),
                  together=0b011).run()
    bench.check()


def test_a_group_gets_a_beat_a_cycle():
    """Each of two cores, together from one channel, as if it was alone: half of what the memory
    would have to give to both."""
    bursts = [Burst(LOAD_ID, 512 * k, 64, group=1) for k in range(8)]
    cores = [Core(k, bursts, []) for k in range(2)]
    bench = Bench(CONFIG, cores, 1, latency=(30, 30), mixes=False, groups=(0b11,)).run()
    bench.check()
    assert [c.done for c in cores] == [8 * 64 + 30 + 4 + 1 + 4 + 1] * 2


def test_members_that_differ():
    """The first of them is answered with an error, and alone; the third core goes on."""
    cores = [Core(k, [Burst(LOAD_ID, 512 * k, 8, group=2)], []) for k in range(2)]
    cores.append(Core(2, [Burst(LOAD_ID, 512 * k, 16) for k in range(8)], []))
    bench = Bench(CONFIG, cores, 1, groups=(0b000, 0b011))
    with pytest.raises(AssertionError, match="does not end"):
        bench.run(400)
    assert cores[2].finished and not cores[1].data
    assert [resp for _, _, resp, _ in cores[0].data] == [Resp.EXOKAY] * 8
    assert bench.held[0] < 20 and bench.held[1] > 300


@pytest.mark.parametrize("remain", [0b01, 0b10, 0b00])
def test_a_member_that_waits_alone_is_released(remain):
    """The other one never comes, as if it had failed; then it is no member, or the first is not.
    Meanwhile the first is held."""
    bursts = [Burst(LOAD_ID, 512 * k, 64, group=1) for k in range(4)]
    cores = [Core(0, bursts, []), Core(1, [], [])]
    bench = Bench(CONFIG, cores, 2, groups=(0b11,), regroup=(300, (remain,))).run()
    bench.check()
    assert cores[0].done > 300 and 280 < bench.held[0] < 310 and bench.held[1] == 0


def test_who_only_reads_ahead_holds_nobody_up():
    """A core that stands at an instruction and one that stands at a LOAD: the LOAD is held, since
    the other may still come to it."""
    cores = [Core(0, [Burst(FETCH_ID, 0, 8, group=1)], []),
             Core(1, [Burst(LOAD_ID, 512, 8, group=1)], [])]
    bench = Bench(CONFIG, cores, 1, groups=(0b11,), together=0b11)
    with pytest.raises(AssertionError, match="does not end"):
        bench.run(300)
    assert bench.held[0] < 20 and bench.held[1] > 250


@pytest.mark.parametrize("cores, channels, groups", [(1, 1, 0), (4, 2, 3)])
def test_no_combinational_cycle(cores, channels, groups):
    rtlil.convert(Hub(CONFIG, cores=cores, channels=channels, groups=groups))
