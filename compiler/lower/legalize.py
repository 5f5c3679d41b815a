# SPDX-License-Identifier: Apache-2.0
"""The ONNX graph as quantized operators (:mod:`compiler.ir.graph`), and what is left to the host.

Nodes are read in order; :mod:`compiler.lower.values` says what becomes of their values. A node that
the machine does not run goes to the host only if the user allowed its operator; QuantizeLinear,
DequantizeLinear and shape operators next to such a node go with it. What the machine does not run
is known when all nodes have been tried, each on what the host would give it where the node before
does not run: then :mod:`compiler.lower.cut` chooses what the host runs, and the graph is lowered
again. A DequantizeLinear is computed wherever its result is read.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
import onnx

from compiler.ir.errors import CompileError, Unsupported
from compiler.ir.graph import Conv, Graph, Product
from compiler.lower.affine import times
from compiler.lower.builder import Builder, Handler
from compiler.lower.cache import append
from compiler.lower.cut import Constraints, Cut
from compiler.lower.edges import Edges
from compiler.lower.finish import channels_of, settled, stored
from compiler.lower.logic import CASTS
from compiler.lower.operators import HANDLERS
from compiler.lower.permission import RIDE_ALONG, Permission
from compiler.lower.values import (INF, Cached, Deq, Function, Host, Linear, Quantized, Real,
                                   Rowwise, Storage, Sum, Value, Weights, scaled)
from compiler.source.frontend import Source, attributes

INTEGERS = {onnx.TensorProto.INT8: "int8", onnx.TensorProto.UINT8: "uint8"}
"""Types of inputs that are quantized, and their names."""

REALS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
"""Types of inputs that are floats."""

COUNTS = (onnx.TensorProto.BOOL, onnx.TensorProto.INT64, onnx.TensorProto.INT32)
"""Types that the host gives as floats where they become such, or truth values."""

MOVES = {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Expand", "Tile",
         "Slice", "Gather", "GatherElements", "GatherND"}
"""Operators that move what they read first."""

SIGNED = {*MOVES, "Concat", "Add", "Sub"}
"""Operators that take a float of a negative factor."""

QUANTIZES = {"QuantizeLinear", "DequantizeLinear"}

REORDERS = {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity"}
"""Operators whose result has each element of what they read once."""

LOGIC = {"Not", "And", "Or"}

CLIPS = {"Relu", "Clip"}
AFFINE = {"BatchNormalization", "Add", "Sub", "Mul", "Div"}
"""Operators that go on with a value in binary32: any, and a convolution's with constants."""

ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Relu", "Gelu", "Sigmoid", "Tanh", "Identity", "Cast",
               "Not"}
ALONG_THE_LAST = {"MatMul", "LayerNormalization", "RMSNormalization", "Softmax"}
"""Operators that say nothing of the order of channels, and that want them last."""

GO_ON = {*CLIPS, "QuantizeLinear", "MaxPool", "Concat"}
"""Operators that take integers which are clipped, but not quantized again."""


@dataclass(frozen=True)
class Legal:
    """A network as the machine and the host run it.

    Members
    -------
    graph : Graph
        What the machine runs.
    inputs : list of Storage
        What the host gives to it.
    crossing : dict of str to Quantized
        What it gives to the host, by ONNX name.
    pre, post : list of onnx.NodeProto
        What the host computes before and after it.
    passing : set of str
        Inputs, and values from before the machine, that the host reads behind it.
    placement : list of dict
        ``node``, ``op``, ``engine`` and ``reason`` of each node; ``none`` is an engine that is not
        known yet.
    quantization : dict
        Scale and zero point of each quantized value by name.
    """

    graph: Graph
    inputs: list[Storage]
    crossing: dict[str, Quantized]
    pre: list[onnx.NodeProto]
    post: list[onnx.NodeProto]
    passing: set[str]
    placement: list[dict[str, str]]
    quantization: dict[str, tuple[np.float32, int]]


def legalize(source: Source, allow_host: Collection[str], floats: str = "") -> Legal:
    """Lower every node of a network.

    Parameters
    ----------
    source : Source
    allow_host : collection of str
        Operators that the host may run at the edges of the graph; ``all`` allows any.
    floats : str
        Type of what is not quantized; empty in a network of integers.

    Raises
    ------
    CompileError
        For a node that neither machine nor host runs.
    """
    walk = _Walk(source, allow_host, floats, Cut())
    walk.lower()
    blocked = walk.blocked
    constraints = walk.constraints()
    while blocked.keys() - walk.elsewhere or constraints.late - walk.elsewhere:
        cut = constraints.best(blocked)
        if cut is None:
            raise walk.stuck(*constraints.conflict(blocked))
        walk = _Walk(source, allow_host, floats, cut, blocked)
        walk.lower()
        blocked |= walk.blocked
    return walk.legal()


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


