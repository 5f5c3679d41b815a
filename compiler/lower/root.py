# SPDX-License-Identifier: Apache-2.0
"""Square roots of floats, by the vector engine's reciprocal one."""

import onnx

from compiler.lower.builder import Builder, Handlers
from compiler.lower.finish import stored
from compiler.lower.function import operand
from compiler.lower.values import Deq, Function, Real
from isa.instructions import VectorOp


def reciprocal_root(build: Builder, x: Deq, name: str) -> Deq:
    """``1 / sqrt(x)`` in binary32."""
    return stored(build, Real(Function(x, VectorOp.RSQRT)), name, "float32")


def root(build: Builder, x: Deq, name: str) -> Real:
    """``sqrt(x)``; 0 of 0."""
    return Real(Function(reciprocal_root(build, x, f"{name}:inverse"), VectorOp.RECIPROCAL))


def sqrt(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone."""
    return [root(build, operand(build, node, inputs), node.output[0])]


HANDLERS: Handlers = {"Sqrt": sqrt}
