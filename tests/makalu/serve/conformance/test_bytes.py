# SPDX-License-Identifier: Apache-2.0
"""Requests of HTTP as bytes, which the stock client does not make."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.makalu.serve.fronts.stand_in import TOKEN

LENGTH = "inference-header-content-length"

PATH = "/v2/models/floats/infer"

A, B = [7.0, -1, 0, 2], [2.0, 5, -3, 2]


@pytest.fixture
def client(addresses: list[str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{addresses[0]}", trust_env=False, timeout=20,
                      headers={"authorization": f"Bearer {TOKEN}"}) as made:
        yield made


def asked(**more: Any) -> dict[str, Any]:
    """A request, with others of the first input's fields."""
    a = {"name": "a", "datatype": "FP32", "shape": [1, 4], "data": A, **more}
    return {"inputs": [{k: v for k, v in a.items() if v is not None},
                       {"name": "b", "datatype": "FP32", "shape": [1, 4], "data": B}]}


@pytest.mark.parametrize("data", [A, [A], [[7, -1], [0, 2]]], ids=["flat", "nested", "other"])
def test_data(client: httpx.Client, data: list) -> None:
    reply = client.post(PATH, json=asked(data=data))
    if data == [[7, -1], [0, 2]]:       # a server may take it as flat, or refuse it
        assert reply.status_code in (200, 400)
        return
    assert reply.status_code == 200
    assert {o["name"]: o["data"] for o in reply.json()["outputs"]} == {
        "sum": [9, 4, -3, 4], "difference": [5, -6, 3, 0]}


@pytest.mark.parametrize("order", [1, -1])
def test_binary_is_in_the_order_of_the_inputs(client: httpx.Client, order: int) -> None:
    sent = {"a": np.float32(A).tobytes(), "b": np.float32(B).tobytes()}
    names = ["a", "b"][::order]
    text = json.dumps({"parameters": {"binary_data_output": True}, "inputs": [
        {"name": n, "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16}}
        for n in names]}).encode()
    reply = client.post(PATH, content=text + b"".join(sent[n] for n in names),
                        headers={LENGTH: str(len(text))})
    end = int(reply.headers[LENGTH])
    said, at = {}, end
    for output in json.loads(reply.content[:end])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        said[output["name"]] = np.frombuffer(reply.content[at:at + size], "<f4").tolist()
        at += size
    assert at == len(reply.content)
    assert said == {"sum": [9, 4, -3, 4], "difference": [5, -6, 3, 0]}


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"{}", b"\xff", json.dumps({"inputs": 5}).encode(),
    json.dumps(asked(shape=None)).encode(), json.dumps(asked(datatype=None)).encode(),
    json.dumps(asked(name=None)).encode(), json.dumps(asked(data=None)).encode(),
    json.dumps(asked(datatype="FLOAT")).encode(), json.dumps(asked(shape=[1, 5])).encode(),
    json.dumps(asked(shape=[-1, 4])).encode(), json.dumps(asked(shape=[1 << 62, 4])).encode(),
    json.dumps(asked(data=A[:3])).encode(), json.dumps(asked(data=["1", 2, 3, 4])).encode(),
    json.dumps(asked(data=[None, 2, 3, 4])).encode()])
def test_bodies_that_are_wrong(client: httpx.Client, wrong: set[int], body: bytes) -> None:
    reply = client.post(PATH, content=body)
    assert reply.status_code in wrong and reply.json()["error"]


@pytest.mark.parametrize("data", [[1.5, 2, 3, 4], [1 << 64, 2, 3, 4], [True, 2, 3, 4]],
                         ids=["fraction", "range", "boolean"])
def test_integers_that_are_none(client: httpx.Client, wrong: set[int], data: list
                                   ) -> None:
    body = asked(data=data, datatype="INT32")
    body["inputs"][1].update(datatype="INT32", data=[1, 2, 3, 4])
    reply = client.post("/v2/models/integers/infer", json=body)
    assert reply.status_code in wrong and reply.json()["error"]


@pytest.mark.parametrize("size, length, sent", [
    (16, 0, 15), (16, 0, 17), (12, 0, 12), (17, 0, 17), (-1, 0, 16), (16, 1000, 16), (16, -1, 16)])
def test_binary_that_is_wrong(client: httpx.Client, wrong: set[int], size: int, length: int,
                              sent: int) -> None:
    text = json.dumps(asked(data=None, parameters={"binary_data_size": size})).encode()
    reply = client.post(PATH, content=text + bytes(sent),
                        headers={LENGTH: str(len(text) + length)})
    assert reply.status_code in wrong and reply.json()["error"]
