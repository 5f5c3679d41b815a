# SPDX-License-Identifier: Apache-2.0
"""Operators that fill a blob with constants: what an init net is made of."""

import math

import numpy as np

from compiler.ir.errors import Unsupported
from compiler.source.imports.caffe2.operator import Operator, Row, row

DTYPES = {1: np.float32, 2: np.int32, 5: np.bool_, 6: np.uint8, 7: np.int8, 10: np.int64,
          13: np.float64}

RANDOM = ("XavierFill", "MSRAFill", "GaussianFill", "UniformFill", "UniformIntFill")


def _filled(op: Operator, values: object, dtype: type) -> list[str]:
    shape = op.get("shape", [])
    array: np.ndarray = np.asarray(values, dtype).reshape(-1)
    if array.size != math.prod(shape):
        raise Unsupported(f"it has {array.size} values for {shape}", "correct the init net")
    return [op.graph.constant(array.reshape(shape), op.outputs[0])]


def _given(dtype: type) -> Row:
    def convert(op: Operator) -> list[str]:
        return _filled(op, op.get("values", []), dtype)
    return row(convert, "shape values", 0)


def constant_fill(op: Operator) -> list[str]:
    dtype = DTYPES.get(op.get("dtype", 1))
    if dtype is None:
        raise Unsupported(f"its dtype is {op.get('dtype', 1)}", f"use one of {sorted(DTYPES)}")
    value = op.arguments.get("value", 0)
    return _filled(op, [value] * math.prod(op.get("shape", [])), dtype)


def random_fill(op: Operator) -> list[str]:
    raise Unsupported("it fills with random numbers", "export the trained init net")


def int8_fill(op: Operator) -> list[str]:
    """uint8 from a string, int32 from integers; both stand for reals at a scale."""
    if op.kind == "Int8GivenTensorFill":
        text = op.arguments.get("values", b"")
        raw = text.encode("latin1") if isinstance(text, str) else text
        value, = _filled(op, np.frombuffer(raw, np.uint8), np.uint8)
    else:
        value, = _filled(op, op.get("values", []), np.int32)
    scale, zero = op.get("Y_scale", 1.0), op.get("Y_zero_point", 0)
    op.graph.dequantize(value, scale, zero)
    return [value]


TABLE = {"GivenTensorFill": _given(np.float32), "GivenTensorIntFill": _given(np.int32),
         "GivenTensorInt64Fill": _given(np.int64), "GivenTensorBoolFill": _given(np.bool_),
         "ConstantFill": row(constant_fill, "shape value dtype", 0),
         **{k: row(random_fill, "shape min max mean std value", 0) for k in RANDOM},
         **{k: row(int8_fill, "shape values Y_scale Y_zero_point", 0)
            for k in ("Int8GivenTensorFill", "Int8GivenIntTensorFill")}}
