# SPDX-License-Identifier: Apache-2.0
"""Arrays and the tensors of the Open Inference Protocol v2.

A tensor is a datatype's name, a shape, and its elements: row-major little-endian bytes, or numbers
in JSON, flat or nested as the shape is. Whatever does not fit is refused and never converted: a
fraction is no integer, a boolean no number, and nothing wraps around or becomes infinite.
"""

import math
import sys
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from makalu.serve.requests import Failure, ServeError

assert sys.byteorder == "little", "raw tensors are views of the body"

DTYPES = {
    "BOOL": np.dtype(np.bool_),
    **{f"{kind}{bits}": np.dtype(f"{kind}{bits}".lower())
       for kind in ("UINT", "INT") for bits in (8, 16, 32, 64)},
    "FP16": np.dtype(np.float16), "BF16": np.dtype(ml_dtypes.bfloat16),
    "FP32": np.dtype(np.float32), "FP64": np.dtype(np.float64),
}
"""numpy's types by the protocol's names."""

NAMES = {dtype: name for name, dtype in DTYPES.items()}
"""The protocol's names by numpy's types."""

RANK = 32
"""Dimensions of a tensor, at most."""

EXACT = 2.0 ** 63
"""Integers from here on make numpy choose floats, which round them."""


def bad(text: str) -> ServeError:
    """A request that is wrong."""
    return ServeError(Failure.BAD, text)


def dtype_of(name: str, datatype: str) -> np.dtype:
    """numpy's type for the datatype of a tensor."""
    if datatype == "BYTES":
        raise bad(f"tensor {name!r}: models here take numbers and no BYTES; send its elements as "
                  "one of " + ", ".join(DTYPES))
    if datatype not in DTYPES:
        raise bad(f"tensor {name!r}: there is no datatype {datatype!r}; it is one of "
                  + ", ".join(DTYPES))
    return DTYPES[datatype]


def datatype_of(dtype: np.dtype) -> str:
    """The protocol's name of a numpy type."""
    return NAMES[np.dtype(dtype)]


def from_raw(name: str, datatype: str, shape: Sequence[int], raw: memoryview | bytes) -> np.ndarray:
    """A tensor of its bytes, as a view of them."""
    dtype, dims = dtype_of(name, datatype), _dims(name, shape)
    size = math.prod(dims) * dtype.itemsize
    if len(raw) != size:
        raise bad(f"tensor {name!r}: {datatype} {list(dims)} has {size} bytes, and {len(raw)} came;"
                  " send all elements, row by row, or correct its shape")
    if dtype == np.bool_ and (np.frombuffer(raw, np.uint8) > 1).any():
        raise bad(f"tensor {name!r}: a byte of BOOL is neither 0 nor 1; send 0 for false, 1 for "
                  "true")
    return _shaped(name, np.frombuffer(raw, dtype), dims)


def from_json(name: str, datatype: str, shape: Sequence[int], data: Any) -> np.ndarray:
    """A tensor of the numbers of a JSON array, flat or nested (or an array already)."""
    dtype, dims = dtype_of(name, datatype), _dims(name, shape)
    values = cast(name, data, dtype)
    if values.ndim > 1 and values.shape != dims:
        raise bad(f"tensor {name!r}: its data is nested as {list(values.shape)}, its shape is "
                  f"{list(dims)}; make them agree, or send the data flat")
    if values.size != math.prod(dims):
        raise bad(f"tensor {name!r}: shape {list(dims)} has {math.prod(dims)} elements, and "
                  f"{values.size} came; send all of them, or correct its shape")
    return _shaped(name, values, dims)


