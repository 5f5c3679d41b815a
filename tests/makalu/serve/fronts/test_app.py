# SPDX-License-Identifier: Apache-2.0
"""What HTTP does whatever the protocol: tokens, bounds of bodies, errors, leases, metrics."""

import gzip
import os
import re
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path

import httpx
import pytest

from makalu.serve.fronts import page
from makalu.serve.requests import Failure
from tests.makalu.serve.fronts.conftest import Served
from tests.makalu.serve.fronts.stand_in import ADMIN, BODY_BYTES, BODY_SECONDS, TOKEN

INFER = "/v2/models/scale/infer"

ONE = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}]}


def error(reply: httpx.Response) -> str:
    """The sentence of a v2 error."""
    assert list(reply.json()) == ["error"]
    return reply.json()["error"]


def exchange(served: Served, *parts: bytes, pause: float = 0.0) -> str:
    """What comes for bytes that are sent as they are, until the connection ends."""
    with socket.create_connection(("127.0.0.1", served.http), timeout=10) as s:
        for part in parts:
            s.sendall(part)
            time.sleep(pause)
        received = b""
        while more := s.recv(65536):
            received += more
        return received.decode()


def head(*lines: str) -> bytes:
    return "\r\n".join([f"POST {INFER} HTTP/1.1", "Host: h", f"Authorization: Bearer {TOKEN}",
                        *lines, "", ""]).encode()


@pytest.mark.parametrize(("token", "said"), [("", "wants a token"), ("x", "nobody has this")])
def test_tokens(served: Served, token: str, said: str) -> None:
    with served.client(token) as client:
        for reply in (client.post(INFER, json=ONE), client.get("/makalu/status"),
                      client.get("/metrics"), client.get("/v2/models/scale")):
            assert reply.status_code == 401 and said in error(reply)
            assert reply.headers["www-authenticate"] == "Bearer"
        for headers in ({}, {"content-length": "0"}):
            assert client.get("/v2/health/live", headers=headers).status_code == 200


