# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Serving's REST, with bodies as its documentation has them."""

from typing import Any

import httpx
import numpy as np
import pytest

from tests.makalu.serve.fronts.stand_in import WIDE

PREDICT = "/v1/models/scale:predict"


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/scale/versions/1:predict"])
def test_rows(http: httpx.Client, path: str) -> None:
    reply = http.post(path, json={"signature_name": "serving_default",
                                  "instances": [[0, 1, 2], [3, 4, 5]]})
    assert reply.json() == {"predictions": [[1.0, 3.0, 5.0], [7.0, 9.0, 11.0]]}
    assert reply.headers["makalu-program"] == "ab" * 32


def test_rows_of_several_tensors(http: httpx.Client) -> None:
    rows = [{"a": [1, 2], "b": [0.5, 1]}, {"a": [3, -4], "b": [2, 4]}]
    said = http.post("/v1/models/pair:predict", json={"instances": rows}).json()
    assert said == {"predictions": [
        {"sum": [1.5, 3.0], "odd": [True, False]}, {"sum": [5.0, 0.0], "odd": [True, False]}]}


def test_rows_that_name_the_only_input(http: httpx.Client) -> None:
    reply = http.post(PREDICT, json={"instances": [{"x": [0, 1, 2]}]})
    assert reply.json() == {"predictions": [[1.0, 3.0, 5.0]]}


def test_columns(http: httpx.Client) -> None:
    assert http.post(PREDICT, json={"inputs": [[0, 1, 2]]}).json() == {"outputs": [[1.0, 3.0, 5.0]]}
    reply = http.post("/v1/models/pair:predict",
                      json={"inputs": {"a": [[1, 2]], "b": [[0.5, 1]]}})
    assert reply.json() == {"outputs": {"sum": [[1.5, 3.0]], "odd": [[True, False]]}}


def test_large(http: httpx.Client) -> None:
    reply = http.post("/v1/models/wide:predict", json={"instances": [list(range(WIDE))]})
    assert np.array_equal(reply.json()["predictions"], [-np.arange(WIDE)])


def test_status_and_metadata(http: httpx.Client) -> None:
    def status(model: str) -> Any:
        return http.get(f"/v1/models/{model}").json()["model_version_status"]

    assert status("scale") == [{"version": "1", "state": "AVAILABLE",
                                "status": {"error_code": "OK", "error_message": ""}}]
    assert status("late")[0]["state"] == "LOADING"
    assert status("odd")[0]["status"]["error_message"] == "no such operator"
    said = http.get("/v1/models/pair/metadata").json()
    assert said["model_spec"] == {"name": "pair", "signature_name": "", "version": "1"}
    signature = said["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["a"] == {
        "name": "a", "dtype": "DT_INT8", "tensor_shape": {
            "dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}], "unknown_rank": False}}
    assert signature["outputs"]["sum"]["dtype"] == "DT_FLOAT"


@pytest.mark.parametrize(("model", "body", "said"), [
    ("scale", [], "either 'instances'"),
    ("scale", {}, "either 'instances'"),
    ("scale", {"instances": [], "inputs": []}, "either 'instances'"),
    ("scale", {"instances": 5}, "has to be a list"),
    ("scale", {"instances": [[1, 2]]}, "got float32 [1, 2]"),
    ("scale", {"instances": [[1, 2, 3], [4, 5]]}, "no array of numbers"),
    ("scale", {"instances": [["a", "b", "c"]]}, "no array of numbers"),
    ("scale", {"instances": [{"b64": "AAAA"}]}, "base64"),
    ("scale", {"instances": [{"x": {"b64": "AAAA"}}]}, "base64"),
    ("scale", {"instances": [{"x": [1, 2, 3]}, [1, 2, 3]]}, "name different inputs"),
    ("scale", {"instances": [[1, 2, 3]], "signature_name": "other"}, "no signature 'other'"),
    ("pair", {"inputs": [[1, 2]]}, "several inputs"),
    ("pair", {"inputs": {"a": [[1, 2]]}}, "takes a, b"),
    ("pair", {"inputs": {"a": [[1, 200]], "b": [[1, 2]]}}, "goes from -128 to 127"),
])
def test_malformed(http: httpx.Client, model: str, body: Any, said: str) -> None:
    reply = http.post(f"/v1/models/{model}:predict", json=body)
    assert reply.status_code == 400 and said in reply.json()["error"], reply.text


def test_no_such_model(http: httpx.Client) -> None:
    for reply in (http.get("/v1/models/none"), http.get("/v1/models/scale/versions/2"),
                  http.get("/v1/models/hidden"),
                  http.post("/v1/models/none:predict", json={"instances": [1]})):
        assert reply.status_code == 404 and "there is no model" in reply.json()["error"]
