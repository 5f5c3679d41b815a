# SPDX-License-Identifier: Apache-2.0
"""The Open Inference Protocol over gRPC: its stock client, and messages that no client makes."""

import time
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from makalu.serve.fronts.tensors import DTYPES, NAMES
from makalu.serve.fronts.v2_grpc import CONTENTS
from tests.makalu.serve.fronts.conftest import Served
from tests.makalu.serve.fronts.stand_in import ADMIN, BODY_BYTES, TOKEN, WIDE

X = np.arange(6, dtype=np.float32).reshape(2, 3)

VISION = {"authorization": f"Bearer {TOKEN}"}

ROOT = {"authorization": f"Bearer {ADMIN}"}


@pytest.fixture
def client(served: Served) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{served.grpc}") as client:
        yield client


@pytest.fixture
def stub(served: Served) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc}") as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def given(name: str, array: np.ndarray) -> triton.InferInput:
    made = triton.InferInput(name, list(array.shape), NAMES[array.dtype])
    made.set_data_from_numpy(array)
    return made


def slow() -> list[triton.InferInput]:
    return [given("x", np.zeros((1, 1), np.float32))]


@pytest.mark.parametrize("datatype", sorted(set(DTYPES) - {"BF16"}))
def test_each_type(client: Any, datatype: str) -> None:
    x = np.array([[0, 1], [1, 1], [1, 0]], DTYPES[datatype])
    reply = client.infer(f"turn-{datatype}", [given("x", x)], headers=VISION, request_id="r1")
    got = reply.as_numpy("y")
    assert got.dtype == x.dtype and np.array_equal(got, [[1, 0], [1, 1], [0, 1]])
    said = reply.get_response()
    assert (said.id, said.model_name, said.model_version) == ("r1", f"turn-{datatype}", "1")
    assert said.parameters["program"].string_param == "ab" * 32


@pytest.mark.parametrize("datatype", CONTENTS)
def test_typed_contents(stub: Any, datatype: str) -> None:
    message = service_pb2.ModelInferRequest(model_name=f"turn-{datatype}")
    x = message.inputs.add(name="x", datatype=datatype, shape=[1, 2])
    getattr(x.contents, CONTENTS[datatype]).extend([1, 0])
    reply = stub.ModelInfer(message, metadata=list(VISION.items()))
    assert reply.raw_output_contents[0] == np.array([0, 1], DTYPES[datatype]).tobytes()


def test_several_tensors(client: Any) -> None:
    a, b = np.array([[1, 2]], np.int8), np.array([[0.5, 1]], np.float32)
    wanted = [triton.InferRequestedOutput("odd"), triton.InferRequestedOutput("sum")]
    reply = client.infer("pair", [given("b", b), given("a", a)], outputs=wanted, headers=VISION)
    assert reply.as_numpy("odd").tolist() == [[True, False]]
    assert reply.as_numpy("sum").tolist() == [[1.5, 3.0]]


def test_large(client: Any) -> None:
    x = np.arange(WIDE, dtype=np.float32)[None]
    assert np.array_equal(client.infer("wide", [given("x", x)], headers=VISION).as_numpy("y"), -x)


def test_parameters(client: Any, admin: httpx.Client) -> None:
    client.infer("scale", [given("x", X)], request_id="r8", timeout=250_000, headers=VISION,
                 parameters={"lease": "vision-4"})
    seen = admin.get("/metrics").json()
    assert (seen["id"], seen["timeout"], seen["lease"]) == ("r8", 0.25, "vision-4")


@pytest.mark.parametrize(("metadata", "id", "name"), [
    ({"x-request-id": "mine"}, "r9", "mine"), ({}, "r9", "r9"), ({}, "", None)])
def test_request_id(stub: Any, admin: httpx.Client, metadata: dict[str, str], id: str,
                    name: str | None) -> None:
    """The trailing metadata and the service have the same, and so has what is refused."""
    message = service_pb2.ModelInferRequest(model_name="turn-INT8", id=id)
    message.inputs.add(name="x", datatype="INT8", shape=[1, 2]).contents.int_contents.extend([1, 0])
    sent = [*VISION.items(), *metadata.items()]
    reply, call = stub.ModelInfer.with_call(message, metadata=sent)
    said = dict(call.trailing_metadata())["x-request-id"]
    assert said == admin.get("/metrics").json()["id"] and (name is None or said == name)
    assert reply.id == id
    message.model_name = "nothing"
    with pytest.raises(grpc.RpcError) as e:
        stub.ModelInfer(message, metadata=sent)
    said = dict(e.value.trailing_metadata())["x-request-id"]
    assert said == name or name is None and len(said) == 32


def test_deadline_is_the_timeout(client: Any, admin: httpx.Client) -> None:
    """Which gRPC rounds up to three digits; and the clocks of both sides differ a little."""
    client.infer("scale", [given("x", X)], client_timeout=30, timeout=300_000_000, headers=VISION)
    assert 15 < admin.get("/metrics").json()["timeout"] < 40


def test_deadline_passes(client: Any) -> None:
    began = time.monotonic()
    with pytest.raises(InferenceServerException) as e:
        client.infer("slow", slow(), client_timeout=0.3, headers=VISION)
    assert e.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    assert time.monotonic() - began < 5


def test_cancelled(client: Any, admin: httpx.Client) -> None:
    before = admin.get("/metrics").json()["cancelled"]
    call = client.async_infer("slow", slow(), lambda result, error: None, headers=VISION)
    time.sleep(0.2)
    call.cancel()
    until = time.monotonic() + 5
    while admin.get("/metrics").json()["cancelled"] == before:
        assert time.monotonic() < until, "the request goes on"
        time.sleep(0.02)


