# SPDX-License-Identifier: Apache-2.0
"""A line of the log for each request, the same numbers for Prometheus, and what both cost."""

import asyncio
import io
import json
import logging

import pytest
from prometheus_client.parser import text_string_to_metric_families

from makalu.serve import log
from makalu.serve.metrics import Metrics
from makalu.serve.requests import Record, ServeError
from tests.makalu.serve.bench import ask, served
from tests.makalu.serve.live import infer, models, serving, until


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with serving(models(tmp_path_factory.mktemp("models"))) as live:
        yield live


def line(live, id):
    """The line of a request, which is written before its reply is."""
    (found,) = until(lambda: [x for x in live.lines if x.get("id") == id])
    return found


def test_a_line_for_each_answer(live):
    with live.client() as client:
        reply = infer(client, rows=4, headers={"x-request-id": "r1"})
    said = line(live, "r1")
    assert reply.headers["x-request-id"] == "r1" and reply.headers["makalu-program"]
    assert {k: said[k] for k in ("event", "level", "tenant", "lease", "model", "version", "status",
                                 "elements", "program", "reason")} == {
        "event": "request", "level": "info", "tenant": "default", "lease": "default-1",
        "model": "double", "version": "1", "status": "OK", "elements": 4, "reason": "",
        "program": reply.headers["makalu-program"]}
    assert said["cycles"] == reply.json()["parameters"]["cycles"] > 0
    assert 0 < said["queued"] < said["seconds"] and 0 < said["ran"] < said["seconds"]


@pytest.mark.parametrize(("id", "what", "status", "event"), [
    ("n1", {"model": "none"}, "NOT_FOUND", "request"),
    ("n2", {"parameters": {"lease": "none"}}, "NOT_FOUND", "request"),
    ("n3", {"outputs": [{"name": "q"}]}, "BAD", "request"),
    ("n4", {"parameters": {"timeout": "soon"}}, 400, "refused"),
])
def test_a_line_for_each_refusal(live, id, what, status, event):
    with live.client() as client:
        reply = infer(client, headers={"x-request-id": id}, **what)
    said = line(live, id)
    assert (said["event"], said["status"]) == (event, status)
    assert said["reason"] == reply.json()["error"] and reply.headers["x-request-id"] == id


def test_what_is_no_request_has_a_line_as_well(live):
    with live.client() as client:
        client.get("/nowhere", headers={"x-request-id": "n5"})
    said = line(live, "n5")
    assert (said["event"], said["status"], said["path"]) == ("refused", 404, "/nowhere")


def samples(text):
    """Values by name and labels."""
    return {(s.name, *sorted(s.labels.items())): s.value
            for family in text_string_to_metric_families(text) for s in family.samples}


def found(text, name, **labels):
    return samples(text)[(name, *sorted(labels.items()))]


def test_numbers_by_tenant_and_model(folder):
    metrics = Metrics()

    async def test(service, me):
        metrics.watch(service)
        await ask(service, me, "double", 1, 4)
        await asyncio.gather(*(ask(service, me, "triple", 1) for _ in range(3)))
        for _ in range(2):
            with pytest.raises(ServeError):
                await ask(service, me, "triple", 1, outputs=("q",))
        with pytest.raises(ServeError):
            await ask(service, me, "nothing", 1)
        async with service.accelerators["a"]._idle[0]:      # the core is busy
            waits = asyncio.create_task(ask(service, me, "double", 1))
            await asyncio.sleep(0.01)
            busy = metrics.text().decode()
        await waits
        text = metrics.text().decode()
        assert found(busy, "makalu_waiting", tenant="default", model="double") == 1
        assert found(busy, "makalu_lease_waiting", lease="default-1", tenant="default",
                     device="a") == 1

        def of(name, model, **more):
            return found(text, f"makalu_{name}", tenant="default", model=model,
                         version="1" if model else "", **more)

        assert of("requests_total", "double", status="OK") == 2
        assert of("requests_total", "triple", status="OK") == 3
        assert of("requests_total", "triple", status="BAD") == 2
        assert of("requests_total", "", status="NOT_FOUND") == 1
        assert of("request_seconds_count", "triple") == 5
        assert of("queue_seconds_count", "triple") == 3
        assert of("elements_total", "double") == 5
        one, four = service.model(me, "double").costs
        assert of("cycles_total", "double") == one["cycles"] + four["cycles"]
        assert of("dram_bytes_total", "double") == one["moved_bytes"] + four["moved_bytes"]
        ran = of("execution_seconds_sum", "double") + of("execution_seconds_sum", "triple")
        assert found(text, "makalu_device_busy_seconds_total", device="a") >= ran > 0
        assert found(text, "makalu_device_restarts_total", device="a") == 0
        assert 0 < found(text, "makalu_device_busy_ratio", device="a") <= 1
        assert found(text, "makalu_core_busy_seconds_total", device="a", core="0") >= ran
        assert found(text, "makalu_core_jobs_total", device="a", core="0") == service.accelerators[
            "a"].executions

    served(folder, test, seen=metrics.seen, answered=metrics.answered)


def test_a_cancelled_request_is_counted_as_such(folder):
    records = []

    async def test(service, me):
        async with service.accelerators["a"]._idle[0]:
            task = asyncio.create_task(ask(service, me, "double", 1, id="c"))
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait([task])

    served(folder, test, answered=records.append)
    (record,) = records
    assert (record.status, record.id, record.model, record.program) == ("CANCELLED", "c", "double",
                                                                        "")


def test_seconds_are_rounded_to_microseconds():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(log.Lines())
    record = Record("0" * 32, "vision", "resnet50", "12", "vision-1", "0" * 16, 4, 123_456_789,
                    0.001234567, 0.0123456789, 0.0234567)

    log.LOG.addHandler(handler)
    propagate, log.LOG.propagate = log.LOG.propagate, False
    level, _ = log.LOG.level, log.LOG.setLevel("INFO")
    try:
        log.request(record)
    finally:
        log.LOG.removeHandler(handler)
        log.LOG.propagate = propagate
        log.LOG.setLevel(level)
    assert json.loads(stream.getvalue())["queued"] == 0.001235