def cast(name: str, data: Any, dtype: np.dtype) -> np.ndarray:
    """Numbers as an array of a type that holds them; floats may be rounded."""
    values = _numbers(name, data, dtype)
    if not values.size or values.dtype == dtype:
        return values.astype(dtype, copy=False)
    datatype, kind = datatype_of(dtype), values.dtype.kind
    if (dtype == np.bool_) != (kind == "b"):
        raise bad(f"tensor {name!r}: its data is {'boolean' if kind == 'b' else 'numbers'}, its "
                  f"datatype is {datatype}; send true and false for BOOL alone")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if kind not in "iu":
            raise bad(f"tensor {name!r}: its data has numbers that are no integers, and {datatype} "
                      "holds integers; round them, or send floats if the model takes them")
        if int(values.min()) < limits.min or int(values.max()) > limits.max:
            raise bad(f"tensor {name!r}: {datatype} goes from {limits.min} to {limits.max}, its "
                      f"data from {values.min()} to {values.max()}; keep to the range")
        return values.astype(dtype)
    with np.errstate(over="ignore"):
        rounded = values.astype(dtype)
    if (~np.isfinite(rounded) & np.isfinite(values)).any():
        raise bad(f"tensor {name!r}: its data has numbers beyond the largest {datatype}; keep to "
                  f"{float(ml_dtypes.finfo(dtype).max):g}")
    return rounded


def to_json(array: np.ndarray) -> list[Any]:
    """The numbers of an array, nested as its shape is."""
    return array.astype(np.float32).tolist() if array.dtype == ml_dtypes.bfloat16 \
        else array.tolist()


def to_raw(array: np.ndarray) -> memoryview:
    """The bytes of an array; a view of them where they lie in order."""
    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))  # type: ignore[arg-type]


def condensed(value: Any) -> Any:
    """A JSON value whose lists of numbers are arrays, but shapes, and where that loses nothing."""
    if isinstance(value, dict):
        return {key: inner if key == "shape" else condensed(inner) for key, inner in value.items()}
    if not isinstance(value, list) or not value:
        return value
    array = _plain(value)
    return [condensed(inner) for inner in value] if array is None else array


def _plain(values: list[Any]) -> np.ndarray | None:
    """An array of booleans, integers or floats. None if it is none, integers would be rounded, or
    booleans are among numbers, of which numpy makes 0 and 1."""
    try:
        array = np.asarray(values)
    except ValueError:
        return None
    kinds = array.dtype.kind
    if kinds not in "bif" or kinds == "f" and (np.abs(array) >= EXACT).any():
        return None
    may = kinds != "b" and ((array == 0) | (array == 1)).any()
    return None if may and bool in _types(np.asarray(values, dtype=object)) else array


def _types(objects: np.ndarray) -> set[type]:
    """Python's types of an array's elements."""
    return set(map(type, objects.flat))


def _numbers(name: str, data: Any, dtype: np.dtype) -> np.ndarray:
    if isinstance(data, np.ndarray):
        return data
    array = _plain(data) if isinstance(data, list) else None
    if array is not None:
        return array
    try:
        objects = np.asarray(data, dtype=object)
        types = _types(objects) if objects.ndim else {type(None)}
        if types <= {int}:
            return objects.astype(np.uint64 if min(objects.flat) >= 0 else np.int64)
        if types <= {int, float}:
            return objects.astype(np.float64)
    except OverflowError:
        raise bad(f"tensor {name!r}: its data has a number beyond {datatype_of(dtype)}; keep to "
                  "its range") from None
    except ValueError:
        pass
    raise bad(f"tensor {name!r}: its data is no array of numbers of one shape; send a list of "
              "numbers, or lists of equal length")


def _dims(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    if len(shape) > RANK:
        raise bad(f"tensor {name!r}: its shape has {len(shape)} dimensions; {RANK} is the most")
    if any(d < 0 for d in shape):
        raise bad(f"tensor {name!r}: shape {list(shape)} has a negative dimension; send the "
                  "numbers of elements that it has")
    return tuple(shape)


def _shaped(name: str, array: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    try:
        return array.reshape(dims)
    except ValueError:      # no elements, and other dimensions beyond numpy's
        raise bad(f"tensor {name!r}: shape {list(dims)} is too large; send what the model takes"
                  ) from None