def test_metadata(client: Any) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.get_server_metadata(headers=VISION).name == "makalu"
    assert client.is_model_ready("scale", headers=VISION)
    assert not client.is_model_ready("late", headers=VISION)
    said = client.get_model_metadata("pair", headers=VISION)
    assert [(t.name, t.datatype, list(t.shape)) for t in (*said.inputs, *said.outputs)] == [
        ("a", "INT8", [-1, 2]), ("b", "FP32", [-1, 2]), ("sum", "FP32", [-1, 2]),
        ("odd", "BOOL", [-1, 2])]
    config = client.get_model_config("turn-BF16", headers=VISION).config
    assert config.max_batch_size == 4 and list(config.input[0].dims) == [2]
    assert config.input[0].data_type == 14      # TYPE_BF16 of Triton's model_config.proto


def test_statistics(client: Any) -> None:
    def stats() -> Any:
        return client.get_inference_statistics("turn-INT16", headers=VISION).model_stats[0]

    before = stats().inference_count
    client.infer("turn-INT16", [given("x", np.zeros((5, 2), np.int16))], headers=VISION)
    assert stats().inference_count == before + 5
    assert stats().inference_stats.compute_infer.ns == 500_000_000


def test_repository(client: Any) -> None:
    index = client.get_model_repository_index(headers=VISION).models
    assert ("odd", "UNAVAILABLE", "no such operator") in {(m.name, m.state, m.reason)
                                                         for m in index}
    client.unload_model("turn-UINT64", headers=ROOT)
    try:
        assert not client.is_model_ready("turn-UINT64", headers=VISION)
    finally:
        client.load_model("turn-UINT64", headers=ROOT)
    assert client.is_model_ready("turn-UINT64", headers=VISION)


@pytest.mark.parametrize(("model", "headers", "status", "said"), [
    ("scale", {}, "UNAUTHENTICATED", "wants a token"),
    ("scale", {"authorization": "Bearer wrong"}, "UNAUTHENTICATED", "nobody has this token"),
    ("none", VISION, "NOT_FOUND", "there is no model"),
    ("late", VISION, "UNAVAILABLE", "is loading"),
    ("pair", VISION, "INVALID_ARGUMENT", "input"),
])
def test_refused(client: Any, model: str, headers: dict[str, str], status: str, said: str) -> None:
    with pytest.raises(InferenceServerException, match=said) as e:
        client.infer(model, [given("x", X)], headers=headers)
    assert e.value.status() == f"StatusCode.{status}"


def call(stub: Any, message: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as e:
        stub.ModelInfer(message, metadata=list(VISION.items()))
    return e.value


def message(datatype: str = "FP32", shape: tuple[int, ...] = (1, 1), raw: bytes | None = bytes(4),
            model: str = "scale") -> Any:
    made = service_pb2.ModelInferRequest(model_name=model)
    made.inputs.add(name="x", datatype=datatype, shape=shape)
    if raw is not None:
        made.raw_input_contents.append(raw)
    return made


@pytest.mark.parametrize(("sent", "said"), [
    (message(raw=bytes(3)), "has 4 bytes, and 3 came"),
    (message(raw=None), "has 1 elements, and 0 came"),
    (message("BYTES"), "BYTES"),
    (message("BYTES", raw=None), "BYTES"),
    (message("FP16", raw=None), "raw_input_contents"),
    (message("FLOAT"), "no datatype"),
    (message(shape=(-1, 1)), "negative"),
    (service_pb2.ModelInferRequest(model_name="scale", raw_input_contents=[b""]), "0 inputs and 1"),
    (service_pb2.ModelInferRequest(model_name="scale"), "missing input"),
])
def test_malformed(stub: Any, sent: Any, said: str) -> None:
    e = call(stub, sent)
    assert e.code() is grpc.StatusCode.INVALID_ARGUMENT and said in e.details()


def test_both_contents(stub: Any) -> None:
    sent = message()
    sent.inputs[0].contents.fp32_contents.append(1)
    assert "send one of them" in call(stub, sent).details()


def test_worth_sending_again(stub: Any) -> None:
    e = call(stub, message(model="full"))
    assert e.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(e.trailing_metadata())["grpc-retry-pushback-ms"] == "1500"


def test_unexpected(stub: Any) -> None:
    e = call(stub, message(model="broken"))
    assert e.code() is grpc.StatusCode.INTERNAL
    assert "the server failed at request" in e.details() and "inner" not in e.details()


def test_too_large(stub: Any) -> None:
    e = call(stub, message(raw=bytes(BODY_BYTES + 1)))
    assert e.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("method", [
    "SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus", "CudaSharedMemoryRegister", "CudaSharedMemoryUnregister",
    "TraceSetting", "LogSettings"])
def test_unimplemented(stub: Any, method: str) -> None:
    kind = {"TraceSetting": "TraceSettingRequest", "LogSettings": "LogSettingsRequest"}
    sent = getattr(service_pb2, kind.get(method, f"{method}Request"))()
    with pytest.raises(grpc.RpcError) as e:
        getattr(stub, method)(sent, metadata=list(VISION.items()))
    assert e.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_stream(stub: Any) -> None:
    sent = [message(shape=(1, 3), raw=bytes(12)), message(raw=bytes(3)), message(model="broken"),
            message(shape=(1, 3), raw=bytes(12))]
    replies = list(stub.ModelStreamInfer(iter(sent), metadata=list(VISION.items())))
    ones = np.ones(3, np.float32).tobytes()
    assert [r.infer_response.raw_output_contents[:] for r in replies] == [[ones], [], [], [ones]]
    assert "3 came" in replies[1].error_message and "inner" not in replies[2].error_message
