# SPDX-License-Identifier: Apache-2.0
"""The ONNX graph as quantized operators (:mod:`compiler.ir.graph`), and what is left to the host.

Nodes are read in order; :mod:`compiler.lower.values` says what becomes of their values, and
:mod:`compiler.lower.readers` what their readers want. A node that the machine does not run goes to
the host only if the user allowed its operator; QuantizeLinear, DequantizeLinear and shape operators
next to such a node go with it. What the machine does not run is known when all nodes have been
tried, each on what the host would give it where the node before does not run: then
:mod:`compiler.lower.cut` chooses what the host runs, and the graph is lowered again. A
DequantizeLinear is computed wherever its result is read.
"""

import contextlib
from collections import Counter
from collections.abc import Collection
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
from compiler.lower.finish import settled, stored
from compiler.lower.operators import HANDLERS
from compiler.lower.permission import RIDE_ALONG, Permission
from compiler.lower.readers import CLIPS, COUNTS, LOGIC, MOVES, REALS, Readers
from compiler.lower.values import (INF, Cached, Deq, Host, Linear, Quantized, Real, Storage, Value,
                                   Weights, scaled)
from compiler.source.frontend import Source

INTEGERS = {onnx.TensorProto.INT8: "int8", onnx.TensorProto.UINT8: "uint8"}
"""Types of inputs that are quantized, and their names."""

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
        self.caches = {c.past for c in source.caches}
        self.values: dict[str, Value] = {}
        self.blocked: dict[int, Unsupported | None] = {}
        self.edges = Edges(source, self.build, self.host, self.values)
        self.makers, self.get = self.edges.makers, self.edges.get
        self.readers = Readers(source, floats, {source.nodes[i].name for i in self.elsewhere},
                               self.get)
        self.build.tokens, self.build.scores = self.readers.tokens, self.readers.scores()

    def lower(self) -> None:
        """Lower every node, or leave it to the host."""
        s = self.source
        for value in s.model.graph.input:
            if value.name not in s.constants:
                self.values[value.name] = Cached() if value.name in self.caches else (
                    Host(True) if self.build.floats and s.types[value.name] in REALS
                    and self.readers.quantized_before(value.name, self.host) else
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
        if self.readers.becomes_real(name):
            q = self.build.new_input(name, shape, self.build.floats, self.readers.tokens(name))
            return Real(Deq(q, np.float32(1), 0))
        return None

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
                if not (self.source.types.get(name) in INTEGERS
                        or self.readers.becomes_real(name)):
                    found.no_entry.append((made, i))
                if not self._leaves(name):
                    found.no_exit.append((made, i))
            if i not in found.bound and self.readers.results.intersection(node.output) and any(
                    not self._leaves(name) for name in node.output):
                found.late.add(i)
        return found

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
                types.get(o) in COUNTS for o in self.readers.results.intersection(node.output)):
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
        """A float value in its type, unless its readers go on with it in binary32, or take its
        sign."""
        if not isinstance(value, Real):
            return value
        if isinstance(value.expr, Deq) and (value.lo, value.hi) == (-INF, INF):
            if value.expr.scale > 0 or self.readers.take_signs(name):
                return value
            return Real(stored(self.build, times(self.build, Real(scaled(value.expr, -1)),
                                                 np.array(-1.0)), name))
        if self.readers.go_on(name, value):
            return value
        return Real(stored(self.build, value, name))

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
