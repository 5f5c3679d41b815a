# SPDX-License-Identifier: Apache-2.0
"""Inferences of the protocol v2 by stock clients: any server answers these in the same way."""

from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.makalu.serve.conformance.arithmetic import INPUTS, OUTPUTS, TYPES, WIDTH
from tests.makalu.serve.conformance.conftest import Stock

A, B = np.array([[7, -1, 0, 2]]), np.array([[2, 5, -3, 2]])

SUM, DIFFERENCE = [[9, 4, -3, 4]], [[5, -6, 3, 0]]


def tensor(stock: Stock, name: str, array: np.ndarray, **more: Any) -> Any:
    made = stock.module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    return made.set_data_from_numpy(array, **more)


def inputs(stock: Stock, model: str, a: np.ndarray = A, b: np.ndarray = B, **more: Any) -> list:
    dtype = TYPES[model]
    return [tensor(stock, name, array.astype(dtype), **more) for name, array in zip(INPUTS, (a, b))]


def infer(stock: Stock, model: str, sent: list, **more: Any) -> Any:
    return stock.client.infer(model, sent, headers=stock.headers(), **more)


@pytest.mark.parametrize("model", TYPES)
def test_infer(stock: Stock, model: str) -> None:
    reply = infer(stock, model, inputs(stock, model))
    for name, expected in zip(OUTPUTS, (SUM, DIFFERENCE)):
        array = reply.as_numpy(name)
        assert array.dtype == TYPES[model] and array.tolist() == expected


@pytest.mark.parametrize("elements", [2, 4])
def test_batches_and_the_order_of_inputs(stock: Stock, elements: int) -> None:
    a = np.arange(elements * WIDTH).reshape(elements, WIDTH)
    reply = infer(stock, "integers", inputs(stock, "integers", a, a * a)[::-1])
    assert reply.as_numpy("sum").tolist() == (a + a * a).tolist()
    assert reply.as_numpy("difference").tolist() == (a - a * a).tolist()


def test_one_output(stock: Stock) -> None:
    reply = infer(stock, "integers", inputs(stock, "integers"),
                  outputs=[stock.module.InferRequestedOutput("difference")])
    assert reply.as_numpy("difference").tolist() == DIFFERENCE
    assert reply.as_numpy("sum") is None


@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
@pytest.mark.parametrize("model", TYPES)
def test_json(http: Stock, model: str, binary_in: bool, binary_out: bool) -> None:
    reply = infer(http, model, inputs(http, model, binary_data=binary_in), outputs=[
        http.module.InferRequestedOutput(name, binary_data=binary_out) for name in OUTPUTS])
    assert reply.as_numpy("sum").tolist() == SUM
    assert ("data" in reply.get_output("sum")) == (not binary_out)
    assert reply.get_output("sum")["shape"] == [1, WIDTH]


def test_json_and_binary_in_one_request(http: Stock) -> None:
    dtype = TYPES["floats"]
    sent = [tensor(http, "a", A.astype(dtype), binary_data=False),
            tensor(http, "b", B.astype(dtype), binary_data=True)]
    assert infer(http, "floats", sent).as_numpy("sum").tolist() == SUM


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed(stock: Stock, coding: str) -> None:
    named = "request_compression_algorithm" if stock.module.__name__.endswith("http") \
        else "compression_algorithm"
    reply = infer(stock, "floats", inputs(stock, "floats"), **{named: coding})
    assert reply.as_numpy("sum").tolist() == SUM


def test_what_a_reply_is_of(stock: Stock) -> None:
    said = infer(stock, "floats", inputs(stock, "floats"), model_version="1",
                 request_id="r-1").get_response()
    if not isinstance(said, dict):
        said = {n: getattr(said, n) for n in ("id", "model_name", "model_version")}
    assert (said["id"], said["model_name"], said["model_version"]) == ("r-1", "floats", "1")


def test_nothing_that_is_no_number_is_lost(stock: Stock) -> None:
    a = np.array([[np.nan, np.inf, -np.inf, -0.0]], np.float32)
    reply = infer(stock, "floats", inputs(stock, "floats", a, np.zeros((1, 4)) * -1))
    np.testing.assert_array_equal(reply.as_numpy("sum"), a)


def _wrong(stock: Stock) -> dict[str, tuple[str, list]]:
    a, b = inputs(stock, "floats")
    short = tensor(stock, "a", np.zeros((1, WIDTH - 1), np.float32))
    cube = tensor(stock, "a", np.zeros((1, 1, WIDTH), np.float32))
    integer = tensor(stock, "a", A.astype(np.int32))
    unknown = tensor(stock, "c", A.astype(np.float32))
    return {"missing": ("floats", [b]), "none": ("floats", []), "unknown": ("floats", [unknown, b]),
            "more": ("floats", [a, b, unknown]), "short": ("floats", [short, b]),
            "rank": ("floats", [cube, b]), "type": ("floats", [integer, b])}


@pytest.mark.parametrize("what", ["missing", "none", "unknown", "more", "short", "rank", "type"])
def test_wrong_inputs(stock: Stock, what: str) -> None:
    with pytest.raises(InferenceServerException) as e:
        infer(stock, *_wrong(stock)[what])
    assert e.value.status() in ("400", "StatusCode.INVALID_ARGUMENT") and e.value.message()


def test_unknown_output(stock: Stock) -> None:
    with pytest.raises(InferenceServerException) as e:
        infer(stock, "floats", inputs(stock, "floats"),
              outputs=[stock.module.InferRequestedOutput("quotient")])
    assert e.value.status() in ("400", "StatusCode.INVALID_ARGUMENT") and e.value.message()


@pytest.mark.parametrize("model, version", [("none", ""), ("floats", "9")])
def test_unknown_model(stock: Stock, model: str, version: str) -> None:
    with pytest.raises(InferenceServerException) as e:
        infer(stock, model, inputs(stock, "floats"), model_version=version)
    assert e.value.status() in ("404", "StatusCode.NOT_FOUND") and e.value.message()
