# SPDX-License-Identifier: Apache-2.0
"""Servers in processes of their own, and the models that they serve."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import makalu

WIDE = (1, 3, 224, 224)
"""FP32: 602,112 bytes."""

START = 120.0
"""Seconds that a server may need."""

ROOT = Path(__file__).resolve().parents[2]

DIGITS = ROOT / "examples" / "digits_int8.onnx"


@dataclass(frozen=True)
class Server:
    """Addresses of HTTP and gRPC, and the process."""

    http: str
    grpc: str
    pid: int

    def get(self, path: str) -> Any:
        """JSON of a path."""
        with urllib.request.urlopen(f"http://{self.http}{path}", timeout=10) as reply:
            return json.load(reply)

    def attach(self, **terms: Any) -> str:
        """The id of a new lease."""
        request = urllib.request.Request(
            f"http://{self.http}/makalu/leases", json.dumps(terms).encode(),
            {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as reply:
            return json.load(reply)["id"]

    def device(self) -> dict[str, Any]:
        """The only device's state."""
        return self.get("/makalu/status")["devices"][0]


def wide_input() -> np.ndarray:
    """600 KB of FP32."""
    return np.random.default_rng(0).standard_normal(WIDE, np.float32)


def wide() -> onnx.ModelProto:
    """600 KB in and out, and little to compute: a Relu, which the host runs, and beside it on the
    machine a convolution of the channels' means."""
    nodes = [helper.make_node("Relu", ["x"], ["y"]),
             helper.make_node("ReduceMean", ["x", "axes"], ["means"]),
             helper.make_node("QuantizeLinear", ["means", "s", "z"], ["q"]),
             helper.make_node("DequantizeLinear", ["q", "s", "z"], ["f"]),
             helper.make_node("DequantizeLinear", ["w", "s", "z"], ["weights"]),
             helper.make_node("Conv", ["f", "weights"], ["sums"]),
             helper.make_node("QuantizeLinear", ["sums", "s", "z"], ["p"]),
             helper.make_node("DequantizeLinear", ["p", "s", "z"], ["mixed"])]
    constants = [numpy_helper.from_array(value, name) for name, value in (
        ("s", np.float32(1 / 64)), ("z", np.int8(0)), ("axes", np.int64([2, 3])),
        ("w", (64 * np.eye(WIDE[1])).astype(np.int8).reshape(WIDE[1], WIDE[1], 1, 1)))]
    x, y, mixed = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", WIDE[1], *rest])
                   for name, rest in (("x", WIDE[2:]), ("y", WIDE[2:]), ("mixed", (1, 1))))
    graph = helper.make_graph(nodes, "wide", [x], [y, mixed], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def repository(folder: Path, config: str, batches: tuple[int, ...]) -> Path:
    """A folder of models: ``digits`` for some batches, and for the larger machines ``wide``."""
    place = folder / "digits" / "1"
    place.mkdir(parents=True)
    shutil.copy(DIGITS, place / "model.onnx")
    (folder / "digits" / "makalu.json").write_text(json.dumps({"batches": batches}))
    if config != "tiny":
        place = folder / "wide" / "1"
        place.mkdir(parents=True)
        makalu.compile(wide(), config, batch=1, host=("all",)).save(place / "1.mkl")
    return folder


@contextlib.contextmanager
def makalu_server(folder: Path, device: str, config: str) -> Iterator[Server]:
    """``makalu serve`` of a folder."""
    with open(folder / "log.txt", "w+") as log, _process(
            [sys.executable, "-m", "makalu", "serve", str(folder), "--device", device, "--config",
             config, "--port", "0", "--grpc-port", "0", "--poll", "0"], stderr=log) as process:
        ready = _until(lambda: next(
            (e for e in map(json.loads, Path(log.name).read_text().splitlines())
             if e["event"] == "ready"), None), process)
        yield Server(f"127.0.0.1:{ready['http']}", f"127.0.0.1:{ready['grpc']}", process.pid)


@contextlib.contextmanager
def triton_server(python: str) -> Iterator[Server]:
    """Triton by PyTriton, with a Relu of numpy; ``python`` has nvidia-pytriton."""
    http, grpc = _free_port(), _free_port()
    script = Path(__file__).with_name("triton_server.py")
    with _process([python, str(script), str(http), str(grpc)], stdout=subprocess.DEVNULL,
                  stderr=subprocess.DEVNULL) as process:
        server = Server(f"127.0.0.1:{http}", f"127.0.0.1:{grpc}", process.pid)

        def ready() -> bool:
            with contextlib.suppress(OSError):
                return urllib.request.urlopen(
                    f"http://{server.http}/v2/models/wide/ready", timeout=2).status == 200
            return False

        _until(ready, process)
        yield server


@contextlib.contextmanager
def bare_server() -> Iterator[Server]:
    """Replies that were made beforehand: what clients and loopback cost alone."""
    with _process([sys.executable, "-m", "examples.serving.bare_server"], text=True,
                  stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        http, grpc = process.stdout.readline().split()
        yield Server(f"127.0.0.1:{http}", f"127.0.0.1:{grpc}", process.pid)


@contextlib.contextmanager
def _process(command: list[str], **options: Any) -> Iterator[subprocess.Popen]:
    """A process of this checkout, which ends with the block."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, cwd=ROOT, **options) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _until(found: Any, process: subprocess.Popen) -> Any:
    end = time.monotonic() + START
    while not (value := found()):
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{process.args!r} does not start")
        time.sleep(0.1)
    return value


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
