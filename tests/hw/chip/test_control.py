# SPDX-License-Identifier: Apache-2.0
"""Jobs, records, leases, tenants, faults and resets."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from isa.chip import CHIPS
from isa.instructions import Fault
from isa.jobs import OFFSET, Outcome, Refusal, core_offset
from isa.registers import OFFSET as CORE
from tests.hw.chip.bench import JOBS, PAGE, WINDOW, Bench, job

CHIP = CHIPS["chip2_tiny"]


def test_a_job_reaches_a_core_and_comes_back():
    async def host(b):
        await b.lease(0, 0b11, tenant=5)
        await b.post(0, 0, job(0xFEDC_BA98_7654_3210))
        r = await b.record(0, 0)
        assert (r.tag, r.position, r.outcome, r.refusal) == (0xFEDC_BA98_7654_3210, 0,
                                                             Outcome.DONE, None)
        assert r.values["CYCLES"] >= 40 and r.values["STATUS"] & 0b110 == 0b010
        (run,) = b.runs
        assert run.core == r.core and (run.program, run.watchdog) == (128, 77)
        assert run.regions == [(WINDOW + 64 * k, 32 + 32 * k) for k in range(4)]

    Bench(CHIP, lambda run: (40, 0)).simulate(host)


@pytest.mark.parametrize("seed", range(3))
def test_jobs_of_two_tenants_run_once_each_with_stalls(seed):
    """Both leases have both cores: each job has a record, and cores are cleared between tenants."""
    rng = random.Random(seed)
    count = 6

    async def host(b):
        for queue in range(2):
            await b.lease(queue, 0b11, tenant=queue + 1)
        for k in range(count):
            for queue in range(2):
                await b.post(queue, k, job(100 * queue + k, offset=32 * k))
        found = {queue: [await b.record(queue, k) for k in range(count)] for queue in range(2)}
        for queue, records in found.items():
            assert sorted(r.tag for r in records) == [100 * queue + k for k in range(count)]
            assert all(r.tag % 100 == r.position and r.outcome is Outcome.DONE for r in records)
        assert len(b.runs) == 2 * count
        for core in range(2):
            tenants = [run.regions[0][0] // WINDOW for run in b.runs if run.core == core]
            changes = 1 + sum(a != c for a, c in zip(tenants, tenants[1:]))
            assert Counter(b.wipes)[core] >= changes

    Bench(CHIP, lambda run: (rng.randrange(1, 300), 0), seed, 0.3).simulate(host)


def test_a_core_is_cleared_once_for_each_tenant():
    async def host(b):
        await b.lease(0, 0b01, tenant=1)
        for k in range(6):
            await b.write(OFFSET["QUEUE0_TENANT"], 1 + k // 2)
            await b.post(0, k, job(k))
            await b.record(0, k)
        assert b.wipes == [0, 0, 0]

    Bench(CHIP, lambda run: (20, 0)).simulate(host)


def test_a_core_that_faults_is_reset_and_goes_on():
    """The other core's jobs are done meanwhile."""
    async def host(b):
        await b.lease(0, 0b01, tenant=1)
        await b.lease(1, 0b10, tenant=2)
        await b.post(0, 0, job(1, watchdog=9))
        await b.post(1, 0, job(2))
        await b.post(0, 1, job(3))
        bad, good = await b.record(0, 0), await b.record(0, 1)
        assert bad.outcome is Outcome.FAULT and bad.values["ERROR_CODE"] == Fault.BAD_FIELD
        assert good.outcome is Outcome.DONE and good.values["ERROR_CODE"] == 0
        assert (await b.record(1, 0)).outcome is Outcome.DONE
        # after power-on, cleared for the tenant, after the fault
        assert (Counter(b.resets)[0], Counter(b.resets)[1]) == (3, 2)

    Bench(CHIP, lambda run: (20, Fault.BAD_FIELD if run.watchdog == 9 else 0)).simulate(host)


def test_a_core_that_stays_in_reset_holds_up_nobody():
    async def host(b):
        await b.lease(0, 0b01, tenant=1)
        await b.lease(1, 0b10, tenant=2)
        await b.post(0, 0, job(1))
        assert (await b.record(0, 0)).outcome is Outcome.FAULT
        b.stuck.add(0)
        await b.post(0, 1, job(2))
        assert (await b.record(0, 1)).outcome is Outcome.FAULT
        await b.post(0, 2, job(3))
        for k in range(3):
            await b.post(1, k, job(k))
            assert (await b.record(1, k)).outcome is Outcome.DONE
        assert await b.read(OFFSET["RESETTING"]) == 0b01
        assert await b.read(OFFSET["QUEUE0_JOBS_HEAD"]) == 2
        b.stuck.clear()
        assert (await b.record(0, 2)).outcome is Outcome.FAULT

    Bench(CHIP, lambda run: (20, Fault.BAD_FIELD if run.core == 0 else 0)).simulate(host)


