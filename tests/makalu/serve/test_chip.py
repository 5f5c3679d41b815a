# SPDX-License-Identifier: Apache-2.0
"""A simulated chip behind the service: tenants at the same time on cores of their own."""

import asyncio
import dataclasses
import os
import signal

import numpy as np
import pytest

import makalu
from isa.instructions import Instruction, Opcode, Region
from makalu.serve.accelerator import Hardware
from makalu.serve.requests import Failure, Request, ServeError
from makalu.serve.tenants import Tenant, Tenants
from tests.makalu.serve.bench import ask, failing, numbered, served, until

CHIP = Hardware("c", "chip2_tiny", "tiny", cores=2)
A, B = (Tenant(name, digit * 64, shares=4, leases=2) for name, digit in (("a", "0"), ("b", "1")))


def cores(service):
    """The cores as an administrator would see them, and whose they are."""
    return [core["lease"] for core in service.status(A)["devices"][0]["cores"]]


async def each_a_core(service):
    """The first leases of both tenants, each with a core for itself."""
    for tenant, lease in ((A, "a-1"), (B, "b-2")):
        await service.change(tenant, lease, {"cores": 1})


def asking(service, me, model, scale, numbers, **more):
    """Numbered requests, and their checked answers."""
    async def one(k):
        reply = await service.infer(me, Request(model, {"x": numbered(k)}, **more))
        assert np.array_equal(reply.outputs["y"], numbered(k) * scale), (k, model)
        return reply

    return [asyncio.create_task(one(k)) for k in numbers]


def test_a_batch_uses_all_cores_of_its_lease(folder):
    async def test(service, me):
        chip = service.accelerators["c"]
        reply = await ask(service, me, "double", 3, 8)
        assert (reply.outputs["y"] == 6).all() and reply.outputs["y"].shape == (8, 16)
        assert [use.jobs for use in chip.uses] == [1, 1] and chip.executions == 2
        await asyncio.gather(*asking(service, me, "triple", 3, range(20)))
        assert all(use.jobs > 1 for use in chip.uses)
        (device,) = service.status(me)["devices"]
        assert sum(core["jobs"] for core in device["cores"]) == device["executions"]
        assert all(0 < core["busy"] <= 1 for core in device["cores"])
        (lease,) = service.status(me)["leases"]
        assert (lease["cores"], lease["uses"]) == (0, (0, 1))

    served(folder, test, (CHIP,))


def test_two_tenants_at_the_same_time(folder):
    """Both have a batch under way at once, in one process, and each its own answers."""
    async def test(service, _):
        chip, under_way = service.accelerators["c"], []
        await each_a_core(service)
        for lane in chip.lanes:
            async def run(*given, run=lane.run):
                under_way.append(set(chip._taken))
                return await run(*given)
            lane.run = run
        await asyncio.gather(*asking(service, A, "double", 2, range(60)),
                             *asking(service, B, "triple", 3, range(60)))
        assert {0, 1} in under_way
        assert len({lane.pid for lane in chip.lanes}) == 1
        assert cores(service) == [None, "a-1"]      # b's is not for a to see
        assert all(use.jobs for use in chip.uses)
        shown = {x["id"]: x["uses"] for t in (A, B) for x in service.status(t)["leases"]}
        assert shown == {"a-1": (1,), "b-2": (0,)}

    served(folder, test, (CHIP,), tenants=Tenants((A, B)))


def test_more_cores_than_are_free_are_refused_and_come_back_when_a_lease_ends(folder):
    async def test(service, me):
        with failing(Failure.CONFLICT, "device 'c' has 2 of 2 cores free, of which one stays for "
                     "the leases that share: take up to 1"):
            await service.attach(A, {"cores": 2})
        await each_a_core(service)
        with failing(Failure.CONFLICT, "device 'c' has 0 of 2 cores free: detach a lease"):
            await service.attach(A, {"cores": 1})
        await service.detach(B, "b-2")
        assert cores(service) == ["", "a-1"]
        lease = await service.attach(A, {"cores": 1})
        assert cores(service) == [lease.id, "a-1"]
        await asyncio.gather(*asking(service, A, "double", 2, range(8), lease=lease.id))
        await service.detach(A, lease.id)
        await service.change(A, "a-1", {"cores": 2})
        assert cores(service) == ["a-1", "a-1"]
        reply = await ask(service, A, "triple", 5, 8)
        assert (reply.outputs["y"] == 15).all()

    served(folder, test, (CHIP,), tenants=Tenants((A, B)))


