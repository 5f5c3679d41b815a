# SPDX-License-Identifier: Apache-2.0
"""Gangs: jobs that begin when all of their cores are free, and who reads together with whom."""

from dataclasses import replace

import pytest

from isa.chip import ChipConfig
from isa.instructions import Fault
from isa.jobs import OFFSET, Job, Outcome, Refusal
from isa.presets import PRESETS
from tests.hw.chip.bench import Bench, job

CHIP = ChipConfig(name="three", core=PRESETS["tiny"], cores=3, channels=1)
SIX = ChipConfig(name="six", core=PRESETS["tiny"], cores=6, channels=1)


def of_gang(core: int, gang: int, together: bool = True, **more) -> Job:
    """The job of a core in a gang."""
    return replace(job(core, cores=1 << core, **more), gang=gang, together=together)


async def members(b) -> list[int]:
    """Of each queue, now."""
    return [b.ctx.get(mask) for mask in b.control.members]


@pytest.mark.parametrize("together", [False, True])
def test_a_gang_has_its_members_before_its_first_job_begins(together):
    """They are members until their own job ends; a job of no gang reads alone."""
    async def host(b):
        await b.lease(1, 0b111, tenant=1)
        for k, core in enumerate((2, 0)):
            await b.post(1, k, of_gang(core, 0b101, together))
        first = await b.record(1, 0)
        assert first.core == 2 and await members(b) == [0, 0b001, 0]
        assert (await b.record(1, 1)).core == 0 and await members(b) == [0, 0, 0]
        await b.post(1, 2, job(9))
        await b.record(1, 2)
        assert [(r.core, r.members, r.together, r.program) for r in b.runs[:2]] == [
            (2, 0b101, together, 128), (0, 0b101, together, 128)]
        assert (b.runs[2].members, b.runs[2].together) == (0, False)

    Bench(CHIP, lambda run: (2000 if run.core == 0 else 400, 0)).simulate(host)


def test_a_gang_waits_until_all_its_cores_are_free():
    """For a job of another lease on one of them, and for the gang before it; the other lease does
    not wait for the gang."""
    async def host(b):
        await b.lease(0, 0b111, tenant=1)
        await b.lease(1, 0b010, tenant=1)
        await b.post(1, 0, job(7, watchdog=1500))
        while not b.runs:
            await b.ctx.tick()
        for k in range(4):
            await b.post(0, k, of_gang(k % 2, 0b011, watchdog=1 + k))
        for k in range(3):
            await b.post(1, 1 + k, job(8 + k, watchdog=20))
        for k in range(4):
            await b.record(0, k)
        assert [r.watchdog for r in b.runs if r.members] == [1, 2, 3, 4]
        assert all(r.members == 0b011 for r in b.runs if r.watchdog < 5)

    Bench(CHIP, lambda run: (run.watchdog if run.watchdog > 10 else 300 * run.watchdog, 0)
          ).simulate(host)


def test_a_core_that_faults_is_no_member():
    """From before its reset on; the others remain, and the next gang has all again."""
    async def host(b):
        await b.lease(0, 0b111, tenant=1)
        for k in range(3):
            await b.post(0, k, of_gang(k, 0b111, watchdog=1 if k == 1 else 2000))
        bad = await b.record(0, 0)
        assert (bad.core, bad.outcome) == (1, Outcome.FAULT)
        assert await members(b) == [0b101, 0, 0]
        for k in range(3):
            await b.post(0, 3 + k, of_gang(k, 0b111, watchdog=900))
        for k in range(1, 6):
            assert (await b.record(0, k)).outcome is Outcome.DONE
        assert [r.members for r in b.runs[3:]] == [0b111] * 3

    Bench(CHIP, lambda run: (run.watchdog, Fault.BAD_FIELD if run.watchdog == 1 else 0)
          ).simulate(host)


def test_the_cores_of_a_gang_are_cleared_before_it_begins():
    """All at the same time, so that none waits for another one's; not again for the same tenant."""
    async def host(b):
        await b.lease(0, 0b111, tenant=1)
        for k in range(6):
            await b.post(0, k, of_gang(k % 3, 0b111))
        begun = []
        for k in range(6):
            await b.record(0, k)
            begun.append((len(b.runs), sorted(b.wipes)))
        assert begun[0] == (3, [0, 1, 2]) and begun[-1] == (6, [0, 1, 2])

    Bench(CHIP, lambda run: (600, 0), wiping=2000).simulate(host)


@pytest.mark.parametrize("bad", [
    of_gang(1, 0b110), of_gang(1, 0b001), replace(of_gang(1, 0b010), cores=0b100)],
    ids=["beyond the lease", "not in it", "no core"])
def test_what_is_no_gang_is_refused(bad):
    async def host(b):
        await b.lease(0, 0b011, tenant=1)
        await b.post(0, 0, bad)
        await b.post(0, 1, job(8))
        assert (await b.record(0, 0)).refusal is Refusal.CORES
        assert (await b.record(0, 1)).outcome is Outcome.DONE and await members(b) == [0, 0, 0]

    Bench(CHIP, lambda run: (20, 0)).simulate(host)


def test_a_gang_goes_on_without_a_job_that_is_refused():
    async def host(b):
        await b.lease(0, 0b111, tenant=1)
        await b.post(0, 0, of_gang(0, 0b011))
        await b.post(0, 1, of_gang(1, 0b011, offset=0xF80))
        assert (await b.record(0, 0)).refusal is Refusal.WINDOW
        assert await members(b) == [0b001, 0, 0]
        assert (await b.record(0, 1)).outcome is Outcome.DONE

    Bench(CHIP, lambda run: (3000, 0)).simulate(host)


