# SPDX-License-Identifier: Apache-2.0
"""Arrivals that do not wait for answers (Poisson), by locust, which runs this file; ``run`` starts
it. A request's time counts from when it was to be sent, so that a slow server cannot slow them."""

import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SETTINGS = "MAKALU_OPEN_LOOP"
"""Variable with rate, url, length of the body's JSON, and files, as JSON."""

LAST = 30.0
"""Seconds that requests may take when no more are sent."""


def run(url: str, head: bytes, body: bytes, answer: bytes, rate: float, seconds: float
        ) -> np.ndarray:
    """Seconds of each request; an error if one is not answered, or with something else.

    Parameters
    ----------
    url : str
        ``http://host:port/path``.
    head, body : bytes
        JSON and binary part of a request.
    answer : bytes
        What the reply ends with.
    rate : float
        Requests a second.
    seconds : float
    """
    with tempfile.TemporaryDirectory() as folder:
        sent, right, result = (Path(folder) / name for name in ("sent", "right", "times.json"))
        sent.write_bytes(head + body)
        right.write_bytes(answer)
        settings = {"rate": rate, "url": url, "head": len(head), "body": str(sent),
                    "answer": str(right), "result": str(result)}
        done = subprocess.run(
            [sys.executable, "-m", "locust", "-f", __file__, "--headless", "--users", "1",
             "--run-time", f"{math.ceil(seconds)}s", "--stop-timeout", "10", "--host", url],
            env={**os.environ, SETTINGS: json.dumps(settings)}, capture_output=True, text=True)
        if done.returncode or not result.exists():
            raise RuntimeError(f"locust failed: {done.stderr[-2000:]}")
        found = json.loads(result.read_text())
    if found["lost"]:
        raise RuntimeError(f"{found['lost']} requests were not answered")
    return np.array(found["taken"])


if SETTINGS in os.environ:
    import gevent.pool
    from locust import FastHttpUser, events, task

    settings = json.loads(os.environ[SETTINGS])
    body, answer = (Path(settings[name]).read_bytes() for name in ("body", "answer"))
    under_way = gevent.pool.Group()
    taken: list[float] = []

    class Arrivals(FastHttpUser):
        """One user, whose requests overlap."""

        concurrency = 200

        @task
        def arrive(self) -> None:
            """Send the next request when it is due, and do not wait for it."""
            due = getattr(self, "due", time.monotonic()) + random.expovariate(settings["rate"])
            self.due = due
            gevent.sleep(max(0.0, due - time.monotonic()))
            under_way.spawn(self.send, due)

        def send(self, due: float) -> None:
            """One request."""
            with self.client.post(
                    settings["url"], data=body, name="infer", catch_response=True, headers={
                        "content-type": "application/octet-stream",
                        "inference-header-content-length": str(settings["head"])}) as reply:
                if reply.status_code == 200 and reply.content.endswith(answer):
                    taken.append(time.monotonic() - due)
                else:
                    reply.failure(f"status {reply.status_code}, or another answer")

    @events.quitting.add_listener
    def finish(environment: object, **_: object) -> None:
        """Leave the result, when all are answered."""
        under_way.join(LAST)
        Path(settings["result"]).write_text(json.dumps({"taken": taken, "lost": len(under_way)}))
