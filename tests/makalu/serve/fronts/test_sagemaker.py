# SPDX-License-Identifier: Apache-2.0
"""SageMaker's contract with containers."""

import io
import json

import httpx
import numpy as np
import pytest

X = np.arange(6, dtype=np.float32).reshape(2, 3)

Y = [[1.0, 3.0, 5.0], [7.0, 9.0, 11.0]]

TARGET = {"x-amzn-sagemaker-target-model": "scale"}

NPY = "application/x-npy"


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def trouble(reply: httpx.Response, status: int, said: str) -> None:
    assert reply.status_code == status and reply.json()["code"] == status, reply.text
    assert said in reply.json()["message"]


def test_ping(http: httpx.Client) -> None:
    assert http.get("/ping").status_code == 200


def test_json_of_both_kinds(http: httpx.Client) -> None:
    reply = http.post("/invocations", json={"instances": X.tolist()}, headers=TARGET)
    assert reply.json() == {"predictions": Y}
    v2 = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 3], "data": X.tolist()}]}
    reply = http.post("/models/scale/invoke", json=v2)
    assert reply.json()["outputs"][0]["data"] == sum(Y, [])


@pytest.mark.parametrize("array", [X, np.asfortranarray(X), X.astype(np.int16),
                                   X.astype(np.float64)])
def test_numpy(http: httpx.Client, array: np.ndarray) -> None:
    reply = http.post("/invocations", content=npy(array), headers={**TARGET, "content-type": NPY})
    assert reply.headers["content-type"] == NPY
    assert np.load(io.BytesIO(reply.content)).tolist() == Y
    reply = http.post("/invocations", content=npy(array),
                      headers={**TARGET, "content-type": NPY, "accept": "application/json"})
    assert reply.json() == {"predictions": Y}


def test_binary_of_triton(http: httpx.Client) -> None:
    head = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 3],
                                   "parameters": {"binary_data_size": 24}}]}).encode()
    kind = f"application/vnd.sagemaker-triton.binary+json;json-header-size={len(head)}"
    reply = http.post("/invocations", content=head + X.tobytes(),
                      headers={**TARGET, "content-type": kind})
    assert reply.json()["outputs"][0]["data"] == sum(Y, [])


def test_models(http: httpx.Client, admin: httpx.Client) -> None:
    assert {"modelName": "scale", "modelUrl": "scale"} in http.get("/models").json()["models"]
    assert admin.delete("/models/turn-INT64").status_code == 200
    try:
        trouble(http.get("/models/turn-INT64"), 404, "is not loaded")
    finally:
        reply = admin.post("/models", json={"model_name": "turn-INT64", "url": "/opt/turn-INT64"})
        assert reply.status_code == 200
    assert http.get("/models/turn-INT64").json()["modelName"] == "turn-INT64"
    trouble(admin.post("/models", json={"model_name": "scale", "url": "scale"}), 409, "already")


@pytest.mark.parametrize(("body", "kind", "said"), [
    (b"1,2,3", "text/csv", "not supported"),
    (b"", NPY, "no .npy"),
    (npy(X)[:-1], NPY, "has 24 bytes, and 23 came"),
    (npy(X.astype(">f4")), NPY, "little-endian"),
    (npy(np.array([None])), NPY, "little-endian"),
    (b"{", "application/json", "no JSON"),
])
def test_malformed(http: httpx.Client, body: bytes, kind: str, said: str) -> None:
    trouble(http.post("/invocations", content=body, headers={**TARGET, "content-type": kind}), 400,
            said)


def test_which_model(http: httpx.Client) -> None:
    trouble(http.post("/invocations", json={"instances": X.tolist()}), 400, "name one")
    trouble(http.post("/models/none/invoke", json={}), 404, "is not loaded")
