# SPDX-License-Identifier: Apache-2.0
"""Truth values as the numbers 0 and 1, and what makes them and uses them: masks.

The host gives them, and integers that only become floats or truth values, as floats.
"""

import numpy as np
import onnx
from onnx import TensorProto

from compiler.ir.errors import Unsupported
from compiler.ir.floats import LARGEST
from compiler.lower.affine import operands, plus, times
from compiler.lower.builder import Builder, Handlers
from compiler.lower.finish import as_number, stored
from compiler.lower.masked import masked
from compiler.lower.piecewise import magnitude
from compiler.lower.quant import deq_of
from compiler.lower.shape import broadcast
from compiler.lower.values import Deq, Real, Weights
from compiler.source.frontend import attributes

REALS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
CASTS = (*REALS, TensorProto.BOOL)
"""Types that values are converted to: those of floats, all of them the network's, and truth values.
"""

LEAST = -LARGEST["float16"]

FAR = 2.0 ** 31
"""What overflows in FP16, to infinity."""


def cast(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Among floats, which all have the network's type; of integers and truth values to floats, and
    to truth values. To integers it is the host's.
    """
    to, x = attributes(node)["to"], inputs[0]
    if not isinstance(x, Real) or not build.floats or to not in CASTS:
        raise Unsupported(f"it converts to {TensorProto.DataType.Name(to)}",
                          f"leave it to the host: --host {node.op_type}")
    if to in REALS:
        return [x]
    size = stored(build, magnitude(build, as_number(build, deq_of(x)), node.output[0]),
                  f"{node.output[0]}:size")
    return [Real(size).clipped(0.0, 1.0)]


def not_(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Of truth values that the host gives: ``1 - x``."""
    return [plus(build, times(build, Real(deq_of(inputs[0])), np.array(-1.0)), np.array(1.0))]


def both(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """And, Or: of truth values that the host gives, one of which may be constant."""
    every, (a, b) = node.op_type == "And", inputs
    if isinstance(a, np.ndarray):
        a, b = b, a
    if isinstance(b, np.ndarray):
        shape = np.broadcast_shapes(a.shape, b.shape)
        x = deq_of(broadcast(a, shape))
        if (b == every).all():
            return [Real(x)]
        if every:
            return [times(build, Real(x), b.astype(np.float64))]
        return [Real(masked(build, x, np.broadcast_to(~b, shape), np.ones(())))]
    if every:
        return [Real(operands([a, b], product=True))]
    return [Real(operands([a, b])).clipped(0.0, 1.0)]


def by_number(build: Builder, mask: Real, a: object, b: object, name: str) -> Real:
    """``a`` where a mask is 1, and ``b`` where it is 0. A constant of :data:`LEAST` and less adds
    that to the other value, or minus infinity; else each is multiplied, and the two are added."""
    c = deq_of(mask)
    for value, other, sign in ((a, b, 1.0), (b, a, -1.0)):
        if isinstance(other, np.ndarray | Weights) and (_values(other) <= LEAST).all():
            far = FAR if np.isinf(_values(other)).any() else -LEAST
            line = times(build, Real(c), np.array(sign * far))
            line = plus(build, line, np.array(-far)) if sign > 0 else line
            gate = Real(stored(build, line, f"{name}:mask"))
            if not isinstance(value, np.ndarray | Weights):
                return Real(operands([value, gate]))
            return plus(build, gate, _values(value)) if _values(value).any() else gate
    if isinstance(a, np.ndarray | Weights) and isinstance(b, np.ndarray | Weights):
        low = _values(b)
        return plus(build, times(build, Real(c), _values(a) - low), low)
    rest = stored(build, plus(build, times(build, Real(c), np.array(-1.0)), np.array(1.0)),
                  f"{name}:rest")
    return Real(operands([Real(stored(build, _times(build, gate, value), f"{name}:{k}"))
                          for k, (gate, value) in enumerate(((c, a), (rest, b)))]))


def _times(build: Builder, gate: Deq, value: object) -> Real:
    if isinstance(value, np.ndarray | Weights):
        return times(build, Real(gate), _values(value))
    return Real(operands([Real(as_number(build, deq_of(value))), Real(gate)], product=True))


def _values(c: np.ndarray | Weights) -> np.ndarray:
    return np.asarray(c.real if isinstance(c, Weights) else c, np.float64)


HANDLERS: Handlers = {"Cast": cast, "Not": not_, "And": both, "Or": both}
