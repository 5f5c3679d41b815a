# SPDX-License-Identifier: Apache-2.0
"""Health, metadata, configuration, statistics and repository of the protocol v2."""

import os
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from tritonclient.utils import InferenceServerException

from tests.makalu.serve.conformance.arithmetic import INPUTS, OUTPUTS, TYPES, WIDTH
from tests.makalu.serve.conformance.conftest import ADDRESSES, Stock
from tests.makalu.serve.conformance.test_infer import infer, inputs

DATATYPES = {"floats": "FP32", "integers": "INT32"}


def plain(said: Any) -> Any:
    """gRPC's message as HTTP's JSON, whose large integers are no text."""
    return said if isinstance(said, dict | list) else MessageToDict(
        said, preserving_proto_field_name=True)


def test_health(stock: Stock) -> None:
    assert stock.client.is_server_live() and stock.client.is_server_ready()


def test_models_that_are_ready(stock: Stock) -> None:
    def ready(model: str, version: str = "") -> bool:
        return stock.client.is_model_ready(model, version, headers=stock.headers())

    assert ready("floats") and ready("floats", "1")
    assert not ready("none") and not ready("floats", "9")


def test_server(stock: Stock) -> None:
    said = plain(stock.client.get_server_metadata(headers=stock.headers()))
    assert said["name"] and said["version"]
    assert {"model_repository", "statistics", "model_configuration"} <= {
        e.split("(")[0] for e in said["extensions"]}


@pytest.mark.parametrize("model", TYPES)
def test_metadata(stock: Stock, model: str) -> None:
    said = plain(stock.client.get_model_metadata(model, headers=stock.headers()))
    assert said["name"] == model and said["versions"] == ["1"] and said["platform"]
    for names, key in ((INPUTS, "inputs"), (OUTPUTS, "outputs")):
        assert [(t["name"], t["datatype"], [int(d) for d in t["shape"]]) for t in said[key]] \
            == [(name, DATATYPES[model], [-1, WIDTH]) for name in names]


@pytest.mark.parametrize("model", TYPES)
def test_config(stock: Stock, model: str) -> None:
    said = plain(stock.client.get_model_config(model, headers=stock.headers()))
    said = said.get("config", said)
    assert said["name"] == model and said["max_batch_size"] == 4 and said["backend"]
    for names, key in ((INPUTS, "input"), (OUTPUTS, "output")):
        assert [(t["name"], t["data_type"], [int(d) for d in t["dims"]]) for t in said[key]] \
            == [(name, f"TYPE_{DATATYPES[model]}", [WIDTH]) for name in names]


def test_statistics(stock: Stock) -> None:
    def counted() -> tuple[int, int, int]:
        said = plain(stock.client.get_inference_statistics("floats", headers=stock.headers()))
        (one,) = said["model_stats"]
        assert (one["name"], one["version"]) == ("floats", "1")
        success = one.get("inference_stats", {}).get("success", {})
        return (int(one.get("inference_count", 0)), int(one.get("execution_count", 0)),
                int(success.get("count", 0)))

    infer(stock, "floats", inputs(stock, "floats"))
    before = counted()
    infer(stock, "floats", inputs(stock, "floats"))
    assert counted() == tuple(n + 1 for n in before)


def test_repository(stock: Stock) -> None:
    said = plain(stock.client.get_model_repository_index(headers=stock.headers()))
    found = said.get("models", []) if isinstance(said, dict) else said
    if not found and ADDRESSES in os.environ:
        pytest.skip("PyTriton gives its server models without a repository")
    states = {m["name"]: m["state"] for m in found}
    assert states["floats"] == states["integers"] == "READY"


@pytest.mark.parametrize("asked", ["get_model_metadata", "get_model_config",
                                   "get_inference_statistics"])
def test_unknown_model(stock: Stock, asked: str) -> None:
    statuses = {"404", "StatusCode.NOT_FOUND"}
    if asked == "get_inference_statistics" and ADDRESSES in os.environ:
        statuses = {"400", "StatusCode.INVALID_ARGUMENT"}   # Triton 2.51 here alone
    with pytest.raises(InferenceServerException) as e:
        getattr(stock.client, asked)("none", headers=stock.headers())
    assert e.value.status() in statuses and e.value.message()
