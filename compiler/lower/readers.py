# SPDX-License-Identifier: Apache-2.0
"""What reads a value, and what that wants of it: floats, channels last, binary32 or a sign."""

from collections.abc import Callable, Collection

import numpy as np
import onnx

from compiler.lower.finish import channels_of
from compiler.lower.logic import CASTS
from compiler.lower.permission import CONVERSIONS, REORDERS, RIDE_ALONG, Permission
from compiler.lower.values import INF, Function, Linear, Real, Rowwise, Sum, Value
from compiler.source.frontend import Source, attributes

REALS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
"""Types of inputs that are floats."""

COUNTS = (onnx.TensorProto.BOOL, onnx.TensorProto.INT64, onnx.TensorProto.INT32)
"""Types that the host gives as floats where they become such, or truth values."""

MOVES = {*REORDERS, "Expand", "Tile", "Slice", "Gather", "GatherElements", "GatherND"}
"""Operators that move what they read first."""

SIGNED = {*MOVES, "Concat", "Add", "Sub"}
"""Operators that take a float of a negative factor."""

LOGIC = {"Not", "And", "Or"}

CLIPS = {"Relu", "Clip"}
AFFINE = {"BatchNormalization", "Add", "Sub", "Mul", "Div"}
"""Operators that go on with a value in binary32: any, and a convolution's with constants."""

ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Relu", "Gelu", "Sigmoid", "Tanh", "Identity", "Cast",
               "Not"}
ALONG_THE_LAST = {"MatMul", "LayerNormalization", "RMSNormalization", "Softmax"}
"""Operators that say nothing of the order of channels, and that want them last."""


def _by_channels(value: Real, node: onnx.NodeProto) -> bool:
    """Whether a node splits a product by its channels, so that each part is a product."""
    e, axis = value.expr, attributes(node).get("axis", 0)
    if node.op_type != "Split" or not isinstance(e, Linear) or value.index is None or e.groups > 1:
        return False
    along = np.moveaxis(channels_of(e, value.index), axis, 0).reshape(
        value.index.shape[axis], -1)
    return bool((along == along[:, :1]).all() and len(np.unique(along[:, 0])) == len(along))


def _may_move(value: Real) -> bool:
    """Whether an unfinished expression can be moved."""
    e = value.expr
    return value.index is not None or isinstance(e, Function) or (
        isinstance(e, Sum) and e.a.q.shape == e.b.q.shape)


class Readers:
    """The nodes that read each value of a network.

    Parameters
    ----------
    source : Source
    floats : str
        Type of what is not quantized; empty in a network of integers.
    elsewhere : set of str
        Names of the nodes that the host runs.
    get : function of str
        The value of a name, as far as it is known.

    Members
    -------
    results : set of str
        The outputs of the network, which the host reads.
    """

    def __init__(self, source: Source, floats: str, elsewhere: set[str],
                 get: Callable[[str], Value | None]):
        self.results = {o.name for o in source.model.graph.output}
        self._source, self._floats, self._elsewhere, self._get = source, floats, elsewhere, get
        self._of: dict[str, list[onnx.NodeProto]] = {}
        for node in source.nodes:
            for name in node.input:
                self._of.setdefault(name, []).append(node)

    def becomes_real(self, name: str) -> bool:
        """Whether the host gives a value as floats: it is one, or what reads it makes one of it, or
        a truth value, or takes it for one."""
        kind = self._source.types.get(name)
        if not self._floats or kind not in COUNTS:
            return bool(self._floats) and kind in REALS
        return self._reaches(name, MOVES, lambda node, value: node.op_type in LOGIC or (
            node.op_type == "Cast" and attributes(node)["to"] in CASTS
            or node.op_type == "Where" and node.input[0] == value))

    def tokens(self, name: str) -> bool:
        """Whether what reads a value, or what is computed from it element by element, takes its
        last axis as channels."""
        return self._reaches(name, ELEMENTWISE, lambda node, _: node.op_type in ALONG_THE_LAST)

    def _reaches(self, name: str, through: Collection[str],
                 found: Callable[[onnx.NodeProto, str], bool]) -> bool:
        """Whether a value, or what operators of ``through`` make of it, is read by such a node."""
        todo, seen = [name], {name}
        while todo:
            value = todo.pop()
            for node in self._of.get(value, []):
                if found(node, value):
                    return True
                if node.op_type in through:
                    todo += [o for o in node.output if o not in seen]
                    seen.update(node.output)
        return False

    def scores(self) -> set[str]:
        """The results of matrix products that the argument of a softmax is made of, element by
        element."""
        makers = {o: n for n in self._source.nodes for o in n.output}
        found: set[str] = set()
        todo = [n.input[0] for n in self._source.nodes if n.op_type == "Softmax"]
        while todo:
            name = todo.pop()
            node = makers.get(name)
            if node is not None and node.op_type == "MatMul":
                found.add(name)
            elif node is not None and node.op_type in {*ELEMENTWISE, *CONVERSIONS}:
                todo += node.input
        return found

    def quantized_before(self, name: str, host: Permission) -> bool:
        """Whether the host quantizes an input, perhaps moved before: it may, and nobody wants it
        otherwise."""
        return name in self._of and all(
            host.may(n.op_type) and (
                n.op_type == "QuantizeLinear"
                or (n.op_type in RIDE_ALONG and self.quantized_before(n.output[0], host)))
            for n in self._of[name])

    def take_signs(self, name: str) -> bool:
        """Whether a value may have a negative factor: all that reads it moves, joins or adds."""
        readers = self._of.get(name, [])
        return name not in self.results and bool(readers) and all(
            n.op_type in SIGNED for n in readers)

    def go_on(self, name: str, value: Real) -> bool:
        """Whether what reads a value goes on with it in binary32: one node that clips it, takes
        its channels apart or computes with constants; or one that quantizes it, of rows also
        several that do so alike."""
        readers = self._of.get(name, [])
        if len(readers) == 1 and name not in self.results and \
                readers[0].name not in self._elsewhere and (
                readers[0].op_type in CLIPS or _by_channels(value, readers[0])
                or self._affine(value, readers[0])):
            return True
        ends = self._quantized_as(name, value)
        return len(set(ends) if isinstance(value.expr, Rowwise) else ends) == 1

    def _affine(self, value: Real, reader: onnx.NodeProto) -> bool:
        """Whether a product goes on in binary32 with constants."""
        return (reader.op_type in AFFINE and isinstance(value.expr, Linear)
                and (value.lo, value.hi) == (-INF, INF)
                and any(n in self._source.constants for n in reader.input))

    def _quantized_as(self, name: str, value: Real) -> list[tuple]:
        """The parameters of each QuantizeLinear that reads a value, or what is the same but for the
        order; none if anything else does."""
        found: list[tuple] = []
        for node in self._of.get(name, []) if name not in self.results else []:
            if node.name in self._elsewhere:
                return []
            if node.op_type == "QuantizeLinear":
                found.append(tuple(
                    (c.dtype, c.tobytes()) if isinstance(c := self._get(n), np.ndarray) else n
                    for n in node.input[1:]))
                continue
            moves = node.op_type in REORDERS and _may_move(value)
            ends = self._quantized_as(node.output[0], value) if moves or (
                self._affine(value, node)) else []
            if not ends:
                return []
            found += ends
        return found
