# SPDX-License-Identifier: Apache-2.0
"""A model that takes both cores of a simulated chip together, among others that take one each."""

import asyncio
import json

import numpy as np
import onnx
import pytest

import makalu
from makalu.serve.accelerator import Hardware
from makalu.serve.requests import Failure, Request
from makalu.serve.tenants import Tenant, Tenants
from tests.makalu.serve.bench import GOLDEN, ask, failing, network, numbered, served
from tests.makalu.serve.test_chip import asking

CHIP = Hardware("c", "chip2_tiny", "tiny", cores=2)
A, B = (Tenant(name, digit * 64, shares=4, leases=2) for name, digit in (("a", "0"), ("b", "1")))


@pytest.fixture
def pair(folder):
    """Of a network for two cores, programs for batches of 1 and 4."""
    (folder / "pair" / "1").mkdir(parents=True)
    for batch in (1, 4):
        program = makalu.compile(network(3), "tiny", batch=batch, cores=2)
        assert program.ranks == 2
        program.save(folder / "pair" / "1" / f"{batch}.mkl")
    return folder


def test_its_batches_run_on_all_cores_together(pair):
    async def test(service, me):
        chip = service.accelerators["c"]
        reply = await ask(service, me, "pair", 3, 8)
        assert (reply.outputs["y"] == 9).all() and reply.outputs["y"].shape == (8, 16)
        assert chip.executions == 2 and [use.jobs for use in chip.uses] == [2, 2]
        one = await ask(service, me, "pair", 3, 1)
        assert 0 < one.cycles < reply.cycles and one.cycles % 2 == 0
        await asyncio.gather(*asking(service, me, "pair", 3, range(20)),
                             *asking(service, me, "double", 2, range(20)))
        assert chip.restarts == 0 and all(use.busy > 0 for use in chip.uses)

    served(pair, test, (CHIP,))


def test_a_lease_with_too_few_cores_is_told(pair):
    async def test(service, _):
        await service.change(A, "a-1", {"cores": 1})
        for tenant, words in ((A, "lease 'a-1' has core 1: resize"), (B, "'b-2' has core 0: res")):
            with failing(Failure.CONFLICT, f"'pair' takes 2 cores side by side, and .*{words}"):
                await ask(service, tenant, "pair", 1)
            assert (await ask(service, tenant, "double", 4)).outputs["y"].min() == 8
        await service.detach(B, "b-2")
        await service.change(A, "a-1", {"cores": 2})
        await asyncio.gather(*asking(service, A, "pair", 3, range(8)))
        assert service.accelerators["c"].restarts == 0

    served(pair, test, (CHIP,), tenants=Tenants((A, B)))


def test_a_batch_whose_lease_has_lost_cores_fails_alone(pair):
    """It was in the queue already: the process says what is wrong, and goes on."""
    async def test(service, _):
        chip = service.accelerators["c"]
        run = chip.lanes[0].run

        async def late(program, owner, inputs, cores):
            return await run(program, owner, inputs, cores[:1])

        chip.lanes[0].run = late
        with failing(Failure.BROKEN, "'net' takes 2 cores together, and there are 1, of chip"):
            await ask(service, A, "pair", 1)
        chip.lanes[0].run = run
        assert (await ask(service, A, "pair", 5)).outputs["y"].max() == 15
        assert chip.restarts == 0

    served(pair, test, (CHIP,), tenants=Tenants((A,)))


@pytest.mark.parametrize("hardware, has", [(Hardware("c", "chip2_tiny", "tiny", cores=1), 1),
                                           (GOLDEN, 1)])
def test_a_device_with_too_few_cores_does_not_load_it(pair, hardware, has):
    async def test(service, me):
        with failing(Failure.DOWN, f"'pair' takes 2 cores together, and device '{hardware.name}' "
                     f"has {has} that can: serve it on a chip with more"):
            await ask(service, me, "pair", 1)
        assert (await ask(service, me, "double", 4)).outputs["y"].max() == 8

    served(pair, test, (hardware,))


def test_a_model_is_compiled_for_several_cores(models):
    folder = models / "triple"
    (folder / "makalu.json").write_text(json.dumps(
        {"batches": [4], "options": {"host": "all", "cores": 2}}))
    onnx.save(network(3), folder / "1" / "model.onnx")

    async def test(service, me):
        x = np.concatenate([numbered(k) for k in range(8)])
        reply = await service.infer(me, Request("triple", {"x": x}))
        assert np.array_equal(reply.outputs["y"], 3 * x)
        assert [use.jobs for use in service.accelerators["c"].uses] == [2, 2]

    served(models, test, (CHIP,))
