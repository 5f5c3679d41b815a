# SPDX-License-Identifier: Apache-2.0
"""What a service survives: each request is answered once, by its program with its own numbers, or
fails with a reason that it may have, and the next one is answered."""

import asyncio
import collections
import dataclasses
import os
import random
import signal

import numpy as np
import pytest

import makalu
from isa.instructions import Instruction, Opcode, Region
from makalu.serve.accelerator import Hardware
from makalu.serve.process import Process
from makalu.serve.requests import Failure, Request, ServeError
from makalu.serve.tenants import Tenant, Tenants
from tests.makalu.serve.bench import GOLDEN, ask, failing, numbered, served, until
from tests.makalu.serve.odd_worker import LIMIT, Odd

SCALES = {"double": 2, "triple": 3}

TWICE = "died twice over this request"


class Load:
    """Clients that ask without a pause, each request with a number of its own."""

    def __init__(self, service, me):
        self.service, self.me = service, me
        self.over, self.asked = False, 0
        self.failed = collections.Counter()

    async def ask(self, may="", **more):
        """One request; whether it was answered, or failed as it may."""
        self.asked += 1
        k, name = self.asked, random.choice(list(SCALES))
        x = numbered(k)
        try:
            reply = await self.service.infer(self.me, Request(name, {"x": x}, id=str(k), **more))
        except ServeError as e:
            if not may or may not in str(e):
                raise
            self.failed[may] += 1
            return False
        assert (reply.model, reply.id) == (name, str(k))
        assert np.array_equal(reply.outputs["y"], x * SCALES[name]), (k, name)
        return True

    async def client(self, may="", **more):
        while not self.over:
            if not await self.ask(may, **more):
                await asyncio.sleep(0.001)

    def counted(self):
        """Every request was answered or has failed once, and every answer was executed once."""
        versions = self.service.models.all()
        answered = sum(v.totals.answered for v in versions)
        assert answered == sum(v.totals.elements for v in versions)
        assert answered + sum(self.failed.values()) == self.asked
        assert sum(v.totals.failed for v in versions) == sum(self.failed.values())


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.long)])
def test_kills_under_load(folder, kills):
    async def test(service, me):
        load = Load(service, me)
        clients = [asyncio.create_task(load.client(TWICE)) for _ in range(8)]
        core = service.accelerators["a"].lanes[0]
        for deaths in range(kills):
            await until(lambda times=deaths: service.ready and core.restarts == times)
            await asyncio.sleep(random.uniform(0, 0.05))
            os.kill(core.pid, signal.SIGKILL)
        await until(lambda: service.ready and core.restarts == kills)
        load.over = True
        await asyncio.gather(*clients)
        load.counted()
        assert await load.ask()

    served(folder, test)


def test_a_thousand_operations_on_leases_under_load(folder):
    """Attached, resized, moved and detached with requests in the queue and on the device."""
    async def test(service, me):
        load = Load(service, me)
        clients = [asyncio.create_task(load.client()) for _ in range(4)]
        for _ in range(250):
            devices = random.sample(["a", "b"], 2)
            lease = await service.attach(me, {"device": devices[0], "share": 2})
            asking = [asyncio.create_task(load.ask(lease=lease.id)) for _ in range(3)]
            await asyncio.sleep(0)
            await service.change(me, lease.id, {"share": random.uniform(0.5, 9)})
            await service.change(me, lease.id, {"device": devices[1]})
            await service.detach(me, lease.id)
            assert all(await asyncio.gather(*asking))
            with failing(Failure.NOT_FOUND, "no lease"):
                await ask(service, me, "double", 1, lease=lease.id)
        load.over = True
        await asyncio.gather(*clients)
        load.counted()
        assert len(service.leases.all()) == 1
        assert all(not len(a.queues) for a in service.accelerators.values())

    served(folder, test, (GOLDEN, Hardware("b", "golden", "tiny")))


def test_leases_that_move_while_processes_die(folder):
    async def test(service, me):
        load = Load(service, me)
        lease = await service.attach(me, {"device": "a"})
        clients = [asyncio.create_task(load.client(TWICE, lease=lease.id)) for _ in range(6)]
        for k in range(4):
            await asyncio.sleep(0.05)
            there, other = "abab"[k], "baba"[k]
            os.kill(service.accelerators[there].lanes[0].pid, signal.SIGKILL)
            await service.change(me, lease.id, {"device": other})
            await until(lambda: service.ready)
        load.over = True
        await asyncio.gather(*clients)
        await service.detach(me, lease.id)
        load.counted()

    served(folder, test, (GOLDEN, Hardware("b", "golden", "tiny")))


