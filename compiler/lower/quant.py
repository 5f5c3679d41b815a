# SPDX-License-Identifier: Apache-2.0
"""QuantizeLinear, DequantizeLinear, and what only clips or adds between them."""

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.lower.builder import Builder, Handlers
from compiler.lower.finish import quantize
from compiler.lower.values import INF, Deq, Quantized, Real, Weights
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
    if isinstance(value, Quantized):
        raise Unsupported(f"{what} is an integer without a scale",
                          "put DequantizeLinear in front of it and QuantizeLinear behind it")
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


def quantize_linear(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """To INT8 or UINT8 with one scale and zero point. Folded into the operator in front of it; of a
    float input it is the host's.
    """
    zero = inputs[2] if len(inputs) > 2 else None
    dtype = "uint8" if zero is None else str(zero.dtype)
    if dtype not in DTYPES:
        raise Unsupported(f"it quantizes to {dtype}", "quantize to INT8 or UINT8")
    scale = np.float32(scalar(inputs[1], "the scale"))
    zp = int(scalar(zero, "the zero point")) if zero is not None else 0
    build.quantization[node.output[0]] = (scale, zp)
    return [quantize(build, real_of(inputs[0]), scale, zp, dtype, node.output[0])]


def dequantize_linear(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Of INT8 or UINT8: activations with one scale and zero point, weights with one or one a
    channel. Folded into the operator behind it; of an output it is the host's.
    """
    x, scale = inputs[0], inputs[1]
    zero = inputs[2] if len(inputs) > 2 else None
    if isinstance(x, np.ndarray):
        axis = attributes(node).get("axis", 1)
        if zero is None:
            zero = np.zeros((), x.dtype)
        axis = axis % x.ndim if x.ndim else 0
        return [Weights(x, np.asarray(scale, np.float32), np.asarray(zero), axis)]
    if not isinstance(x, Quantized):
        raise Unsupported("its input is not INT8 or UINT8", "quantize it to one of these")
    zp = int(scalar(zero, "the zero point")) if zero is not None else 0
    build.quantization.setdefault(x.name, (np.float32(scalar(scale, "the scale")), zp))
    return [Real(Deq(x, np.float32(scalar(scale, "the scale")), zp))]


def relu(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Folded into the operator in front of it."""
    if isinstance(inputs[0], Quantized):
        raise Unsupported("it works on integers", "put it between DequantizeLinear and "
                                                  "QuantizeLinear")
    return [real_of(inputs[0]).clipped(0.0, INF)]


def clip(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """With constant bounds, folded into the operator in front of it."""
    bounds = [-INF, INF]
    for i in (1, 2):
        if len(inputs) > i and inputs[i] is not None:
            bounds[i - 1] = float(scalar(inputs[i], ("min", "max")[i - 1]))
    if isinstance(inputs[0], Quantized):  # integers, whatever they stand for
        real = Real(Deq(inputs[0], np.float32(1), 0)).clipped(*bounds)
        return [quantize(build, real, np.float32(1), 0, inputs[0].dtype, node.output[0])]
    return [real_of(inputs[0]).clipped(*bounds)]


HANDLERS: Handlers = {
    "QuantizeLinear": quantize_linear, "DequantizeLinear": dequantize_linear, "Relu": relu,
    "Clip": clip}
