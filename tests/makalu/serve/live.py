# SPDX-License-Identifier: Apache-2.0
"""``makalu serve`` in a process of its own, as its clients see it."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

import makalu
from tests.makalu.serve.bench import network


@dataclass
class Live:
    """A server that runs, and the lines of its log so far."""

    process: subprocess.Popen[str]
    lines: list[dict[str, Any]] = field(default_factory=list)
    http: int = 0
    grpc: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    def client(self, token: str = "") -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20, trust_env=False,
                            headers={"authorization": f"Bearer {token}"} if token else {})

    def said(self, event: str) -> list[dict[str, Any]]:
        """The lines of an event."""
        return [line for line in self.lines if line["event"] == event]


def models(folder: Path) -> Path:
    """``double`` and ``triple``, each for batches of 1 and 4 on ``tiny``."""
    for name, scale in (("double", 2), ("triple", 3)):
        (folder / name / "1").mkdir(parents=True)
        for batch in (1, 4):
            makalu.compile(network(scale), "tiny", batch=batch).save(
                folder / name / "1" / f"{batch}.mkl")
    return folder


def infer(client: httpx.Client, model: str = "double", rows: int = 1, headers: Any = None,
          **more: Any) -> httpx.Response:
    """Ones through a model."""
    x = {"name": "x", "datatype": "INT8", "shape": [rows, 16], "data": [1] * 16 * rows}
    return client.post(f"/v2/models/{model}/infer", json={"inputs": [x], **more}, headers=headers)


def until(so: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What is true at last."""
    end = time.monotonic() + seconds
    while not (value := so()):
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.02)
    return value


@contextlib.contextmanager
def serving(folder: Path, *options: object) -> Iterator[Live]:
    """A server of a folder's models on free ports, which is ready."""
    command = [sys.executable, "-m", "makalu", "serve", str(folder), "--config", "tiny", "--port",
               "0", "--grpc-port", "0", *map(str, options)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        live = Live(process)

        def read() -> None:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("{"):
                    live.lines.append(json.loads(line))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            until(lambda: live.said("ready") or process.poll() is not None)
            (ready,) = live.said("ready")
            live.http, live.grpc = ready["http"], ready["grpc"]
            yield live
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            reader.join()
