# SPDX-License-Identifier: Apache-2.0
"""Stock clients (``tritonclient``) that time their requests and compare every answer."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http

from examples.serving.servers import Server


@dataclass(frozen=True)
class Model:
    """What is asked, and the only right answer."""

    name: str
    input: str
    value: np.ndarray
    output: str
    answer: np.ndarray


@dataclass(frozen=True)
class Times:
    """Of requests, in seconds: until the answer was there, in the queue, and in the device's
    process, as the server says it."""

    whole: np.ndarray
    queued: np.ndarray
    device: np.ndarray

    @property
    def own(self) -> np.ndarray:
        """Without the device."""
        return self.whole - self.device


class WrongAnswer(Exception):
    """An answer that is not the model's: no measurement is worth anything then."""


class Client:
    """A client of one protocol with one connection.

    Parameters
    ----------
    server : Server
    protocol : str
        ``http`` (with binary tensors) or ``grpc``.
    model : Model
    lease : str
        Which pays; "" is the first one.
    """

    def __init__(self, server: Server, protocol: str, model: Model, lease: str = ""):
        module = {"http": tritonclient.http, "grpc": tritonclient.grpc}[protocol]
        self._client = module.InferenceServerClient(getattr(server, protocol))
        self._model, self._protocol = model, protocol
        self._input = module.InferInput(model.input, list(model.value.shape), "FP32")
        self._input.set_data_from_numpy(model.value)
        self._output = module.InferRequestedOutput(model.output)
        self._more: dict[str, Any] = {"parameters": {"lease": lease}} if lease else {}

    def ask(self) -> tuple[float, float, float]:
        """One request: seconds in all, queued, and in the device's process."""
        begin = time.perf_counter()
        reply = self._client.infer(self._model.name, [self._input], outputs=[self._output],
                                   **self._more)
        found = reply.as_numpy(self._model.output)
        whole = time.perf_counter() - begin
        if not np.array_equal(found, self._model.answer):
            raise WrongAnswer(self._model.name)
        said = self._said(reply.get_response())
        return whole, said.get("queue_us", 0) / 1e6, said.get("device_us", 0) / 1e6

    def _said(self, response: Any) -> Mapping[str, Any]:
        if self._protocol == "http":
            return response.get("parameters", {})
        return {name: value.int64_param for name, value in response.parameters.items()}

    def close(self) -> None:
        """End the connection."""
        self._client.close()


def times(asked: list[tuple[float, float, float]]) -> Times:
    """Of some requests."""
    return Times(*np.array(asked).reshape(-1, 3).T)


def sequence(client: Client, count: int) -> Times:
    """Requests one after the other."""
    return times([client.ask() for _ in range(count)])


def together(clients: list[Client], seconds: float) -> list[Times]:
    """Clients that ask without a pause for some seconds, each in a thread; those of HTTP may not be
    among them, for their connections belong to the thread that made them."""
    asked: list[list[tuple[float, float, float]]] = [[] for _ in clients]
    failed: list[Exception] = []
    end = time.monotonic() + seconds

    def run(k: int) -> None:
        try:
            while time.monotonic() < end:
                asked[k].append(clients[k].ask())
        except Exception as e:
            failed.append(e)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(clients))]
    run_all(threads)
    if failed:
        raise failed[0]
    return [times(a) for a in asked]


def run_all(threads: list[threading.Thread]) -> None:
    """Start threads and wait for all."""
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def percentile(values: np.ndarray, q: float) -> float:
    """In milliseconds."""
    return float(np.percentile(values, q)) * 1e3
