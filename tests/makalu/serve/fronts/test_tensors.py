# SPDX-License-Identifier: Apache-2.0
"""Tensors of the Open Inference Protocol against the struct module and Python's numbers."""

import json
import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from makalu.serve.fronts import tensors
from makalu.serve.fronts.text import read, write
from makalu.serve.requests import Failure, ServeError

CODES = {"BOOL": "?", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B",
         "UINT16": "H", "UINT32": "I", "UINT64": "Q", "FP16": "e", "FP32": "f", "FP64": "d"}
"""What the struct module calls the datatypes that it knows."""


def values_of(datatype: str) -> list[Any]:
    """Six numbers with the extremes of a type."""
    if datatype == "BOOL":
        return [True, False, True, True, False, False]
    if datatype.startswith(("FP", "BF")):
        return [0.0, 1.5, -2.25, 0.125, -0.0, 96.0]
    bits = int(datatype.lstrip("UINT"))
    if datatype[0] == "U":
        return [0, 2 ** bits - 1, 1, 2, 3, 4]
    return [-2 ** (bits - 1), 2 ** (bits - 1) - 1, 1, 2, 3, 4]


@pytest.mark.parametrize("datatype", CODES)
def test_raw_is_little_endian_row_major(datatype: str) -> None:
    values = values_of(datatype)
    raw = struct.pack(f"<6{CODES[datatype]}", *values)
    array = tensors.from_raw("x", datatype, [2, 3], raw)
    assert array.shape == (2, 3) and array.reshape(-1).tolist() == values
    assert bytes(tensors.to_raw(array)) == raw
    assert bytes(tensors.to_raw(np.asfortranarray(array))) == raw
    assert tensors.datatype_of(array.dtype) == datatype


def test_bf16_is_the_upper_half_of_fp32() -> None:
    values = [0.0, 1.5, -2.25, 96.0]
    raw = b"".join(struct.pack("<f", v)[2:] for v in values)
    array = tensors.from_raw("x", "BF16", [4], raw)
    assert array.dtype == ml_dtypes.bfloat16 and array.astype(float).tolist() == values
    assert tensors.from_json("x", "BF16", [4], values).tolist() == array.tolist()
    assert json.loads(write({"data": array})) == {"data": values}


def test_raw_is_a_view() -> None:
    body = bytes(24)
    assert np.shares_memory(tensors.from_raw("x", "FP32", [2, 3], memoryview(body)),
                            np.frombuffer(body, np.uint8))


@pytest.mark.parametrize("datatype", [*CODES, "BF16"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("condensed", [False, True])
def test_json_there_and_back(datatype: str, nested: bool, condensed: bool) -> None:
    values = values_of(datatype)
    data = [values[:3], values[3:]] if nested else values
    sent = read(json.dumps({"data": data}).encode())["data"] if condensed else data
    array = tensors.from_json("x", datatype, [2, 3], sent)
    assert array.dtype == tensors.DTYPES[datatype]
    assert json.loads(write({"data": array}))["data"] == [values[:3], values[3:]]


def test_json_floats_are_rounded_once_and_may_be_no_numbers() -> None:
    array = tensors.from_json("x", "FP32", [3], [0.1, float("nan"), float("inf")])
    assert array[0] == np.float32(0.1) and np.isnan(array[1]) and np.isinf(array[2])
    assert tensors.from_json("x", "FP32", [2], [1, 2.5]).tolist() == [1.0, 2.5]


def test_no_elements_and_no_dimensions() -> None:
    assert tensors.from_raw("x", "FP32", [0, 3], b"").shape == (0, 3)
    assert tensors.from_json("x", "FP32", [0, 3], []).shape == (0, 3)
    assert tensors.from_json("x", "INT8", [], [5]).shape == ()


@pytest.mark.parametrize(("datatype", "shape", "data", "said"), [
    ("BYTES", [1], ["a"], "BYTES"),
    ("FLOAT", [1], [1.0], "there is no datatype 'FLOAT'"),
    ("FP32", [2, 3], [1.0] * 5, "has 6 elements, and 5 came"),
    ("FP32", [2, 3], [[1.0] * 2] * 3, "nested as [3, 2]"),
    ("FP32", [2], [[1.0], [1.0, 2.0]], "no array of numbers"),
    ("FP32", [1], None, "no array of numbers"),
    ("FP32", [1], 1.0, "no array of numbers"),
    ("FP32", [1], {"a": 1}, "no array of numbers"),
    ("FP32", [1], ["1"], "no array of numbers"),
    ("FP32", [1], [None], "no array of numbers"),
    ("FP32", [-1], [1.0], "negative dimension"),
    ("FP32", [1] * 33, [1.0], "33 dimensions"),
    ("FP32", [0, 2 ** 62, 2 ** 62], [], "too large"),
    ("FP32", [1], [1e39], "beyond the largest FP32"),
    ("FP32", [1], [10 ** 400], "beyond FP32"),
    ("FP16", [1], [65520.0], "beyond the largest FP16"),
    ("FP32", [1], [True], "is boolean"),
    ("BOOL", [1], [1], "is numbers"),
    ("INT8", [1], [128], "goes from -128 to 127"),
    ("UINT8", [1], [-1], "goes from 0 to 255"),
    ("INT64", [1], [2 ** 63], "goes from"),
    ("UINT64", [1], [2 ** 64], "beyond UINT64"),
    ("INT8", [1], [1.5], "no integers"),
    ("INT8", [1], [1.0], "no integers"),
    ("INT8", [1], [float("nan")], "no integers"),
    ("INT8", [1], [float("inf")], "no integers"),
    ("INT8", [2], [True, 2], "no array of numbers"),
    ("FP32", [2, 2], [[1.5, 2.0], [3.0, False]], "no array of numbers"),
    ("UINT64", [2], [2 ** 63, True], "no array of numbers"),
])
@pytest.mark.parametrize("condensed", [False, True])
def test_malformed_json(datatype: str, shape: list[int], data: Any, said: str, condensed: bool
                        ) -> None:
    sent = tensors.condensed(data) if condensed else data
    with pytest.raises(ServeError) as e:
        tensors.from_json("picture", datatype, shape, sent)
    assert e.value.failure is Failure.BAD
    assert "tensor 'picture'" in str(e.value) and said in str(e.value)


@pytest.mark.parametrize(("datatype", "shape", "raw", "said"), [
    ("BYTES", [1], b"\1\0\0\0a", "BYTES"),
    ("FP32", [2], bytes(7), "has 8 bytes, and 7 came"),
    ("FP32", [2], bytes(9), "has 8 bytes, and 9 came"),
    ("BOOL", [2], b"\1\2", "neither 0 nor 1"),
    ("INT8", [-2], b"\1\2", "negative dimension"),
])
def test_malformed_raw(datatype: str, shape: list[int], raw: bytes, said: str) -> None:
    with pytest.raises(ServeError) as e:
        tensors.from_raw("picture", datatype, shape, raw)
    assert e.value.failure is Failure.BAD
    assert "tensor 'picture'" in str(e.value) and said in str(e.value)
