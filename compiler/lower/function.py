# SPDX-License-Identifier: Apache-2.0
"""Functions of one operand, on floats: those of the vector engine, and those made of its sums and
products."""

from dataclasses import replace

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.lower.affine import plus, times
from compiler.lower.builder import Builder, Handlers
from compiler.lower.finish import as_number, stored
from compiler.lower.quant import deq_of, real_of
from compiler.lower.values import INF, Deq, Function, Real, Sum
from compiler.source.frontend import attributes
from isa.instructions import VectorOp

OPERATIONS = {"Exp": VectorOp.EXP, "Reciprocal": VectorOp.RECIPROCAL,
              "Sigmoid": VectorOp.SIGMOID, "Tanh": VectorOp.TANH}


def operand(build: Builder, node: onnx.NodeProto, inputs: list) -> Deq:
    """The operand, stored in its type.

    Raises
    ------
    Unsupported
        If the network is one of integers.
    """
    if not build.floats:
        raise Unsupported(f"the machine does not run {node.op_type} on integers, only on floats "
                          "(--precision fp16 or mixed)")
    return as_number(build, deq_of(inputs[0]))


def function(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone, element by element, from tables of the vector engine (docs/numerics.md)."""
    return [Real(Function(operand(build, node, inputs), OPERATIONS[node.op_type]))]


def _hard_sigmoid(build: Builder, x: Deq, alpha: float, beta: float) -> Real:
    line = times(build, Real(x), np.array(alpha))
    return plus(build, line, np.array(beta)).clipped(0.0, 1.0)


def hard_sigmoid(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone: ``max(0, min(1, alpha * x + beta))``."""
    a, x = attributes(node), operand(build, node, inputs)
    return [_hard_sigmoid(build, x, a.get("alpha", 0.2), a.get("beta", 0.5))]


def hard_swish(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone: ``x * HardSigmoid(x)``."""
    x = operand(build, node, inputs)
    gate = stored(build, _hard_sigmoid(build, x, 1 / 6, 0.5), node.output[0] + ":gate")
    return [Real(Sum(x, gate, product=True))]


def leaky_relu(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone: ``alpha * x + (1 - alpha) * max(x, 0)``, with alpha in [0, 1)."""
    alpha = attributes(node).get("alpha", 0.01)
    if not 0 <= alpha < 1:
        raise Unsupported(f"its slope {alpha:g} is not in [0, 1)", "use such a slope")
    x = operand(build, node, inputs)
    if alpha == 0:
        return [real_of(inputs[0]).clipped(0.0, INF)]
    positive = stored(build, Real(x).clipped(0.0, INF), node.output[0] + ":positive")
    return [Real(Sum(replace(x, scale=np.float32(alpha)),
                     replace(positive, scale=np.float32(1 - alpha))))]


def recurrent(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone: LSTM, GRU and RNN, in either direction or both, as products, additions and
    functions of each step; of constant weights and a fixed number of steps, without lengths of
    sequences.
    """
    if not build.floats:
        raise Unsupported(f"the machine does not run {node.op_type} on integers, only on floats "
                          "(--precision fp16 or mixed)")
    raise Unsupported("its weights are not constant, its steps are not fixed, it has lengths of "
                      "sequences, or a function that is no operator", "export it with constant "
                      "weights for sequences of one length")


HANDLERS: Handlers = {
    **dict.fromkeys(OPERATIONS, function), "HardSigmoid": hard_sigmoid, "HardSwish": hard_swish,
    "LeakyRelu": leaky_relu, **dict.fromkeys(("LSTM", "GRU", "RNN"), recurrent)}