def test_leases_that_change_their_cores_under_load(folder):
    async def test(service, me):
        lease = await service.attach(me, {})
        tasks = []
        for k in range(30):
            tasks += asking(service, me, "double", 2, range(4 * k, 4 * k + 4), lease=lease.id)
            tasks += asking(service, me, "triple", 3, range(4 * k, 4 * k + 4))
            await service.change(me, lease.id, {"cores": k % 2})
            await asyncio.sleep(0.02)
        await asyncio.gather(*tasks)
        assert not service.accelerators["c"]._taken

    served(folder, test, (CHIP,))


def test_a_core_that_faults_leaves_the_other_lease_its_answers(folder):
    good = makalu.load(folder / "double" / "1" / "0.mkl")
    bad = Instruction(Opcode.LOAD, dict(n0=1, n1=1, n2=1, n3=1, region=Region.INPUT,
                                        dram=1 << 20)).encode()
    (folder / "bad" / "1").mkdir(parents=True)
    dataclasses.replace(good, name="bad", image=good.image.replace(good.codes()[0], bad, 1)).save(
        folder / "bad" / "1" / "0.mkl")

    async def test(service, _):
        await each_a_core(service)
        for _ in range(5):
            others = asking(service, B, "triple", 3, range(40))
            with failing(Failure.BROKEN, "'bad' stopped at instruction 0 .*LOAD engine"):
                await ask(service, A, "bad", 1)
            await asyncio.gather(*asking(service, A, "double", 2, range(4)), *others)
        assert service.accelerators["c"].restarts == 0

    served(folder, test, (CHIP,), tenants=Tenants((A, B)))


def test_a_chip_whose_process_is_killed(folder):
    """All leases lose it, and have their requests run again, once, by one new process."""
    async def test(service, _):
        chip = service.accelerators["c"]
        await each_a_core(service)
        for deaths in range(3):
            tasks = [*asking(service, A, "double", 2, range(20)),
                     *asking(service, B, "triple", 3, range(20))]
            await asyncio.sleep(0.05)
            os.kill(chip.lanes[0].pid, signal.SIGKILL)
            await asyncio.gather(*tasks)
            await until(lambda times=deaths: service.ready and chip.restarts == times + 1)
        assert len({lane.pid for lane in chip.lanes}) == 1

    served(folder, test, (CHIP,), tenants=Tenants((A, B)))


def test_a_request_that_kills_the_process_takes_no_other_lease_along(folder):
    """It fails when the process has died over it twice; the others' are answered, those included
    that were under way at the first death."""
    async def test(service, _):
        chip = service.accelerators["c"]
        await each_a_core(service)
        for lane in chip.lanes:
            async def run(program, owner, inputs, cores, lane=lane, run=lane.run):
                if inputs["x"].max() == 101:
                    os.kill(lane.pid, signal.SIGKILL)
                return await run(program, owner, inputs, cores)
            lane.run = run
        for _ in range(2):
            others = asking(service, B, "triple", 3, range(80))
            await until(lambda: 0 in chip._taken)
            with failing(Failure.DOWN, "died twice over this request"):
                await ask(service, A, "double", 101)
            await asyncio.gather(*asking(service, A, "double", 2, range(4)), *others)
        assert chip.restarts == 4

    served(folder, test, (CHIP,), tenants=Tenants((A, B)))


@pytest.mark.parametrize("hardware, words", [
    (dict(cores=3), "chip 'chip2_tiny' has 2 cores: use 1 to 2, not 3"),
    (dict(config="core256"), "cores of 'chip2_tiny' are 'tiny', not 'core256': add --config tiny")])
def test_what_is_no_such_chip(folder, hardware, words):
    async def test(service, me):
        raise AssertionError("it starts")

    with pytest.raises(ServeError, match=words):
        served(folder, test, (dataclasses.replace(CHIP, **hardware),))


def test_one_core_of_a_chip(folder):
    async def test(service, me):
        await asyncio.gather(*asking(service, me, "double", 2, range(8)))
        assert len(service.status(me)["devices"][0]["cores"]) == 1

    served(folder, test, (dataclasses.replace(CHIP, cores=1),))
