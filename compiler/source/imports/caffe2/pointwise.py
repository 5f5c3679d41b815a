# SPDX-License-Identifier: Apache-2.0
"""Functions of each element, and of pairs of elements with Caffe2's two kinds of broadcast."""

import numpy as np

from compiler.ir.errors import Unsupported
from compiler.source.imports.caffe2.operator import Operator, Row, row

SELU = {"alpha": 1.6732632423543772, "scale": 1.0507009873554805}


def _unary(kind: str, **defaults: float) -> Row:
    """ONNX's operator of that name, with float arguments under other names and defaults."""
    def convert(op: Operator) -> list[str]:
        values = {("gamma" if n == "scale" else n): op.get(n, d) for n, d in defaults.items()}
        return [op.graph.pointwise(kind, op.inputs[0], **values)]
    return row(convert, " ".join(defaults))


def _binary(kind: str) -> Row:
    """With ``broadcast``, the second input's axes are the first's from ``axis`` on, or the last;
    without, numpy's rule."""
    def convert(op: Operator) -> list[str]:
        graph, (a, b) = op.graph, op.inputs
        if not op.get("broadcast", False):
            if "axis" in op.arguments or "axis_str" in op.arguments:
                raise Unsupported("it has axis without broadcast", "set broadcast")
            return [graph.pointwise(kind, a, b)]
        rank, shape = len(graph.shape(a)), graph.shape(b)
        axis = op.get("axis", -1)
        if op.get("axis_str", ""):
            axis = op.get("order", "NCHW").find(op.get("axis_str", ""))
        if int(np.prod(shape)) == 1:
            shape, axis = (), -1
        before = rank - len(shape) if axis == -1 else axis
        if before < 0 or graph.shape(a)[before:before + len(shape)] != shape:
            raise Unsupported(f"{list(shape)} does not fit {list(graph.shape(a))} at axis {axis}",
                              "correct the net")
        behind = rank - before - len(shape)
        if graph.shape(b) != graph.shape(a):
            b = graph.reshape(b, [*shape, *[1] * behind])
        return [graph.pointwise(kind, a, b)]
    return row(convert, "broadcast axis axis_str order", 2)


def _many(kind: str) -> Row:
    def convert(op: Operator) -> list[str]:
        if len({op.graph.shape(v) for v in op.inputs}) > 1:
            raise Unsupported("its inputs differ in shape", "correct the net")
        return [op.graph.pointwise(kind, *op.inputs)]
    return row(convert, "", 1, 1 << 16)


def clip(op: Operator) -> list[str]:
    bounds = [op.graph.constant(np.float32(op.get(n, d)))
              for n, d in (("min", -np.inf), ("max", np.inf))]
    x = op.inputs[0]
    if x in op.graph.first:
        return [op.graph.channels_last(op.graph.emit("Clip", op.graph.first[x], *bounds))]
    return [op.graph.emit("Clip", x, *bounds)]


def swish(op: Operator) -> list[str]:
    x, = op.inputs
    return [op.graph.pointwise("Mul", x, op.graph.pointwise("Sigmoid", x))]


def square(op: Operator) -> list[str]:
    return [op.graph.pointwise("Mul", op.inputs[0], op.inputs[0])]


def cube(op: Operator) -> list[str]:
    return [op.graph.pointwise("Mul", op.inputs[0], square(op)[0])]


def inverse_root(op: Operator) -> list[str]:
    return [op.graph.pointwise("Reciprocal", op.graph.pointwise("Sqrt", op.inputs[0]))]


def scale(op: Operator) -> list[str]:
    return [op.graph.emit("Mul", op.inputs[0],
                          op.graph.constant(np.float32(op.get("scale", 1.0))))]


def power(op: Operator) -> list[str]:
    """To the power of ``exponent``; or of a second input, as the other pairs."""
    if "exponent" not in op.arguments:
        return _binary("Pow").convert(op)
    return [op.graph.emit("Pow", op.inputs[0],
                          op.graph.constant(np.float32(op.get("exponent", 0.0))))]


def gelu(op: Operator) -> list[str]:
    """``x (1 + erf(x / sqrt 2)) / 2``; with ``fast_gelu`` the erf is
    ``tanh(sqrt(2 / pi) (x + 0.044715 x^3))``."""
    graph, (x,) = op.graph, op.inputs

    def times(value: str, factor: float) -> str:
        return graph.emit("Mul", value, graph.constant(np.float32(factor)))
    if op.get("fast_gelu", False):
        inner = graph.emit("Add", x, times(cube(op)[0], 0.044715))
        bell = graph.emit("Tanh", times(inner, np.sqrt(2 / np.pi)))
    else:
        bell = graph.emit("Erf", times(x, np.sqrt(0.5)))
    return [times(graph.emit("Mul", x, graph.emit("Add", bell, graph.constant(np.float32(1)))),
                  0.5)]


def p_relu(op: Operator) -> list[str]:
    """Slopes [C] or [1]."""
    x, slope = op.image(), op.inputs[1]
    count = op.graph.shape(slope)
    if count not in ((1,), op.graph.shape(x)[1:2]):
        raise Unsupported(f"its slopes are {list(count)}", "give one, or one a channel")
    slope = op.graph.reshape(slope, [*count, *[1] * (len(op.graph.shape(x)) - 2)])
    return op.out(op.graph.emit("PRelu", x, slope))


def same(op: Operator) -> list[str]:
    return [op.inputs[0]]


def dropout(op: Operator) -> list[str]:
    if not op.get("is_test", False):
        raise Unsupported("it drops at random: is_test is not set", "export the net for inference")
    return [op.inputs[0]]


TABLE = {
    **{k: _unary(k) for k in ("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Exp", "Log",
                              "Sqrt", "Abs", "Floor", "Ceil", "Sin", "Cos", "Sign", "Erf",
                              "Reciprocal")},
    "Negative": _unary("Neg"), "Sqr": row(square), "Cube": row(cube), "Rsqrt": row(inverse_root),
    "Scale": row(scale, "scale"), "Gelu": row(gelu, "fast_gelu"),
    "Pow": row(power, "exponent broadcast axis axis_str", 1, 2),
    "LeakyRelu": _unary("LeakyRelu", alpha=0.01), "Elu": _unary("Elu", alpha=1.0),
    "HardSigmoid": _unary("HardSigmoid", alpha=0.2, beta=0.5), "Selu": _unary("Selu", **SELU),
    "Clip": row(clip, "min max"), "Swish": row(swish), "PRelu": row(p_relu, "order", 2),
    **{k: _binary(k) for k in ("Add", "Sub", "Mul", "Div")},
    **{k: _many(k) for k in ("Sum", "Max", "Min", "Mean")},
    **{k: row(same) for k in ("Copy", "Alias", "StopGradient", "EnsureCPUOutput")},
    "Dropout": row(dropout, "is_test ratio"),
}