class _Walk:
    """One run over a graph: the value of every name, and what the host has to do.

    Parameters
    ----------
    source, allow, floats
        As for :func:`legalize`.
    cut : Cut
        What the host runs.
    why : dict of int to Unsupported
        Why, where that is known.

    Members
    -------
    blocked : dict of int to Unsupported or None
        Nodes that were tried on the machine in vain; without a reason of their own if they work
        on what the host computes.
    """

    def __init__(self, source: Source, allow: Collection[str], floats: str, cut: Cut,
                 why: dict[int, Unsupported | None] | None = None):
        self.source, self.cut, self.why = source, cut, why or {}
        self.host = Permission(source, allow)
        self.elsewhere = cut.early | cut.late
        self.build = Builder([n.name for n in source.nodes], floats)
        self.position = {n.name: i for i, n in enumerate(source.nodes)}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for n in source.nodes:
            for name in n.input:
                self.readers.setdefault(name, []).append(n)
        self.caches = {c.past for c in source.caches}
        self.results = {o.name for o in source.model.graph.output}
        self.values: dict[str, Value] = {}
        self.blocked: dict[int, Unsupported | None] = {}
        self.build.tokens = self._tokens
        for n in source.nodes:
            if n.op_type == "Softmax":
                self._find_scores(n)
        self.edges = Edges(source, self.build, self.host, self.values)
        self.makers, self.get = self.edges.makers, self.edges.get

    def lower(self) -> None:
        """Lower every node, or leave it to the host."""
        s = self.source
        for value in s.model.graph.input:
            if value.name not in s.constants:
                self.values[value.name] = Cached() if value.name in self.caches else (
                    Host(True) if self.build.floats and s.types[value.name] in REALS
                    and self._quantized_before(value.name) else
                    self._entering(value.name) or Host(True))
        for self.build.node, node in enumerate(s.nodes):
            inputs = [self.get(n) for n in node.input]
            if self.build.node in self.elsewhere and not self._shared(node):
                self._to_host(node, inputs, self.build.node in self.cut.early)
            else:
                self._to_machine(node, inputs)

    def legal(self) -> Legal:
        """Bind inputs and outputs."""
        edges = self.edges
        edges.bind()
        inputs = [s for s in self.build.inputs if s.tensor is not None]
        return Legal(self.build.graph, inputs, edges.crossing, edges.pre, edges.post,
                     edges.passing, edges.placement, self.build.quantization)

    def _shared(self, node: onnx.NodeProto) -> bool:
        """A DequantizeLinear that the machine knows, of a value that passes between host and
        machine or of a constant."""
        at = self.position[node.name]
        return (node.op_type == "DequantizeLinear" and at not in self.why
                and at not in self.blocked
                and isinstance(self.get(node.input[0]), Quantized | np.ndarray))

    def _entering(self, name: str) -> Value | None:
        """A value that the host gives to the machine; None if it cannot."""
        kind, shape = self.source.types.get(name), self.source.shapes.get(name)
        if shape is None or 0 in shape:
            return None
        if kind in INTEGERS:
            return self.build.new_input(name, shape, INTEGERS[kind])
        if self._becomes_real(name):
            q = self.build.new_input(name, shape, self.build.floats, self._tokens(name))
            return Real(Deq(q, np.float32(1), 0))
        return None

    def _becomes_real(self, name: str) -> bool:
        """Whether the host gives a value as floats: it is one, or what reads it makes one of it, or
        a truth value, or takes it for one."""
        kind = self.source.types.get(name)
        if not self.build.floats or kind not in COUNTS:
            return bool(self.build.floats) and kind in REALS
        return self._reaches(name, MOVES, lambda node, value: node.op_type in LOGIC or (
            node.op_type == "Cast" and attributes(node)["to"] in CASTS
            or node.op_type == "Where" and node.input[0] == value))

    def _tokens(self, name: str) -> bool:
        """Whether what reads a value, or what is computed from it element by element, takes its
        last axis as channels."""
        return self._reaches(name, ELEMENTWISE, lambda node, _: node.op_type in ALONG_THE_LAST)

    def _reaches(self, name: str, through: Collection[str],
                 found: Callable[[onnx.NodeProto, str], bool]) -> bool:
        """Whether a value, or what operators of ``through`` make of it, is read by such a node."""
        todo, seen = [name], {name}
        while todo:
            value = todo.pop()
            for node in self.readers.get(value, []):
                if found(node, value):
                    return True
                if node.op_type in through:
                    todo += [o for o in node.output if o not in seen]
                    seen.update(node.output)
        return False

    def _find_scores(self, softmax: onnx.NodeProto) -> None:
        """The matrix products that a softmax's argument is made of, element by element."""
        makers = {o: n for n in self.source.nodes for o in n.output}
        todo = [softmax.input[0]]
        while todo:
            name = todo.pop()
            node = makers.get(name)
            if node is not None and node.op_type == "MatMul":
                self.build.scores.add(name)
            elif node is not None and node.op_type in {*ELEMENTWISE, *QUANTIZES}:
                todo += node.input

    def _leaves(self, name: str) -> bool:
        """Whether a value that the machine computes may pass to the host."""
        value = self.get(name)
        if self.source.types.get(name) in COUNTS:
            return False
        if isinstance(value, Real) and not self.build.floats:
            return (isinstance(value.expr, Deq) and (value.lo, value.hi) == (-INF, INF)
                    and self.makers[name].op_type in RIDE_ALONG)
        return isinstance(value, Quantized | Real)

    def constraints(self) -> Constraints:
        """What a cut has to keep to, after nothing was left to the host."""
        nodes = self.source.nodes
        macs = Counter[int]()
        for op in self.build.graph.ops:
            macs[op.node] += op.macs if (isinstance(op, Product)
                                         or isinstance(op, Conv) and op.counted) else 0
        found = Constraints([1 + len(nodes) * macs[i] for i in range(len(nodes))])
        for i, node in enumerate(nodes):
            if self.caches.intersection(node.input) or not self.host.may(node.op_type) \
                    and node.op_type not in RIDE_ALONG:
                found.bound.add(i)
            if self._shared(node):
                found.weight[i] = 0
                continue
            for name in node.input:
                maker = self.makers.get(name)
                if maker is not None and self._shared(maker):
                    name = maker.input[0]
                    maker = self.makers.get(name)
                if maker is None or isinstance(self.get(name), Weights | np.ndarray):
                    continue
                made = self.position[maker.name]
                found.edges.append((made, i))
                if made in self.blocked:
                    continue
                if self.source.types.get(name) not in INTEGERS and not self._becomes_real(name):
                    found.no_entry.append((made, i))
                if not self._leaves(name):
                    found.no_exit.append((made, i))
            if i not in found.bound and self.results.intersection(node.output) and any(
                    not self._leaves(name) for name in node.output):
                found.late.add(i)
        return found

    def _quantized_before(self, name: str) -> bool:
        """Whether the host quantizes an input, perhaps moved before: it may, and nobody wants it
        otherwise."""
        return name in self.readers and all(
            self.host.may(n.op_type) and (
                n.op_type == "QuantizeLinear"
                or (n.op_type in RIDE_ALONG and self._quantized_before(n.output[0])))
            for n in self.readers[name])

    def _to_machine(self, node: onnx.NodeProto, inputs: list) -> None:
        plain = node.domain in ("", "ai.onnx")
        if node.op_type == "Concat" and node.input[0] in self.caches:
            handler: Handler | None = self._append
        else:
            handler = HANDLERS.get(node.op_type if plain else f"{node.domain}.{node.op_type}")
        if any(isinstance(v, Host) for v in inputs):
            return self._not_here(node, inputs, None)
        try:
            if handler is None or not self._takes(node, inputs):
                raise Unsupported(f"the machine does not run {node.op_type}"
                                  + (" on integers" if handler else ""))
            if not self.build.floats and node.op_type not in GO_ON:
                for name, v in zip(node.input, inputs):
                    if isinstance(v, Real):
                        self.values[name] = settled(self.build, v, name)
                inputs = [self.get(n) for n in node.input]
            outputs = [replace(v, node=self.build.node) if isinstance(v, Real) and v.node < 0 else v
                       for v in handler(self.build, node, inputs)]
            if self.build.floats:
                outputs = [self._stored(name, v) for name, v in zip(node.output, outputs)]
        except Unsupported as e:
            return self._not_here(node, inputs, e)
        self.values.update(zip(node.output, outputs))
        self.edges.placement.append({"node": node.name, "op": node.op_type, "engine": "none",
                               "reason": "folded into its neighbors"})

    def _takes(self, node: onnx.NodeProto, inputs: list) -> bool:
        """Whether it reads and gives integers and truth values only as the machine has them: as
        numbers that are moved, are converted, or are masks."""
        types = self.source.types
        if node.op_type in {*LOGIC, *MOVES, "Cast"} and any(
                types.get(o) in COUNTS for o in self.results.intersection(node.output)):
            return False
        given = [k for k, (name, v) in enumerate(zip(node.input, inputs))
                 if isinstance(v, Real) and types.get(name) in COUNTS]
        return not given or node.op_type in {*LOGIC, "Cast"} or (
            given == [0] and node.op_type in {*MOVES, "Where"})

    def _not_here(self, node: onnx.NodeProto, inputs: list, why: Unsupported | None) -> None:
        """The machine does not run a node; if the host may, those behind it are tried on what it
        would give them."""
        along = node.op_type in RIDE_ALONG and any(
            isinstance(v, Host) and v.node not in ("", node.name) for v in inputs)
        if not (self.host.may(node.op_type) or along):
            raise self.host.refused(node, inputs, why)
        self.blocked[self.build.node] = why
        for name in node.output:
            self.values[name] = self._entering(name) or Host(True, node.name)
        for name, v in zip(node.input, inputs):  # what is counted is what is stored
            if self.build.floats and isinstance(v, Real) and isinstance(v.expr, Linear):
                with contextlib.suppress(Unsupported):
                    self.values[name] = Real(stored(self.build, v, name))

    def _append(self, build: Builder, node: onnx.NodeProto, inputs: list) -> list:
        assert self.source.lengths is not None
        return append(build, node, self.source.lengths, inputs[1])

    def stuck(self, origin: int, node: int) -> CompileError:
        """There is no cut: ``node`` is behind ``origin``, which can be nowhere but on the host
        and behind the machine."""
        return self.host.refused(self.source.nodes[node],
                                 [Host(False, self.source.nodes[origin].name)], None)

    def _stored(self, name: str, value: Value) -> Value:
        """A float value in its type, unless its only reader goes on with it in binary32; a sign is
        the reader's if that moves, joins or adds."""
        if not isinstance(value, Real):
            return value
        readers = self.readers.get(name, [])
        if isinstance(value.expr, Deq) and (value.lo, value.hi) == (-INF, INF):
            if value.expr.scale > 0 or name not in self.results and readers and all(
                    n.op_type in SIGNED for n in readers):
                return value
            return Real(stored(self.build, times(self.build, Real(scaled(value.expr, -1)),
                                                 np.array(-1.0)), name))
        if len(readers) == 1 and name not in self.results and \
                self.position[readers[0].name] not in self.elsewhere and (
                readers[0].op_type in CLIPS or _by_channels(value, readers[0])
                or self._affine(value, readers[0])):
            return value
        ends = self._quantized_as(name, value)
        if ends and (len(set(ends)) == 1 if isinstance(value.expr, Rowwise) else len(ends) == 1):
            return value
        return Real(stored(self.build, value, name))

    def _affine(self, value: Real, reader: onnx.NodeProto) -> bool:
        """Whether a product goes on in binary32 with constants."""
        return (reader.op_type in AFFINE and isinstance(value.expr, Linear)
                and (value.lo, value.hi) == (-INF, INF)
                and any(n in self.source.constants for n in reader.input))

    def _quantized_as(self, name: str, value: Real) -> list[tuple]:
        """The parameters of each QuantizeLinear that reads a value, or what is the same but for the
        order; none if anything else does."""
        found: list[tuple] = []
        for node in self.readers.get(name, []) if name not in self.results else []:
            if self.position[node.name] in self.elsewhere:
                return []
            if node.op_type == "QuantizeLinear":
                found.append(tuple(
                    (c.dtype, c.tobytes()) if isinstance(c := self.get(n), np.ndarray) else n
                    for n in node.input[1:]))
                continue
            moves = node.op_type in REORDERS and _may_move(value)
            ends = self._quantized_as(node.output[0], value) if moves or (
                self._affine(value, node)) else []
            if not ends:
                return []
            found += ends
        return found

    def _to_host(self, node: onnx.NodeProto, inputs: list, early: bool) -> None:
        why = self.why.get(self.build.node)
        nodes = self.edges.pre if early else self.edges.post
        nodes.append(node)
        self.edges.placement.append({
            "node": node.name, "op": node.op_type, "engine": "host",
            "reason": why.reason if why else "its input or output is the host's"})
        for name, v in zip(node.input, inputs):
            maker = self.makers.get(name)
            if isinstance(v, Weights) or (early and maker is not None and self._shared(maker)):
                self.edges.computed_twice(name, nodes)
            elif not early and v is not None and not isinstance(v, np.ndarray):
                self.edges.leave(name, v)
        for name in node.output:
            self.values[name] = (self._entering(name) if early else None) or Host(early, node.name)