def test_no_body_is_read_without_a_token(served: Served) -> None:
    """The reply comes though the body does not, and long before the body's time is over."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", served.http), timeout=10) as s:
        s.sendall(f"POST {INFER} HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\n".encode())
        assert s.recv(12) == b"HTTP/1.1 401"
    assert time.monotonic() - began < BODY_SECONDS


def test_content_length_too_large(served: Served) -> None:
    said = exchange(served, head(f"Content-Length: {BODY_BYTES + 1}"))
    assert said.startswith("HTTP/1.1 413") and "larger than" in said


def test_chunks_too_large(served: Served, http: httpx.Client) -> None:
    chunk = bytes(BODY_BYTES // 8)
    reply = http.post(INFER, content=(chunk for _ in range(9)))
    assert reply.status_code == 413 and "larger than" in error(reply)


def test_largest_is_taken(http: httpx.Client) -> None:
    reply = http.post(INFER, content=bytes(BODY_BYTES))
    assert reply.status_code == 400 and "no JSON" in error(reply)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_too_large(http: httpx.Client, coding: str) -> None:
    compress = gzip.compress if coding == "gzip" else zlib.compress
    reply = http.post(INFER, content=compress(bytes(100 * BODY_BYTES)),
                      headers={"content-encoding": coding})
    assert reply.status_code == 413


@pytest.mark.parametrize(("coding", "body", "said"), [
    ("gzip", b"no gzip", "not gzip"), ("gzip", gzip.compress(b"{}", mtime=0)[:-4], "ends within"),
    ("br", b"x", "coded as 'br'")])
def test_compressed_badly(http: httpx.Client, coding: str, body: bytes, said: str) -> None:
    reply = http.post(INFER, content=body, headers={"content-encoding": coding})
    assert reply.status_code == 400 and said in error(reply)


def test_body_that_does_not_arrive(served: Served) -> None:
    began = time.monotonic()
    said = exchange(served, head("Content-Length: 100"), b"{")
    assert said.startswith("HTTP/1.1 408") and "did not arrive" in said
    assert BODY_SECONDS <= time.monotonic() - began < BODY_SECONDS + 3


def test_body_that_drips(served: Served) -> None:
    began = time.monotonic()
    said = exchange(served, head("Content-Length: 100"), *[b" "] * 3, pause=BODY_SECONDS / 5)
    assert said.startswith("HTTP/1.1 408")
    assert time.monotonic() - began < BODY_SECONDS * 1.5    # a bound of each part ends at 1.6


def test_client_that_leaves_takes_its_request_along(served: Served, admin: httpx.Client) -> None:
    before = admin.get("/metrics").json()["cancelled"]
    with served.client() as client, pytest.raises(httpx.ReadTimeout):
        client.post("/v2/models/slow/infer", json=ONE, timeout=0.3)
    until = time.monotonic() + 5
    while admin.get("/metrics").json()["cancelled"] == before:
        assert time.monotonic() < until, "the request goes on"
        time.sleep(0.02)


def test_unexpected(http: httpx.Client) -> None:
    reply = http.post("/v2/models/broken/infer", json=ONE, headers={"x-request-id": "r-5"})
    assert reply.status_code == 500 and reply.headers["x-request-id"] == "r-5"
    assert "r-5" in error(reply) and "inner" not in reply.text and "Zero" not in reply.text


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.mark.parametrize(("headers", "id", "name"), [
    ({"x-request-id": "mine", "traceparent": PARENT}, "r1", "mine"),
    ({"traceparent": PARENT}, "r1", TRACE), ({}, "r1", "r1"),
    ({"x-request-id": "a b", "traceparent": "00-12"}, "r1", "r1"),
    ({"x-request-id": "a b"}, "two words", None), ({}, "", None)])
def test_request_id(http: httpx.Client, admin: httpx.Client, headers: dict[str, str], id: str,
                    name: str | None) -> None:
    """The reply's header and the service have the same."""
    reply = http.post(INFER, json={**ONE, "id": id}, headers=headers)
    said = reply.headers["x-request-id"]
    assert said == name or name is None and re.fullmatch("[0-9a-f]{32}", said)
    assert reply.json().get("id", "") == id or reply.status_code == 400
    http.post(INFER, json={"inputs": [
        {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1.0] * 3}], "id": id},
        headers=headers).raise_for_status()
    seen = admin.get("/metrics").json()["id"]
    assert seen == name or name is None and re.fullmatch("[0-9a-f]{32}", seen)


def test_retry_after(http: httpx.Client) -> None:
    reply = http.post("/v2/models/full/infer", json=ONE)
    assert reply.status_code == 429 and reply.headers["retry-after"] == "2"


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/nothing", 404), ("DELETE", "/v2", 405), ("GET", INFER, 405)])
def test_no_such_path(http: httpx.Client, method: str, path: str, status: int) -> None:
    reply = http.request(method, path)
    assert reply.status_code == status and path in error(reply)


def test_leases(served: Served, http: httpx.Client, admin: httpx.Client) -> None:
    made = http.post("/makalu/leases", json={"share": 2, "rate": 5.5})
    assert made.status_code == 201
    lease = made.json()
    assert lease["tenant"] == "vision" and lease["device"] == "card" and lease["rate"] == 5.5
    path = f"/makalu/leases/{lease['id']}"
    assert http.patch(path, json={"share": 3, "rate": None}).json() \
        == {**lease, "share": 3.0, "rate": None}
    assert [e["id"] for e in http.get("/makalu/leases").json()] == [lease["id"]]
    assert [e["id"] for e in http.get("/makalu/status").json()["leases"]] == [lease["id"]]
    other = admin.post("/makalu/leases", json={}).json()["id"]
    assert [e["id"] for e in admin.get("/makalu/leases").json()] == [lease["id"], other]
    reply = http.delete(f"/makalu/leases/{other}")
    assert reply.status_code == 404 and "there is no lease" in error(reply)
    for id in (lease["id"], other):
        assert admin.delete(f"/makalu/leases/{id}").status_code == 204
    assert admin.get("/makalu/leases").json() == []


