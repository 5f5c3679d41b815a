# SPDX-License-Identifier: Apache-2.0
"""Cores that read together: memory is read once, and each gets all of it in its place."""

import random
from dataclasses import replace

import pytest
from amaranth.back import rtlil

from hw.chip.depths import Depths
from hw.chip.hub import Hub
from hw.memory.axi import LOAD_ID
from tests.hw.chip.hub_bench import Bench, Burst, Core, random_bursts
from tests.hw.memory.dma_bench import small

CONFIG = small(4, 8, max_burst=64, outstanding=4)
TIGHT = (Depths(bursts=2, pieces=3, beats=64), Depths(bursts=2, pieces=3, beats=64),
         Depths(bursts=1, pieces=1))


def with_groups(cores: list[Core], groups: tuple[int, ...], bursts: int, seed: int) -> None:
    """Adds bursts of the groups, in one order for all, each core's among its own."""
    rng = random.Random(f"groups {seed}")
    together = [replace(b, axi_id=LOAD_ID, group=rng.randrange(len(groups)) + 1)
                for b in random_bursts(CONFIG, 9, seed, bursts, 0).reads]
    for core in cores:
        places = sorted(rng.randrange(len(core.reads) + 1) for _ in together)
        for k in range(len(together))[::-1]:
            if groups[together[k].group - 1] >> core.number & 1:
                core.reads.insert(places[k], together[k])


@pytest.mark.parametrize("cores, channels, groups, stall, depths", [
    (2, 1, (0b11,), 0.5, None), (2, 2, (0b11,), 0.0, TIGHT), (3, 2, (0b111, 0b110), 0.4, None),
    (4, 2, (0b1111, 0b0101, 0b1110), 0.2, TIGHT), (2, 2, (0b01,), 0.3, None)])
def test_random_bursts_of_groups(cores, channels, groups, stall, depths):
    """Among reads and writes of the cores' own, from memories in which a group's answer comes
    before or after those, some blocks with errors."""
    seed = 64 * cores + channels + len(groups)
    agents = [random_bursts(CONFIG, k, seed, 20 // cores + 4, 4) for k in range(cores)]
    with_groups(agents, groups, 16, seed)
    Bench(CONFIG, agents, channels, stall=stall, latency=(1, 40), seed=seed, depths=depths,
          groups=groups, errors={3: 2, 12: 3}).run().check()


def test_a_group_gets_a_beat_a_cycle():
    """Each of two cores, together from one channel, as if it was alone: half of what the memory
    would have to give to both."""
    bursts = [Burst(LOAD_ID, 512 * k, 64, group=1) for k in range(8)]
    cores = [Core(k, bursts, []) for k in range(2)]
    bench = Bench(CONFIG, cores, 1, latency=(30, 30), mixes=False, groups=(0b11,)).run()
    bench.check()
    assert [c.done for c in cores] == [8 * 64 + 30 + 4 + 1 + 4 + 1] * 2


def test_members_that_differ_are_named():
    """They wait, and only they: the third core goes on."""
    own = [Burst(LOAD_ID, 512 * k, 16) for k in range(8)]
    cores = [Core(k, [Burst(LOAD_ID, 512 * k, 8, group=2)], []) for k in range(2)]
    cores.append(Core(2, own, []))
    bench = Bench(CONFIG, cores, 1, groups=(0b110, 0b011))
    with pytest.raises(AssertionError, match="does not end"):
        bench.run(400)
    assert bench.differs == 0b10 and cores[2].finished and not cores[0].data


def test_a_member_that_waits_alone_is_released():
    """The other one never comes, as if it had failed; then the first is the only member."""
    bursts = [Burst(LOAD_ID, 512 * k, 64, group=1) for k in range(4)]
    cores = [Core(0, bursts, []), Core(1, [], [])]
    bench = Bench(CONFIG, cores, 2, groups=(0b11,), regroup=(300, (0b01,))).run()
    bench.check()
    assert cores[0].done > 300


@pytest.mark.parametrize("cores, channels, groups", [(1, 1, 0), (4, 2, 3)])
def test_no_combinational_cycle(cores, channels, groups):
    rtlil.convert(Hub(CONFIG, cores=cores, channels=channels, groups=groups))
