# SPDX-License-Identifier: Apache-2.0
"""QuantizeLinear, DequantizeLinear, and what only clips or adds between them."""

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.lower.legalize import Legalizer, handles
from compiler.lower.values import INF, Deq, Quantized, Real, Sum, Weights
from compiler.source.frontend import attributes

DTYPES = {"int8": np.int8, "uint8": np.uint8}


def scalar(value: object, what: str) -> float:
    """A constant of one element.

    Raises
    ------
    Unsupported
        If it is not one.
    """
    if isinstance(value, Weights):
        value = value.real
    if not isinstance(value, np.ndarray) or value.size != 1:
        raise Unsupported(f"{what} is not a constant of one element",
                          "use per-tensor quantization for activations")
    return value.ravel()[0]


def real_of(value: object, what: str = "its input") -> Real:
    """The value as a real expression.

    Raises
    ------
    Unsupported
        If it is neither a dequantized activation nor computed from one.
    """
    if isinstance(value, Real):
        return value
    raise Unsupported(f"{what} is not quantized",
                      "put QuantizeLinear and DequantizeLinear in front of it, or quantize the "
                      "whole model (--calibration FILE.npz)")


def deq_of(value: object, what: str = "its input") -> Deq:
    """The value as a dequantized activation without a clip.

    Raises
    ------
    Unsupported
        If something is between DequantizeLinear and here.
    """
    real = real_of(value, what)
    if not isinstance(real.expr, Deq) or (real.lo, real.hi) != (-INF, INF):
        raise Unsupported(f"{what} is computed, but not quantized in between",
                          "put QuantizeLinear and DequantizeLinear in front of it")
    return real.expr


@handles("QuantizeLinear")
def quantize_linear(lg: Legalizer, node: onnx.NodeProto, inputs: list) -> list:
    zero = inputs[2] if len(inputs) > 2 else None
    dtype = "uint8" if zero is None else str(zero.dtype)
    if dtype not in DTYPES:
        raise Unsupported(f"it quantizes to {dtype}", "quantize to INT8 or UINT8")
    scale = np.float32(scalar(inputs[1], "the scale"))
    zp = int(scalar(zero, "the zero point")) if zero is not None else 0
    lg.quantization[node.output[0]] = (scale, zp)
    return [lg.quantize(real_of(inputs[0]), scale, zp, dtype, node.output[0])]


@handles("DequantizeLinear")
def dequantize_linear(lg: Legalizer, node: onnx.NodeProto, inputs: list) -> list:
    x, scale = inputs[0], inputs[1]
    zero = inputs[2] if len(inputs) > 2 else None
    if isinstance(x, np.ndarray):
        axis = attributes(node).get("axis", 1)
        if zero is None:
            zero = np.zeros((), x.dtype)
        axis = axis % x.ndim if x.ndim else 0
        return [Weights(x, np.asarray(scale, np.float32), np.asarray(zero), axis)]
    if not isinstance(x, Quantized):
        raise Unsupported("its input is not INT8 or UINT8")
    zp = int(scalar(zero, "the zero point")) if zero is not None else 0
    lg.quantization.setdefault(x.name, (np.float32(scalar(scale, "the scale")), zp))
    return [Real(Deq(x, np.float32(scalar(scale, "the scale")), zp))]


@handles("Relu")
def relu(lg: Legalizer, node: onnx.NodeProto, inputs: list) -> list:
    if isinstance(inputs[0], Quantized):
        raise Unsupported("it works on integers", "put it between DequantizeLinear and "
                                                  "QuantizeLinear")
    return [real_of(inputs[0]).clipped(0.0, INF)]


@handles("Clip")
def clip(lg: Legalizer, node: onnx.NodeProto, inputs: list) -> list:
    bounds = [-INF, INF]
    for i in (1, 2):
        if len(inputs) > i and inputs[i] is not None:
            bounds[i - 1] = float(scalar(inputs[i], ("min", "max")[i - 1]))
    return [real_of(inputs[0]).clipped(*bounds)]


@handles("Add")
def add(lg: Legalizer, node: onnx.NodeProto, inputs: list) -> list:
    a, b = inputs
    if isinstance(a, (np.ndarray, Weights)):
        a, b = b, a
    if isinstance(b, (np.ndarray, Weights)):
        from compiler.lower.affine import plus
        return [plus(lg, real_of(a), b)]
    return [Real(operands(inputs))]


def operands(inputs: list, product: bool = False) -> Sum:
    """Two activations to be added or multiplied, the one that is broadcast behind the other.

    Raises
    ------
    Unsupported
        If their shapes do not fit.
    """
    da, db = deq_of(inputs[0], "its first operand"), deq_of(inputs[1], "its second operand")
    if da.q.shape != db.q.shape:
        if np.prod(da.q.shape) < np.prod(db.q.shape):
            da, db = db, da
        if da.q.index.ndim != 4 or db.q.shape != da.q.shape[:2] + (1, 1):
            raise Unsupported(f"shapes {list(da.q.shape)} and {list(db.q.shape)} do not fit the "
                              "machine's addition", "expand the smaller operand")
    return Sum(da, db, product)
