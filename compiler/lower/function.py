# SPDX-License-Identifier: Apache-2.0
"""Functions of one operand, on numbers: those of the vector engine, and those made of its sums and
products."""

from dataclasses import replace

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.lower.affine import plus, times
from compiler.lower.legalize import Legalizer, handles
from compiler.lower.quant import deq_of, real_of
from compiler.lower.values import INF, Deq, Function, Real, Sum
from compiler.source.frontend import attributes
from isa.instructions import VectorOp

OPERATIONS = {"Exp": VectorOp.EXP, "Reciprocal": VectorOp.RECIPROCAL,
              "Sigmoid": VectorOp.SIGMOID, "Tanh": VectorOp.TANH}


def _operand(lg: Legalizer, node: onnx.NodeProto, inputs: list) -> Deq:
    """The operand, stored in its type.

    Raises
    ------
    Unsupported
        If the network is one of integers.
    """
    if not lg.floats:
        raise Unsupported(f"the machine does not run {node.op_type} on integers, only on numbers "
                          "(--precision fp16 or mixed)")
    return lg.number(deq_of(inputs[0]))


@handles(*OPERATIONS)
def function(lg: Legalizer, node: onnx.NodeProto, inputs: list) -> list:
    return [Real(Function(_operand(lg, node, inputs), OPERATIONS[node.op_type]))]


def _hard_sigmoid(lg: Legalizer, x: Deq, alpha: float, beta: float) -> Real:
    line = times(lg, Real(x), np.array(alpha))
    return plus(lg, line, np.array(beta)).clipped(0.0, 1.0)


@handles("HardSigmoid")
def hard_sigmoid(lg: Legalizer, node: onnx.NodeProto, inputs: list) -> list:
    a = attributes(node)
    return [_hard_sigmoid(lg, _operand(lg, node, inputs), a.get("alpha", 0.2), a.get("beta", 0.5))]


@handles("HardSwish")
def hard_swish(lg: Legalizer, node: onnx.NodeProto, inputs: list) -> list:
    x = _operand(lg, node, inputs)
    gate = lg.stored(_hard_sigmoid(lg, x, 1 / 6, 0.5), node.output[0] + ":gate")
    return [Real(Sum(x, gate, product=True))]


@handles("LeakyRelu")
def leaky_relu(lg: Legalizer, node: onnx.NodeProto, inputs: list) -> list:
    """``alpha * x + (1 - alpha) * max(x, 0)``."""
    alpha = attributes(node).get("alpha", 0.01)
    if not 0 <= alpha < 1:
        raise Unsupported(f"its slope {alpha:g} is not in [0, 1)", "use such a slope")
    x = _operand(lg, node, inputs)
    if alpha == 0:
        return [real_of(inputs[0]).clipped(0.0, INF)]
    positive = lg.stored(Real(x).clipped(0.0, INF), node.output[0] + ":positive")
    return [Real(Sum(replace(x, scale=np.float32(alpha)),
                     replace(positive, scale=np.float32(1 - alpha))))]
