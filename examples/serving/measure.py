# SPDX-License-Identifier: Apache-2.0
"""The measurements; each gives rows of the page."""

import contextlib
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import makalu
from examples.digits import INPUT, held_out
from examples.serving import open_loop
from examples.serving.clients import (Client, Model, Times, percentile, sequence, times,
                                      together)
from examples.serving.servers import (DIGITS, Server, bare_server, makalu_server, repository,
                                      triton_server, wide_input)

CONFIG = "core256"

BATCHES = (1, 2, 4, 8, 16)

SHARES = (1.0, 2.0, 4.0)

LOAD = 0.7


@dataclass(frozen=True)
class Size:
    """How much is measured: rounds by turns and requests in each, seconds of a load, and deaths."""

    rounds: int
    requests: int
    seconds: float
    deaths: int


FULL, QUICK = Size(6, 50, 20.0, 5), Size(1, 5, 1.0, 1)

WIDE = Model("wide", "x", wide_input(), "y", np.maximum(wide_input(), 0))


def digits(batch: int = 1, config: str = CONFIG) -> Model:
    """Held-out digits, and what the program gives without a server."""
    images = held_out()[0][:batch].astype(np.float32)
    program = makalu.compile(DIGITS, config, batch=1, host=("all",))
    outputs = makalu.run(program, {INPUT: images})
    (name, answer), = outputs.items()
    return Model("digits", INPUT, images, name, answer)


@contextlib.contextmanager
def served(device: str = "golden", config: str = CONFIG, batches: tuple[int, ...] = (1,)
           ) -> Iterator[Server]:
    """A server with models of its own."""
    with tempfile.TemporaryDirectory() as folder, makalu_server(
            repository(Path(folder), config, batches), device, config) as server:
        yield server


def latency(size: Size, triton: str | None) -> dict[str, dict[str, list[float]]]:
    """By protocol and server p50 and p99 of the whole round trip and of the own share, in
    milliseconds: 600 KB in and out, one client, servers by turns."""
    with contextlib.ExitStack() as stack:
        servers = {"bare": stack.enter_context(bare_server()),
                   "makalu": stack.enter_context(served())}
        if triton:
            servers["triton"] = stack.enter_context(triton_server(triton))
        clients = {(protocol, name): Client(server, protocol, WIDE)
                   for protocol in ("http", "grpc") for name, server in servers.items()}
        for client in clients.values():
            sequence(client, 5)
        asked: dict[tuple[str, str], list[Times]] = {key: [] for key in clients}
        for _ in range(size.rounds):
            for key, client in clients.items():
                asked[key].append(sequence(client, size.requests))
        for client in clients.values():
            client.close()
    found: dict[str, dict[str, list[float]]] = {"http": {}, "grpc": {}}
    for (protocol, name), rounds in asked.items():
        whole, own = (np.concatenate([getattr(r, what) for r in rounds])
                      for what in ("whole", "own"))
        found[protocol][name] = [percentile(v, q) for v in (whole, own) for q in (50, 99)]
    return found


def throughput(size: Size) -> dict[int, float]:
    """Digits a second on the golden model by the batch of a request, one client."""
    with served(batches=BATCHES) as server:
        found = {}
        for batch in BATCHES:
            client = Client(server, "grpc", digits(batch))
            client.ask()
            (asked,) = together([client], size.seconds / 4)
            client.close()
            found[batch] = batch * len(asked.whole) / float(asked.whole.sum())
    return found


def shares(size: Size) -> list[tuple[float, float]]:
    """Of leases that always wait: their part of all shares, and of all cycles."""
    with served() as server:
        leases = [server.attach(share=share) for share in SHARES]
        clients = [Client(server, "grpc", digits(), lease) for lease in leases for _ in range(4)]
        before = _cycles(server)
        together(clients, size.seconds)
        after = _cycles(server)
        for client in clients:
            client.close()
    used = [after[lease] - before[lease] for lease in leases]
    return [(share / sum(SHARES), u / max(1, sum(used))) for share, u in zip(SHARES, used)]


def _cycles(server: Server) -> dict[str, int]:
    return {lease["id"]: lease["cycles"] for lease in server.get("/makalu/status")["leases"]}


def flood(size: Size) -> dict[str, float]:
    """p99 of a calm lease alone and beside one that floods, p99 of its time in the queue then, and
    of the flood's executions, which are the longest; in milliseconds."""
    with served(batches=(1, 8)) as server:
        calm = Client(server, "grpc", digits(), server.attach(share=1))
        lease = server.attach(share=1)
        flooding = [Client(server, "grpc", digits(8), lease) for _ in range(6)]
        count = max(5, round(10 * size.seconds))
        alone = _calmly(calm, count)
        flooded: list[Times] = []
        thread = threading.Thread(
            target=lambda: flooded.extend(together(flooding, size.seconds * 1.5 + 1)))
        thread.start()
        time.sleep(0.5)
        beside = _calmly(calm, count)
        thread.join()
        for client in [calm, *flooding]:
            client.close()
    longest = np.concatenate([f.device for f in flooded])
    return {name: percentile(values, 99) for name, values in (
        ("alone", alone.whole), ("beside", beside.whole), ("queued", beside.queued),
        ("longest", longest))}


def _calmly(client: Client, count: int) -> Times:
    """Requests with pauses."""
    found = []
    for _ in range(count):
        found.append(client.ask())
        time.sleep(0.05)
    return times(found)


def open_load(size: Size) -> dict[str, float]:
    """p50 and p99 of Poisson arrivals over HTTP, in milliseconds, and the load that was reached:
    their rate times the device's time for a request, which other work on the computer's cores makes
    longer. A first run finds the time under load; the second is what counts."""
    model = digits(BATCHES[-1])
    head = json.dumps({"parameters": {"binary_data_output": True}, "inputs": [{
        "name": model.input, "datatype": "FP32", "shape": model.value.shape,
        "parameters": {"binary_data_size": model.value.nbytes}}]}).encode()
    with served(batches=BATCHES[-1:]) as server:
        client = Client(server, "http", model)
        sequence(client, 5)
        service = float(np.mean(sequence(client, max(20, size.requests * 2)).device))
        client.close()
        for load, seconds in ((LOAD / 2, size.seconds / 2 + 1), (LOAD, size.seconds * 2)):
            count, ran = _executed(server)
            rate = load / service
            found = open_loop.run(f"http://{server.http}/v2/models/digits/infer", head,
                                  model.value.tobytes(), model.answer.tobytes(), rate, seconds)
            count_after, ran_after = _executed(server)
            service = (ran_after - ran) / (count_after - count)
    return {"service": service * 1e3, "load": service * rate, "requests": len(found),
            "p50": percentile(found, 50), "p99": percentile(found, 99)}


def _executed(server: Server) -> tuple[int, float]:
    """Requests answered, and the device's seconds for them."""
    stats = server.get("/v2/models/digits/stats")["model_stats"][0]["inference_stats"]
    return stats["success"]["count"], stats["compute_infer"]["ns"] / 1e9


def recovery(size: Size, device: str, config: str) -> list[float]:
    """Seconds from kill -9 of the device's process to the answer of the request that it had."""
    with served(device, config) as server:
        client = Client(server, "grpc", digits(config=config))
        found = []
        for _ in range(size.deaths):
            client.ask()
            pid = server.device()["cores"][0]["pid"]
            begin = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            client.ask()
            found.append(time.perf_counter() - begin)
        restarts = server.device()["cores"][0]["restarts"]
        client.close()
    assert restarts == size.deaths, "every death is a restart"
    return found