@pytest.mark.parametrize(("terms", "status", "said"), [
    ({"share": 9}, 403, "shares"), ({"share": -1}, 400, "share"), ({"size": 1}, 400, "size"),
    ({"priority": None}, 400, "priority"), ({"share": "2"}, 400, "share"),
    ({"cores": 1.5}, 400, "cores"), ([], 400, "body"),
    ({"device": "none"}, 404, "no device"), ({"cores": 5}, 409, "cores")])
def test_leases_refused(http: httpx.Client, terms: object, status: int, said: str) -> None:
    reply = http.post("/makalu/leases", json=terms)
    assert reply.status_code == status and said in error(reply)
    assert http.get("/makalu/leases").json() == []


def test_nothing_that_the_description_allows_breaks_it(served: Served, admin: httpx.Client,
                                                           tmp_path: Path) -> None:
    """Schemathesis makes requests of /openapi.json; a 503 of a health check is an answer, too."""
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run",
         f"http://127.0.0.1:{served.http}/openapi.json", "-H", f"Authorization: Bearer {ADMIN}",
         "--exclude-path-regex", "health/ready|ping|/load|/unload|^/models|broken",
         "--phases", "fuzzing", "--max-examples", "4", "--seed", "1", "--no-color", "--checks",
         ("not_a_server_error,status_code_conformance,content_type_conformance,"
          "response_schema_conformance")],
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
        env={**os.environ, "NO_PROXY": "127.0.0.1"})
    for lease in admin.get("/makalu/leases").json():
        admin.delete(f"/makalu/leases/{lease['id']}")
    assert done.returncode == 0, done.stdout
    assert re.search(r"Tested: \d\d", done.stdout), done.stdout


OPEN = {"/v2", "/v2/health/live", "/v2/health/ready", "/ping"}
"""Paths of probes."""


def test_every_path_but_probes_wants_a_token(served: Served) -> None:
    with served.client("") as client:
        paths = client.get("/openapi.json").json()["paths"]
        for path, operations in paths.items():
            for method, described in operations.items():
                status = client.request(method, re.sub("[{}]", "", path)).status_code
                assert status == (200 if path in OPEN else 401), (method, path)
                assert {str(f.http) for f in Failure} <= described["responses"].keys()
    assert OPEN < paths.keys()


@pytest.mark.parametrize("path", ["/v2/health/ready", "/ping"])
def test_probes_while_a_model_is_unloaded(http: httpx.Client, admin: httpx.Client, path: str
                                          ) -> None:
    """The stand-in is ready if no model is unloaded."""
    admin.post("/v2/repository/models/turn-INT8/unload")
    try:
        reply = http.get(path)
    finally:
        admin.post("/v2/repository/models/turn-INT8/load")
    assert reply.status_code == 503 and "try again" in reply.text
    assert reply.headers["retry-after"] == "1"
    assert http.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/makalu"])
def test_the_page_has_no_numbers_and_allows_its_own_script_alone(served: Served, path: str) -> None:
    with served.client("") as client:
        reply = client.get(path)
    assert reply.status_code == 200 and reply.text == page.PAGE
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert "http" not in re.sub(r"https?://www\.w3\.org/2000/svg", "", reply.text)


def test_metrics_are_an_administrators(http: httpx.Client, admin: httpx.Client) -> None:
    assert http.get("/metrics").status_code == 403
    assert admin.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")


def test_no_server_is_imported_by_the_rest_of_makalu() -> None:
    code = ("import sys, makalu, makalu.cli.main as m\n"
            "sys.argv = ['makalu', '--help']\n"
            "try: m.main()\n"
            "except SystemExit as e: assert not e.code\n"
            "print({'fastapi', 'starlette', 'grpc', 'uvicorn', 'httpx'} & sys.modules.keys())")
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "Usage: makalu" in done.stdout and done.stdout.endswith("set()\n")