def test_a_flood_by_one_tenant(folder):
    """It fills its own queue; of another's request two executions at most are in front."""
    flood, calm = Tenant("flood", "0" * 64, shares=9, leases=9), Tenant("calm", "1" * 64)
    ran = []

    async def test(service, me):
        lease = await service.attach(flood, {"share": 1, "queue": 50})
        load, other = Load(service, flood), Load(service, calm)
        flooding = [asyncio.create_task(load.client("which is all it may have", lease=lease.id))
                    for _ in range(60)]
        await until(lambda: lease.waiting == 50)
        for _ in range(40):
            before = len(ran)
            assert await other.ask()
            mine = [k for k, who in enumerate(ran[before:]) if who == "calm"]
            assert mine and mine[0] <= 2, ran[before:]
        load.over = True
        await asyncio.gather(*flooding)
        assert load.failed and load.asked > sum(load.failed.values())

    served(folder, test, tenants=Tenants((flood, calm)),
           seen=lambda batch, _: ran.append(batch.lease.tenant.name))


def test_a_process_that_hangs(folder):
    """It is ended after the limit, and what it had is run by the next one."""
    async def test(service, me):
        load = Load(service, me)
        core = service.accelerators["a"].lanes[0]
        os.kill(core.pid, signal.SIGSTOP)
        assert all(await asyncio.gather(*(load.ask() for _ in range(20))))
        assert core.restarts == 1
        load.counted()

    served(folder, test, [dataclasses.replace(GOLDEN, limit=LIMIT)])


@pytest.fixture
def odd(monkeypatch):
    """Device processes that misbehave."""
    monkeypatch.setattr(Process, "worker", "tests.makalu.serve.odd_worker")


@pytest.mark.parametrize("what, failure, words, restarts", [
    (Odd.FAULT, Failure.BROKEN, "stopped at instruction 0", 0),
    (Odd.BREAK, Failure.DOWN, TWICE, 2), (Odd.HANG, Failure.DOWN, TWICE, 2),
    (Odd.EXIT, Failure.DOWN, TWICE, 2), (Odd.RAISE, Failure.DOWN, TWICE, 2),
    (Odd.STRANGE, Failure.DOWN, TWICE, 2)])
def test_a_request_that_harms_its_device(odd, folder, what, failure, words, restarts):
    """It alone fails, and what waits with it is answered."""
    async def test(service, me):
        load = Load(service, me)
        asking = [asyncio.create_task(load.ask()) for _ in range(10)]
        harm = asyncio.create_task(ask(service, me, "double", what, rows=4))
        asking += [asyncio.create_task(load.ask()) for _ in range(10)]
        with failing(failure, words):
            await harm
        assert all(await asyncio.gather(*asking))
        assert service.accelerators["a"].lanes[0].restarts == restarts

    served(folder, test, [dataclasses.replace(GOLDEN, limit=LIMIT)])


def test_what_was_with_a_request_that_kills_is_answered(odd, folder):
    """After a death each request runs alone."""
    async def test(service, me):
        load = Load(service, me)
        async with service.accelerators["a"]._idle[0]:
            harm = asyncio.create_task(ask(service, me, "double", Odd.EXIT))
            with_it = [asyncio.create_task(ask(service, me, "double", k)) for k in range(3)]
            await asyncio.sleep(0.01)
        assert [int(a.outputs["y"][0, 0]) for a in await asyncio.gather(*with_it)] == [0, 2, 4]
        with failing(Failure.DOWN, TWICE):
            await harm
        assert await load.ask()

    served(folder, test)


def test_stalls(odd, folder):
    async def test(service, me):
        load = Load(service, me)
        stalls = [asyncio.create_task(ask(service, me, "triple", Odd.STALL)) for _ in range(3)]
        assert all(await asyncio.gather(*(load.ask() for _ in range(50))))
        await asyncio.gather(*stalls)

    served(folder, test)


@pytest.mark.parametrize("memory, words", [
    ("slow memory", ""), ("losing memory", "watchdog's limit"), ("lying memory", "SLVERR")])
def test_rtl_with_an_odd_memory(odd, folder, memory, words):
    """Faults of single executions on the RTL: they are said, and the machine goes on."""
    async def test(service, me):
        load = Load(service, me)
        for _ in range(30):
            await load.ask(words)
        assert load.asked > sum(load.failed.values())
        assert list(load.failed) == [words] * bool(words)
        load.counted()

    served(folder, test, [Hardware("a", memory, "tiny")])


@pytest.mark.parametrize("device", ["golden", "rtl"])
def test_a_program_that_faults(folder, programs, device):
    """The fault is the machine's own: its node and instruction are said."""
    good = makalu.load(folder / "double" / "1" / "0.mkl")
    bad = Instruction(Opcode.LOAD, dict(n0=1, n1=1, n2=1, n3=1, region=Region.INPUT,
                                        dram=1 << 20)).encode()
    image = good.image.replace(good.codes()[0], bad, 1)
    (folder / "bad" / "1").mkdir(parents=True)
    dataclasses.replace(good, name="bad", image=image).save(folder / "bad" / "1" / "0.mkl")

    async def test(service, me):
        load = Load(service, me)
        for _ in range(5):
            asking = [asyncio.create_task(load.ask()) for _ in range(4)]
            with failing(Failure.BROKEN, "'bad' stopped at instruction 0 .*LOAD engine"):
                await ask(service, me, "bad", 1)
            assert all(await asyncio.gather(*asking))
        assert service.accelerators["a"].lanes[0].restarts == 0

    served(folder, test, [Hardware("a", device, "tiny")])
