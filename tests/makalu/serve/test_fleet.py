# SPDX-License-Identifier: Apache-2.0
"""Cores on several computers of a Ray cluster, which may go."""

import asyncio
import os
import signal

import pytest
import ray
from ray.cluster_utils import Cluster

from makalu.serve import fleet
from makalu.serve.requests import Failure
from makalu.serve.service import Hardware
from tests.makalu.serve.bench import ask, failing, served, until


@pytest.fixture
def cluster(monkeypatch):
    """A head without cores, and two computers with two each."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.nodes = [made.add_node(num_cpus=1, resources={fleet.RESOURCE: 2}) for _ in range(2)]
    fleet.join(made.address, 3)
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_fleet_outlives_its_workers(cluster, folder):
    """A process is killed, and then a computer goes, while requests run: all are answered once."""
    async def burst(service, me, disturb):
        tasks = [asyncio.create_task(ask(service, me, ("double", "triple")[k % 2], k))
                 for k in range(60)]
        await asyncio.sleep(0.02)
        disturb()
        answers = await asyncio.gather(*tasks)
        assert [int(a.outputs["y"][0, 0]) for a in answers] == [
            min(127, k * (2 + k % 2)) for k in range(60)]

    async def test(service, me):
        cores = service.accelerators["a"].lanes
        await burst(service, me, lambda: os.kill(cores[0].pid, signal.SIGKILL))
        await until(lambda: service.ready and cores[0].restarts == 1)
        await burst(service, me, lambda: cluster.remove_node(cluster.nodes[0]))
        await until(lambda: sum(c.ready for c in cores) == 2)       # there is room for two only
        await burst(service, me, lambda: cluster.add_node(resources={fleet.RESOURCE: 1}))
        await until(lambda: service.ready)
        assert sum(v.totals.answered for v in service.models.all()) == 180

    served(folder, test, [Hardware("a", "golden", "tiny", cores=3)], begin=fleet.Actor.begin)


def test_a_cluster_without_room_is_said(cluster):
    ray.shutdown()
    with failing(Failure.CONFLICT, "the cluster has room for 4 cores, not 9"):
        fleet.join(cluster.address, 9)
    ray.shutdown()
    with failing(Failure.DOWN, "the cluster at 127.0.0.1:1 is not there"):
        fleet.join("127.0.0.1:1", 1)


def test_a_chip_of_a_fleet(cluster, folder):
    """One actor has the chip; its leases work at the same time."""
    async def test(service, me):
        lease = await service.attach(me, {"cores": 1})
        answers = await asyncio.gather(*(ask(service, me, "double", k, lease=(lease.id, "")[k % 2])
                                         for k in range(30)))
        assert [int(a.outputs["y"][0, 0]) for a in answers] == [2 * k for k in range(30)]
        chip = service.accelerators["c"]
        assert all(use.jobs for use in chip.uses) and len({lane.pid for lane in chip.lanes}) == 1

    served(folder, test, [Hardware("c", "chip2_tiny", "tiny", cores=2)], begin=fleet.Actor.begin)
