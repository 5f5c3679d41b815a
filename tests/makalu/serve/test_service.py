# SPDX-License-Identifier: Apache-2.0
"""The service on real device processes: what it answers, and what it survives."""

import asyncio
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import onnx
import pytest

import makalu
from compiler.compile import compile_decoder
from isa.presets import PRESETS
from makalu.serve.accelerator import Hardware
from makalu.serve.requests import Failure, Request
from makalu.serve.tenants import Tenant, Tenants
from tests.compiler.decoder import decoder
from tests.makalu.serve.bench import GOLDEN, ask, failing, served, until


def test_answers_carry_their_program_and_version(folder):
    async def test(service, me):
        two, three = await asyncio.gather(ask(service, me, "double", 5, id="a"),
                                          ask(service, me, "triple", 5))
        assert (two.outputs["y"] == 10).all() and (three.outputs["y"] == 15).all()
        assert two.program != three.program and (two.version, two.id) == ("1", "a")
        assert two.program in {p.hash for v in service.models.all() if v.name == "double"
                               for c in v.compiled.values() for p in c.programs.values()}
        assert two.cycles == service.model(me, "double").costs[0]["cycles"]

    served(folder, test)


def test_what_an_execution_costs_is_said_before_it_runs(folder):
    async def test(service, me):
        costs = service.model(me, "double").costs
        assert [(c["config"], c["batch"]) for c in costs] == [("tiny", 1), ("tiny", 4)]
        assert costs[1]["microseconds"] == costs[1]["cycles"] / 50 > costs[0]["microseconds"]
        (said,) = (m for m in service.status(me)["models"] if m["name"] == "double")
        assert said["costs"] == costs and said["cycles"] == 0
        assert said["held_bytes"] == sum(c["held_bytes"] for c in costs)
        await ask(service, me, "double", 1, 4)
        (said,) = (m for m in service.status(me)["models"] if m["name"] == "double")
        assert said["cycles"] == costs[1]["cycles"] and said["elements"] == 4
        (lease,) = service.status(me)["leases"]
        assert (lease["answered"], lease["failed"], lease["elements"]) == (1, 0, 4)

    served(folder, test, (Hardware("a", "golden", "tiny", mhz=50),))


def test_requests_join_into_batches_and_large_ones_are_cut(folder):
    async def test(service, me):
        answers = await asyncio.gather(*(ask(service, me, "double", k) for k in range(9)))
        assert [int(a.outputs["y"][0, 0]) for a in answers] == [2 * k for k in range(9)]
        assert service.accelerators["a"].executions < 9
        whole = await service.infer(me, Request("double", {"x": np.arange(11, dtype=np.int8)[
            :, None].repeat(16, 1)}))
        assert whole.outputs["y"][:, 0].tolist() == list(range(0, 22, 2))

    served(folder, test)


@pytest.mark.parametrize("request_, failure, words", [
    (Request("none", {}), Failure.NOT_FOUND, "model 'none' is not served"),
    (Request("double", {}, version="7"), Failure.NOT_FOUND, "version 7 .* there is version 1"),
    (Request("double", {}), Failure.BAD, "is missing input 'x'"),
    (Request("double", {"x": np.zeros((1, 16), np.float32)}), Failure.BAD, "got float32"),
    (Request("double", {"x": np.zeros((1, 15), np.int8)}), Failure.BAD, r"got int8 \[1, 15\]"),
    (Request("double", {"x": np.zeros((0, 16), np.int8)}), Failure.BAD, r"got int8 \[0, 16\]"),
    (Request("double", {"x": np.zeros((1, 16), np.int8)}, outputs=("q",)), Failure.BAD,
     "no output 'q'; it gives y"),
    (Request("double", {"x": np.zeros((1, 16), np.int8)}, lease="q"), Failure.NOT_FOUND,
     "no lease 'q'"),
])
def test_bad_requests_are_refused_with_a_sentence(folder, request_, failure, words):
    async def test(service, me):
        with failing(failure, words):
            await service.infer(me, request_)
        assert (await ask(service, me, "double", 1)).outputs["y"][0, 0] == 2

    served(folder, test)


