# SPDX-License-Identifier: Apache-2.0
"""The Open Inference Protocol over REST: bodies as the protocol describes them, and its stock
client."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from makalu.serve.fronts.tensors import DTYPES, NAMES
from tests.makalu.serve.fronts.conftest import Served
from tests.makalu.serve.fronts.stand_in import ADMIN, TOKEN, WIDE

X = np.arange(6, dtype=np.float32).reshape(2, 3)

LENGTH = "Inference-Header-Content-Length"


@pytest.fixture
def client(served: Served) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{served.http}") as client:
        yield client


def bearer(token: str = TOKEN) -> dict[str, str]:
    """Fresh headers: the client adds its own to what it is given."""
    return {"Authorization": f"Bearer {token}"}


def tensor(name: str, array: np.ndarray, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": NAMES[array.dtype], "shape": list(array.shape),
            "data": array.tolist(), **more}


def given(name: str, array: np.ndarray, binary: bool = True) -> triton.InferInput:
    made = triton.InferInput(name, list(array.shape), NAMES[array.dtype])
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def refused(reply: httpx.Response, status: int, said: str) -> None:
    assert reply.status_code == status, reply.text
    assert list(reply.json()) == ["error"] and said in reply.json()["error"]


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_json(http: httpx.Client, version: str) -> None:
    reply = http.post(f"/v2/models/scale{version}/infer",
                      json={"id": "mine", "inputs": [tensor("x", X)]})
    assert reply.status_code == 200
    assert reply.headers["makalu-program"] == "ab" * 32 and reply.headers["makalu-version"] == "1"
    assert reply.json() == {
        "id": "mine", "model_name": "scale", "model_version": "1",
        "parameters": {"program": "ab" * 32, "cycles": 123, "queue_us": 250000,
                       "device_us": 500000},
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 3],
                     "data": [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]}]}


def test_binary_bytes(http: httpx.Client) -> None:
    a, b = np.array([[1, 2], [3, -4]], np.int8), np.array([[0.5, 1], [2, 4]], "<f4")
    head = json.dumps({
        "inputs": [{"name": "b", "datatype": "FP32", "shape": [2, 2],
                    "parameters": {"binary_data_size": 16}},
                   {"name": "a", "datatype": "INT8", "shape": [2, 2],
                    "parameters": {"binary_data_size": 4}}],
        "outputs": [{"name": "odd"}, {"name": "sum", "parameters": {"binary_data": False}}],
        "parameters": {"binary_data_output": True}}).encode()
    reply = http.post("/v2/models/pair/infer", content=head + b.tobytes() + a.tobytes(),
                      headers={LENGTH: str(len(head))})
    assert reply.status_code == 200 and reply.headers["content-type"] == "application/octet-stream"
    end = int(reply.headers[LENGTH])
    odd, total = json.loads(reply.content[:end])["outputs"]
    assert odd == {"name": "odd", "datatype": "BOOL", "shape": [2, 2],
                   "parameters": {"binary_data_size": 4}}
    assert reply.content[end:] == b"\1\0\1\0"
    assert total == {"name": "sum", "datatype": "FP32", "shape": [2, 2],
                     "data": [1.5, 3.0, 5.0, 0.0]}


def test_large_json(http: httpx.Client) -> None:
    x = np.arange(WIDE, dtype=np.float32)[None]
    reply = http.post("/v2/models/wide/infer", json={"inputs": [tensor("x", x)]})
    assert np.array_equal(reply.json()["outputs"][0]["data"], -x[0])


@pytest.mark.parametrize(("datatype", "binary"), [
    (datatype, binary) for datatype in DTYPES for binary in (True, False)
    if datatype != "BF16" and (datatype, binary) != ("FP16", False)])    # the client's own limits
def test_triton_client_of_each_type(client: Any, datatype: str, binary: bool) -> None:
    x = np.array([[0, 1], [1, 1], [1, 0]], DTYPES[datatype])
    wanted = triton.InferRequestedOutput("y", binary_data=binary)
    reply = client.infer(f"turn-{datatype}", [given("x", x, binary)], outputs=[wanted],
                         headers=bearer())
    got = reply.as_numpy("y")
    assert got.dtype == x.dtype and np.array_equal(got, [[1, 0], [1, 1], [0, 1]])
    assert reply.get_response()["parameters"]["program"] == "ab" * 32


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_triton_client_compresses(client: Any, coding: str) -> None:
    reply = client.infer("scale", [given("x", X)], request_compression_algorithm=coding,
                         response_compression_algorithm=coding, headers=bearer())
    assert np.array_equal(reply.as_numpy("y"), 2 * X + 1)


def test_triton_client_parameters(client: Any, admin: httpx.Client) -> None:
    client.infer("scale", [given("x", X)], request_id="r7", timeout=250_000,
                 parameters={"lease": "vision-3"}, headers=bearer())
    seen = admin.get("/metrics").json()
    assert (seen["id"], seen["timeout"], seen["lease"]) == ("r7", 0.25, "vision-3")


def test_triton_client_metadata(client: Any) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert "binary_tensor_data" in client.get_server_metadata(headers=bearer())["extensions"]
    assert client.is_model_ready("scale", headers=bearer())
    assert not client.is_model_ready("late", headers=bearer())
    said = client.get_model_metadata("pair", "1", headers=bearer())
    costs = said.pop("parameters")["costs"]
    assert [(c["config"], c["batch"], c["cycles"], c["microseconds"]) for c in costs] == [
        ("tiny", 1, 100, 1.0), ("tiny", 4, 250, 2.5)]
    assert said == {
        "name": "pair", "versions": ["1"], "platform": "makalu",
        "inputs": [{"name": "a", "datatype": "INT8", "shape": [-1, 2]},
                   {"name": "b", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "sum", "datatype": "FP32", "shape": [-1, 2]},
                    {"name": "odd", "datatype": "BOOL", "shape": [-1, 2]}]}
    assert client.get_model_metadata("wide", headers=bearer())["inputs"][0]["shape"] == [1, WIDE]
    config = client.get_model_config("scale", headers=bearer())
    assert config["max_batch_size"] == 4
    assert config["parameters"]["cycles_tiny_4"] == {"string_value": "250"}
    assert config["parameters"]["held_bytes_tiny_1"] == {"string_value": "4096"}
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}]
    assert client.get_model_config("wide", headers=bearer())["max_batch_size"] == 0


def test_triton_client_statistics(client: Any) -> None:
    def stats() -> Any:
        return client.get_inference_statistics("turn-INT8", headers=bearer())["model_stats"][0]

    before = stats()
    client.infer("turn-INT8", [given("x", np.zeros((5, 2), np.int8))], headers=bearer())
    after = stats()
    assert after["inference_count"] == before["inference_count"] + 5
    assert after["execution_count"] == before["execution_count"] + 1
    assert after["inference_stats"]["queue"]["ns"] == 250_000_000
    assert after["inference_stats"]["compute_infer"]["ns"] == 500_000_000
    everything = client.get_inference_statistics(headers=bearer())["model_stats"]
    assert {"scale", "wide"} <= {m["name"] for m in everything}


def test_triton_client_repository(client: Any) -> None:
    assert {"name": "odd", "version": "2", "state": "UNAVAILABLE", "reason": "no such operator"} \
        in client.get_model_repository_index(headers=bearer())
    client.unload_model("turn-UINT64", headers=bearer(ADMIN))
    try:
        assert not client.is_server_ready()
        assert not client.is_model_ready("turn-UINT64", headers=bearer())
    finally:
        client.load_model("turn-UINT64", headers=bearer(ADMIN))
    assert client.is_model_ready("turn-UINT64", headers=bearer())
    with pytest.raises(InferenceServerException, match="only an administrator") as e:
        client.load_model("scale", headers=bearer())
    assert e.value.status() == "403"
    with pytest.raises(InferenceServerException, match="change the folder"):
        client.load_model("scale", config="{}", headers=bearer(ADMIN))


def test_only_what_is_ready(http: httpx.Client) -> None:
    entries = http.post("/v2/repository/index", json={"ready": True}).json()
    assert {e["state"] for e in entries} == {"READY"}


def test_shared_memory(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="shared memory") as e:
        client.register_system_shared_memory("m", "/m", 8, headers=bearer())
    assert e.value.status() == "501"


@pytest.mark.parametrize(("body", "said"), [
    (b"", "no JSON"),
    (b"{", "no JSON"),
    (b"[" * 10000, "no JSON"),
    (b"\xff\xfe", "no JSON"),
    (b"[]", "body"),
    (b"{}", "inputs"),
    (b'{"inputs": 5}', "inputs"),
    (b'{"inputs": [{"name": 5, "datatype": "FP32", "shape": [1]}]}', "inputs.0.name"),
    (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1.5]}]}', "inputs.0.shape"),
    (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": ["1"]}]}', "inputs.0.shape"),
    (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3]}]}', "no array of numbers"),
    (b'{"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}', "BYTES"),
    (b'{"inputs": []}', "missing input"),
])
def test_malformed(http: httpx.Client, body: bytes, said: str) -> None:
    refused(http.post("/v2/models/scale/infer", content=body), 400, said)


@pytest.mark.parametrize(("more", "said"), [
    ({"parameters": {"timeout": "1"}}, "'timeout'"),
    ({"parameters": {"timeout": -1}}, "'timeout'"),
    ({"parameters": {"lease": 3}}, "'lease'"),
    ({"parameters": {"sequence_id": 3}}, "no state"),
    ({"outputs": [{"name": "z"}]}, "no output"),
    ({"outputs": [{"name": "y", "parameters": {"classification": 3}}]}, "classification"),
    ({"inputs": [tensor("x", X), tensor("x", X)]}, "given twice"),
    ({"inputs": [tensor("x", X.astype(np.float64))]}, "float64"),
    ({"inputs": [tensor("x", X, parameters={"binary_data_size": 24})]}, "binary_data_size"),
])
def test_wrong_parameters(http: httpx.Client, more: dict[str, Any], said: str) -> None:
    body = {"inputs": [tensor("x", X)], **more}
    refused(http.post("/v2/models/scale/infer", json=body), 400, said)


@pytest.mark.parametrize(("length", "size", "sent", "said"), [
    ("x", 24, 24, LENGTH), ("-1", 24, 24, LENGTH), ("99999", 24, 24, LENGTH), ("", 24, 24, LENGTH),
    (None, 24, 23, "binary_data_size"), (None, -1, 24, "binary_data_size"),
    (None, "24", 24, "binary_data_size"), (None, True, 24, "binary_data_size"),
    (None, 20, 24, "has 24 bytes, and 20 came"), (None, 24, 25, "1 bytes follow"),
])
def test_malformed_binary(http: httpx.Client, length: str | None, size: Any, sent: int, said: str
                          ) -> None:
    head = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 3],
                                   "parameters": {"binary_data_size": size}}]}).encode()
    headers = {LENGTH: str(len(head)) if length is None else length}
    refused(http.post("/v2/models/scale/infer", content=head + bytes(sent), headers=headers), 400,
            said)


def test_no_such_model(http: httpx.Client) -> None:
    body = {"inputs": [tensor("x", X)]}
    for path in ("none/infer", "scale/versions/2/infer", "hidden/infer"):
        refused(http.post(f"/v2/models/{path}", json=body), 404, "there is no model")
    reply = http.get("/v2/models/late/ready")
    refused(reply, 503, "is loading")
    assert reply.headers["retry-after"] == "3"