@pytest.mark.parametrize("bad, why", [
    (job(7, cores=0b10), Refusal.CORES),
    (job(7, offset=PAGE - 192), Refusal.WINDOW),
    (replace(job(7), regions=(((1 << 37) - 32, 64), *job(7).regions[1:])), Refusal.WINDOW)],
    ids=["cores", "end", "wraps"])
def test_what_a_lease_does_not_have_is_refused(bad, why):
    """And the next job is run."""
    async def host(b):
        await b.lease(0, 0b01, tenant=1)
        await b.post(0, 0, bad)
        await b.post(0, 1, job(8))
        first, second = await b.record(0, 0), await b.record(0, 1)
        assert (first.outcome, first.refusal, first.tag) == (Outcome.REFUSED, why, 7)
        assert second.outcome is Outcome.DONE and len(b.runs) == 1

    Bench(CHIP, lambda run: (20, 0)).simulate(host)


def test_a_job_that_the_memory_does_not_give_is_refused():
    async def host(b):
        await b.lease(0, 0b01, tenant=1)
        await b.post(0, 0, job(7))
        assert (await b.record(0, 0)).refusal is Refusal.MEMORY and not b.runs

    Bench(CHIP, lambda run: (20, 0), error=range(JOBS, JOBS + 64)).simulate(host)


@pytest.mark.parametrize("burst", [8, 16])
@pytest.mark.parametrize("bad", range(5))
def test_of_jobs_that_are_fetched_ahead_those_that_the_memory_gives_are_run(bad, burst):
    """In their order, each once, whichever fails of two in a burst, or of those that come one by
    one."""
    async def host(b):
        await b.lease(0, 0b01, tenant=1)
        await b.post(0, 0, *(job(k, watchdog=1 + k) for k in range(5)))
        found = {r.position: r for r in [await b.record(0, k) for k in range(5)]}
        for k in range(5):
            assert found[k].refusal is (Refusal.MEMORY if k == bad else None)
            assert k == bad or found[k].tag == k
        assert [run.watchdog for run in b.runs] == [1 + k for k in range(5) if k != bad]

    chip = replace(CHIP, core=replace(CHIP.core, max_burst=burst))
    Bench(chip, lambda run: (20, 0), error=range(JOBS + 64 * bad, JOBS + 64 * bad + 64)
          ).simulate(host)


def test_records_that_the_host_has_not_taken_are_not_overwritten():
    """A ring of two: the third job waits for the host."""
    async def host(b):
        await b.lease(0, 0b11, tenant=1, ring=1)
        for k in range(2):
            await b.post(0, k, job(k), ring=1)
        while await b.read(OFFSET["QUEUE0_RECORDS_TAIL"]) < 2:
            pass
        await b.post(0, 2, job(2), ring=1)
        for _ in range(100):
            assert await b.read(OFFSET["QUEUE0_JOBS_HEAD"]) == 2
        assert {(await b.record(0, k, ring=1)).tag for k in range(2)} == {0, 1}
        assert (await b.record(0, 2, ring=1)).tag == 2

    Bench(CHIP, lambda run: (20, 0)).simulate(host)


def test_the_host_reads_a_core_and_writes_none():
    async def host(b):
        at = core_offset(1, CORE["WATCHDOG"])
        await b.write(at, 5)
        assert await b.read(at) == 0
        await b.lease(0, 0b10, tenant=1)
        await b.post(0, 0, job(1, watchdog=99))
        await b.record(0, 0)
        assert await b.read(at) == 99
        assert await b.read(core_offset(2, CORE["IDENT"])) == 0     # there is none

    Bench(CHIP, lambda run: (20, 0)).simulate(host)


def test_the_interrupt_stands_while_there_are_records():
    async def host(b):
        irq = []
        await b.lease(0, 0b01, tenant=1)
        assert await b.read(OFFSET["IRQ_STATUS"]) == 0
        await b.post(0, 0, job(1))
        while not await b.read(OFFSET["IRQ_STATUS"]):
            pass
        irq.append(b.ctx.get(b.irq))
        await b.record(0, 0)
        assert await b.read(OFFSET["IRQ_STATUS"]) == 0
        irq.append(b.ctx.get(b.irq))
        assert irq == [1, 0]

    Bench(CHIP, lambda run: (20, 0)).simulate(host)