def test_a_killed_process_loses_nothing_and_answers_once(folder):
    async def test(service, me):
        core = service.accelerators["a"].lanes[0]
        for deaths in range(5):
            tasks = [asyncio.create_task(ask(service, me, ("double", "triple")[k % 2], k))
                     for k in range(40)]
            await asyncio.sleep(0.003 * deaths)
            os.kill(core.pid, signal.SIGKILL)
            answers = await asyncio.gather(*tasks)
            assert [int(a.outputs["y"][0, 0]) for a in answers] == [
                np.int8(k * (2 + k % 2)) for k in range(40)]
            await until(lambda times=deaths: service.ready and core.restarts > times)
        assert sum(v.totals.answered for v in service.models.all()) == 200

    served(folder, test)


def test_a_process_killed_with_nothing_to_do_is_started_again(folder):
    async def test(service, me):
        core = service.accelerators["a"].lanes[0]
        os.kill(core.pid, signal.SIGKILL)
        await until(lambda: not service.ready)
        await until(lambda: service.ready)
        assert core.restarts == 1
        assert (await ask(service, me, "double", 1)).outputs["y"][0, 0] == 2

    served(folder, test)


def test_a_request_over_which_the_process_dies_twice_fails(folder):
    async def test(service, me):
        core, run = service.accelerators["a"].lanes[0], service.accelerators["a"].lanes[0].run

        async def dying(*given):
            os.kill(core.pid, signal.SIGKILL)
            return await run(*given)

        core.run = dying
        with failing(Failure.DOWN, "died twice over this request"):
            await ask(service, me, "double", 1)
        core.run = run
        assert (await ask(service, me, "double", 1)).outputs["y"][0, 0] == 2

    served(folder, test)


def test_deadlines_rates_and_queues(folder):
    async def test(service, me):
        lease = await service.attach(me, {"rate": 2.0})
        await ask(service, me, "double", 1, 2, lease=lease.id)
        with failing(Failure.TOO_MANY, "a rate of 2 elements a second") as e:
            await ask(service, me, "double", 1, 2, lease=lease.id)
        assert 0 < e.value.retry_after <= 1
        full = await service.attach(me, {"queue": 1})
        async with service.accelerators["a"]._idle[0]:     # the core is busy
            waits = asyncio.create_task(ask(service, me, "double", 1, lease=full.id))
            await asyncio.sleep(0.01)
            with failing(Failure.TOO_MANY, "1 requests wait for lease"):
                await ask(service, me, "double", 1, lease=full.id)
            with failing(Failure.EXPIRED, "which is its deadline"):
                await ask(service, me, "double", 1, timeout=0.02)
            gone = asyncio.create_task(ask(service, me, "double", 1))
            await asyncio.sleep(0.01)
            gone.cancel()
            await asyncio.wait([gone])
            assert len(service.accelerators["a"].queues) == 1
        assert (await waits).outputs["y"][0, 0] == 2

    served(folder, test)


def test_a_new_version_takes_over_while_requests_run(folder):
    async def test(service, me):
        shutil.copytree(folder / "triple" / "1", folder / "double" / "2")
        asking = [asyncio.create_task(ask(service, me, "double", 4)) for _ in range(20)]
        await service.load(me, "double")
        answers = await asyncio.gather(*asking)
        assert {(a.version, int(a.outputs["y"][0, 0])) for a in answers} == {("1", 8)}
        new = await ask(service, me, "double", 4)
        assert (new.version, int(new.outputs["y"][0, 0])) == ("2", 12)
        await service.unload(me, "double")
        with failing(Failure.NOT_FOUND, "'double' is not served"):
            await ask(service, me, "double", 4)
        assert ("double", "UNLOADED") in {(e.name, e.state) for e in service.index(me)}

    served(folder, test)


def test_a_model_that_does_not_compile_is_said_and_others_are_served(folder):
    (folder / "bad" / "1").mkdir(parents=True)
    (folder / "bad" / "1" / "model.onnx").write_bytes(b"no model")

    async def test(service, me):
        with failing(Failure.DOWN, "'bad' is unavailable: .*does not compile for tiny"):
            await ask(service, me, "bad", 1)
        assert (await ask(service, me, "triple", 2)).outputs["y"][0, 0] == 6

    served(folder, test)


def test_a_decoder_is_refused_with_what_runs_it(tmp_path):
    for name in ("text", "made"):
        (tmp_path / name / "1").mkdir(parents=True)
    onnx.save(decoder(), tmp_path / "text" / "1" / "model.onnx")
    compile_decoder(decoder(), PRESETS["tiny_fp"], context=16, prefill=4, allow_host=("all",)
                    ).save(tmp_path / "made" / "1" / "model.mkl")

    async def test(service, me):
        for name in ("text", "made"):
            with failing(Failure.DOWN, f"'{name}' is unavailable: .*makalu generate"):
                await ask(service, me, name, 1)

    served(tmp_path, test, [replace(GOLDEN, config="tiny_fp")])