def test_a_lease_that_ends_has_no_gang():
    """Its second job never came; the next tenant's is a gang of its own."""
    async def host(b):
        await b.lease(0, 0b111, tenant=1)
        await b.post(0, 0, of_gang(0, 0b011))
        await b.record(0, 0)
        assert await members(b) == [0b010, 0, 0]
        await b.write(OFFSET["QUEUE0_CORES"], 0)
        assert await members(b) == [0, 0, 0]
        await b.lease(0, 0b111, tenant=2)
        for k in range(2):
            await b.post(0, 1 + k, of_gang(2 * k, 0b101))
        for k in range(2):
            await b.record(0, 1 + k)
        assert [r.members for r in b.runs] == [0b011, 0b101, 0b101]

    Bench(CHIP, lambda run: (600, 0)).simulate(host)


async def readers(b) -> list[int]:
    """Of each set, now."""
    return [b.ctx.get(mask) for mask in b.control.readers]


async def of_teams(b, queue: int, gang: list[int], team: int, **more) -> None:
    """The jobs of a gang, from position 0 on."""
    mask = sum(1 << core for core in gang)
    for k, core in enumerate(gang):
        await b.post(queue, k, replace(of_gang(core, mask, **more), team=team))


@pytest.mark.parametrize("gang, team, base, sets", [
    ([0, 1, 2, 3, 4, 5], 2, [0, 0, 2, 2, 4, 4], [0b010101, 0b101010]),
    ([0, 1, 2, 3, 4, 5], 3, [0, 0, 0, 3, 3, 3], [0b001001, 0b010010, 0b100100]),
    ([1, 2, 3, 4], 2, [None, 1, 1, 3, 3, None], [0b001010, 0b010100]),
    ([0, 1, 2], 3, [0, 0, 0, None, None, None], []),
    ([4, 5], 1, [None, None, None, None, 4, 5], [0b110000]),
    ([0, 1, 2, 3, 4], 2, [0, 0, 2, 2, 4, None], [0b010101, 0b001010])],
    ids=["three teams", "two", "not from the first core on", "one", "of one core", "one short"])
def test_the_cores_of_a_rank_read_together(gang, team, base, sets):
    """Each core knows the first of its team; of a single team each reads for itself."""
    async def host(b):
        await b.lease(0, 0b111111, tenant=1)
        await of_teams(b, 0, gang, team)
        while len(b.runs) < len(gang):
            await b.ctx.tick()
        assert [b.ctx.get(b.control.base[k]) for k in gang] == [base[k] for k in gang]
        assert await readers(b) == (sets + [0] * 6)[:6]
        for k in range(len(gang)):
            assert (await b.record(0, k)).outcome is Outcome.DONE
        assert await readers(b) == [0] * 6

    Bench(SIX, lambda run: (900, 0)).simulate(host)


def test_gangs_whose_sets_are_taken_read_each_for_itself():
    """Two teams of two of the first lease have sets 1 and 2; the cores of the second lease's gang
    would be set 2."""
    async def host(b):
        await b.lease(0, 0b001111, tenant=1)
        await b.lease(1, 0b110000, tenant=2)
        await of_teams(b, 0, [0, 1, 2, 3], 2)
        while len(b.runs) < 4:
            await b.ctx.tick()
        await of_teams(b, 1, [4, 5], 1, watchdog=10)
        for k in range(2):
            await b.record(1, k)
        assert {r.reads for r in b.runs[:4]} == {1, 2} and [r.reads for r in b.runs[4:]] == [0, 0]
        for k in range(4):
            await b.record(0, k)

    Bench(SIX, lambda run: (10 if run.watchdog == 10 else 1600, 0)).simulate(host)


def test_nobody_waits_for_the_team_of_a_core_that_failed():
    """The others of its team read each for itself, those of the other teams still together."""
    async def host(b):
        await b.lease(0, 0b111111, tenant=1)
        for k in range(6):
            of = of_gang(k, 0b111111, watchdog=1 if k == 3 else 1200)
            await b.post(0, k, replace(of, team=2))
        assert (await b.record(0, 0)).core == 3
        assert await readers(b) == [0b010001, 0b100010, 0, 0, 0, 0]
        assert await members(b) == [0b110111, 0, 0, 0, 0, 0]
        for k in range(1, 6):
            await b.record(0, k)

    Bench(SIX, lambda run: (run.watchdog, Fault.BAD_FIELD if run.watchdog == 1 else 0)
          ).simulate(host)


def test_teams_that_are_not_whole_read_each_for_itself():
    """A job is refused: its gang goes on as far as it had begun."""
    async def host(b):
        await b.lease(0, 0b001111, tenant=1)
        bad = replace(of_gang(3, 0b001111), team=2)
        for k in range(3):
            await b.post(0, k, replace(of_gang(k, 0b001111), team=2))
        await b.post(0, 3, replace(bad, regions=((1 << 36, 64), *bad.regions[1:])))
        assert (await b.record(0, 0)).refusal is Refusal.WINDOW
        assert await readers(b) == [0] * 6
        for k in range(1, 4):
            assert (await b.record(0, k)).outcome is Outcome.DONE

    Bench(SIX, lambda run: (900, 0)).simulate(host)
