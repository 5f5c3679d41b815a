# SPDX-License-Identifier: Apache-2.0
"""Int8 operators as QDQ: the operator of the same name on what its uint8 inputs stand for, and its
result quantized by ``Y_scale`` and ``Y_zero_point``.

Operators that only choose or move elements keep their input's scale and need not name one.
"""

from collections.abc import Mapping

from compiler.ir.errors import Unsupported
from compiler.source.imports.caffe2 import linear, moves, normal, pointwise, windows
from compiler.source.imports.caffe2.operator import Operator, Row, row

FLOATS = windows.TABLE | linear.TABLE | pointwise.TABLE | normal.TABLE | moves.TABLE

SCALE = "Y_scale Y_zero_point"

NONE: Mapping[str, int] = {}
COUNTED = {"count_include_pad": 1}
"""QNNPACK's average pool divides by the whole window, padding included."""


def quantize(op: Operator) -> list[str]:
    return [op.graph.quantize(op.inputs[0], op.get("Y_scale", 1.0), op.get("Y_zero_point", 0))]


def dequantize(op: Operator) -> list[str]:
    return [_real(op, op.inputs[0])]


def _real(op: Operator, value: str) -> str:
    if value not in op.graph.real:
        raise Unsupported("its input is no Int8 blob", "put an Int8Quantize before it")
    return op.graph.real[value]


def _int8(base: str, relu: bool = False, fixed: Mapping[str, int] = NONE) -> Row:
    """The operator ``base`` between Dequantize and Quantize, with arguments that do not vary."""
    floats = FLOATS[base]

    def convert(op: Operator) -> list[str]:
        inputs = [_real(op, v) for v in op.inputs]
        y = floats.convert(op.but(kind=base, inputs=inputs,
                                  arguments={**op.arguments, **fixed}))[0]
        if relu:
            y = op.graph.pointwise("Relu", y)
        if "Y_scale" not in op.arguments:
            raise Unsupported("it has no Y_scale", "give the scale of its output")
        return [op.graph.quantize(y, op.get("Y_scale", 1.0), op.get("Y_zero_point", 0))]
    return Row(convert, floats.arguments | set(SCALE.split()), floats.least,
               floats.most)


def resize(op: Operator) -> list[str]:
    """Always [N, H, W, C]."""
    at = op.arguments | {"order": "NHWC"}
    y, = moves.resize(op.but(kind="ResizeNearest", arguments=at, inputs=[_real(op, op.inputs[0])]))
    return [op.graph.quantize(y, op.get("Y_scale", 1.0), op.get("Y_zero_point", 0))]


TABLE = {
    "Int8Quantize": row(quantize, SCALE), "Int8Dequantize": row(dequantize),
    "Int8Conv": _int8("Conv"), "Int8ConvRelu": _int8("Conv", True), "Int8FC": _int8("FC"),
    "Int8Sum": _int8("Sum"), "Int8SumRelu": _int8("Sum", True), "Int8Relu": _int8("Relu"),
    "Int8Add": _int8("Sum"), "Int8AddRelu": _int8("Sum", True),
    "Int8MaxPool": _int8("MaxPool"), "Int8MaxPoolRelu": _int8("MaxPool", True),
    "Int8AveragePool": _int8("AveragePool", fixed=COUNTED),
    "Int8AveragePoolRelu": _int8("AveragePool", True, COUNTED),
    **{f"Int8{k}": _int8(k) for k in ("ConvTranspose", "LeakyRelu", "Sigmoid", "Flatten", "Reshape",
                                      "Slice", "Transpose", "ChannelShuffle")},
    "Int8Concat": _int8("Concat"), "Int8Softmax": _int8("Softmax"),
    "Int8ResizeNearest": row(resize, f"{moves.SCALES} {SCALE}"),
}