def test_leases_move_between_devices_with_what_waits(models):
    async def test(service, me):
        lease = await service.attach(me, {"device": "a"})
        async with service.accelerators["a"]._idle[0]:
            waits = [asyncio.create_task(ask(service, me, "double", k, lease=lease.id))
                     for k in range(6)]
            await asyncio.sleep(0.02)
            await service.change(me, lease.id, {"device": "b"})
            answers = await asyncio.gather(*waits)
        assert [int(a.outputs["y"][0, 0]) for a in answers] == [0, 2, 4, 6, 8, 10]
        assert service.accelerators["b"].executions and not service.accelerators["a"].executions
        await service.detach(me, lease.id)
        with failing(Failure.NOT_FOUND, "no lease"):
            await ask(service, me, "double", 1, lease=lease.id)

    served(models, test, (GOLDEN, Hardware("b", "golden", "ecp5")))


def test_a_lease_goes_where_its_cores_are(folder):
    async def test(service, me):
        assert (await service.attach(me, {})).terms.device == "b"
        await service.attach(me, {"device": "b", "share": 9})
        assert (await service.attach(me, {})).terms.device == "a"
        assert (await service.attach(me, {"cores": 2})).terms.device == "b"
        with failing(Failure.CONFLICT, "cores free"):
            await service.attach(me, {"cores": 7})

    served(folder, test, (GOLDEN, Hardware("b", "golden", "tiny", cores=3)))


def test_tenants_see_their_own_models_and_hold_their_own_memory(folder):
    small = Tenant("small", "0" * 64, ("double",), memory_bytes=10)
    other = Tenant("other", "1" * 64, ("triple",), shares=2, leases=2)

    async def test(service, me):
        with failing(Failure.NOT_FOUND, "'triple' is not served"):
            await ask(service, small, "triple", 1)
        with failing(Failure.NO_MEMORY, "tenant 'small' may hold 10 bytes"):
            await ask(service, small, "double", 1)
        with failing(Failure.FORBIDDEN, "may not load or unload"):
            await service.load(other, "triple")
        assert {e.name for e in service.index(other)} == {"triple"}
        assert [x["tenant"] for x in service.status(other)["leases"]] == ["other"]
        assert [m["name"] for m in service.status(other)["models"]] == ["triple"]

    served(folder, test, tenants=Tenants((small, other)))


def test_the_device_is_cleared_between_tenants(folder):
    """The program is loaded again when its owner changes, and not otherwise."""
    from makalu.serve.messages import Load, Loaded, Run
    from makalu.serve.worker import Owner

    program = makalu.load(folder / "double" / "1" / "0.mkl")
    with makalu.open_device("golden", "tiny") as device:
        loads, load = [], device.load
        device.load = lambda p: (loads.append(p.name), load(p))
        owner = Owner(device)
        assert isinstance(owner.answer(Load("p", program.to_bytes())), Loaded)
        x = {"x": np.ones((1, 16), np.int8)}
        for who in ("a", "a", "b", "b", "a"):
            assert (owner.answer(Run("p", who, x)).outputs["y"] == 2).all()
        assert len(loads) == 1 + 3


def test_a_folder_is_served_under_another_name_until_it_is_unloaded(folder):
    async def test(service, me):
        await service.load(me, "5e88", folder / "triple")
        assert (await ask(service, me, "5e88", 2)).outputs["y"][0, 0] == 6
        await service.unload(me, "5e88")
        await service.models.refresh()
        assert {e.name for e in service.index(me)} == {"double", "triple"}
        with failing(Failure.NOT_FOUND, "5e88"):
            await service.load(me, "5e88")

    served(folder, test)


def test_a_draining_server_answers_what_it_has_and_takes_nothing(folder):
    async def test(service, me):
        waits = [asyncio.create_task(ask(service, me, "double", 3)) for _ in range(20)]
        await asyncio.sleep(0)
        await service.drain(10)
        assert all(task.done() for task in waits) and not service.ready
        with failing(Failure.DOWN, "is stopping"):
            await ask(service, me, "double", 3)

    served(folder, test)
