# SPDX-License-Identifier: Apache-2.0
"""Clients that hold connections, on real sockets: each is disconnected within its bound, and the
others are answered meanwhile."""

import contextlib
import queue
import socket
import time
from collections.abc import Callable, Iterator

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as client
from tritonclient.grpc import service_pb2_grpc

from tests.makalu.serve.fronts.conftest import Served
from tests.makalu.serve.fronts.stand_in import CALLS, STREAM_SECONDS, TOKEN, WIDE, Hasty

HEAD = f"POST /v2/models/scale/infer HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n"

ONE = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,3],"data":[1,2,3]}]}'

WHOLE = f"{HEAD}Content-Length: {len(ONE)}\r\n\r\n".encode() + ONE


@pytest.fixture(autouse=True)
def still_serving(http: httpx.Client) -> Iterator[None]:
    """Whatever a test did, the next client is answered, and with its own numbers."""
    yield
    values = [float(time.monotonic() % 100), 2.0, 3.0]
    reply = http.post("/v2/models/scale/infer", json={"inputs": [
        {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": values}]})
    assert np.allclose(reply.json()["outputs"][0]["data"], np.float32([values]) * 2 + 1)


@pytest.fixture
def connect(served: Served) -> Iterator[Callable[[], socket.socket]]:
    """Opens connections, and closes all in the end."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(
            socket.create_connection(("127.0.0.1", served.http), timeout=10))


def ended(s: socket.socket) -> bytes:
    """What comes until the server ends the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while more := s.recv(65536):
            received += more
    return received


def drip(s: socket.socket, part: bytes, pause: float, seconds: float) -> float:
    """Send a part again and again; the seconds until the server ends the connection."""
    began = time.monotonic()
    s.settimeout(pause)
    while time.monotonic() - began < seconds:
        with contextlib.suppress(TimeoutError):
            try:
                s.sendall(part)
                if not s.recv(65536):
                    break
            except (ConnectionResetError, BrokenPipeError):
                break
    return time.monotonic() - began


@pytest.mark.parametrize("begin", [b"", b"P", b"POST /v2 HTTP/1.1\r\nHost: h\r\nX: "])
def test_head_that_does_not_come(connect: Callable[[], socket.socket], begin: bytes) -> None:
    s = connect()
    began = time.monotonic()
    s.sendall(begin)
    assert not ended(s)
    assert Hasty.head_seconds * 0.9 <= time.monotonic() - began < Hasty.head_seconds + 3


@pytest.mark.parametrize("begin, part", [
    (b"", b"\r\n"), (b"POST /", b"x"), (HEAD.encode(), b"X-A: b\r\n"), (WHOLE, b"\r\n")])
def test_head_that_drips(connect: Callable[[], socket.socket], begin: bytes, part: bytes) -> None:
    """Also behind a request that was answered."""
    s = connect()
    s.sendall(begin)
    assert drip(s, part, 0.1, 10) < Hasty.head_seconds + 3


@pytest.mark.parametrize("part", [b"x" * 1000, b"X-A: " + b"b" * 1000 + b"\r\n"])
def test_head_without_end(connect: Callable[[], socket.socket], part: bytes) -> None:
    s = connect()
    s.sendall(HEAD.encode() + b"X: ")
    assert drip(s, part, 0.01, 10) < Hasty.head_seconds * 0.9


def test_replies_that_are_not_taken(served: Served) -> None:
    """More of them than the kernel buffers."""
    body = np.zeros(WIDE, np.float32).tobytes()
    said = (f'{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1,{WIDE}],"parameters":'
            f'{{"binary_data_size":{len(body)}}}}}],"parameters":{{"binary_data_output":true}}}}')
    head = (f"POST /v2/models/wide/infer HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n"
            f"Inference-Header-Content-Length: {len(said)}\r\n"
            f"Content-Length: {len(said) + len(body)}\r\n\r\n{said}")
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(10)
        s.connect(("127.0.0.1", served.http))
        began = time.monotonic()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(50):
                s.sendall(head.encode() + body)
        assert Hasty.reply_seconds * 0.9 <= time.monotonic() - began < Hasty.reply_seconds + 5


def test_too_many_connections(connect: Callable[[], socket.socket]) -> None:
    """One that is over the bound is closed at once, and those within it are answered."""
    held = [connect() for _ in range(Hasty.most + 5)]
    began = time.monotonic()
    over = [s for s in held if _closed(s)]
    assert len(over) >= 5 and time.monotonic() - began < Hasty.head_seconds
    first = next(s for s in held if s not in over)
    first.settimeout(10)
    first.sendall(WHOLE)
    assert first.recv(12) == b"HTTP/1.1 200"
    for s in held:
        s.close()
    time.sleep(0.1)


def _closed(s: socket.socket) -> bool:
    s.settimeout(0.005)
    try:
        return not s.recv(1)
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("body", [
    b"5\r\n{\"inp", b"ffffffffffffffff\r\n{", b"-1\r\n{}\r\n0\r\n\r\n", b"zz\r\n{}\r\n0\r\n\r\n",
    b"2\r\n{}", b"2\r\n{}XX0\r\n\r\n"])
def test_chunks_that_are_none(connect: Callable[[], socket.socket], body: bytes) -> None:
    """Truncated, or with sizes that are none: refused, or the connection ends; never answered."""
    s = connect()
    s.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode() + body)
    s.shutdown(socket.SHUT_WR)
    assert b" 200 " not in ended(s)


@pytest.mark.parametrize("lines", [
    "Content-Length: 2\r\nTransfer-Encoding: chunked", "Content-Length: 2\r\nContent-Length: 3",
    "Content-Length: -2", "Content-Length: 2x", "Content-Length: 99999999999999999999999",
    "Transfer-Encoding: gzip, chunked, x"])
def test_lengths_that_are_none(connect: Callable[[], socket.socket], lines: str) -> None:
    s = connect()
    s.sendall(f"{HEAD}{lines}\r\n\r\n".encode() + b"{}")
    said = ended(s)
    assert said.startswith(b"HTTP/1.1 4") and b" 200 " not in said


@pytest.mark.parametrize("noise", [
    bytes(64), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\xff\xfe\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00"])
def test_what_is_no_http(connect: Callable[[], socket.socket], noise: bytes) -> None:
    s = connect()
    s.sendall(noise)
    assert b" 200 " not in ended(s)


def test_streams_that_stay_silent(served: Served) -> None:
    """They end, and the calls that they have held are free again."""
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        token = (("authorization", f"Bearer {TOKEN}"),)
        nothing: queue.SimpleQueue[None] = queue.SimpleQueue()
        began = time.monotonic()
        streams = [stub.ModelStreamInfer(iter(nothing.get, None), metadata=token)
                   for _ in range(CALLS)]
        ends = [pytest.raises(grpc.RpcError, list, stream).value.code() for stream in streams]
        assert set(ends) == {grpc.StatusCode.DEADLINE_EXCEEDED}
        assert STREAM_SECONDS * 0.9 <= time.monotonic() - began < STREAM_SECONDS + 5
        for _ in streams:
            nothing.put(None)
    with client.InferenceServerClient(f"127.0.0.1:{served.grpc}") as other:
        assert other.is_server_live()


def test_no_stream_without_a_token(served: Served) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as e:
            list(stub.ModelStreamInfer(iter([])))
        assert e.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("noise", [
    b"", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100])
def test_half_open_grpc(served: Served, noise: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.grpc), timeout=10) as s:
        s.sendall(noise)
        with client.InferenceServerClient(f"127.0.0.1:{served.grpc}") as other:
            assert other.is_server_live()
