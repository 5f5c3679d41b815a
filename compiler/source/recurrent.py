# SPDX-License-Identifier: Apache-2.0
"""LSTM, GRU and RNN, step after step: products, additions and functions in their place.

Gates have products of their own, so that nothing has to be cut out of a wider result. Those with
the input are made for all steps at once; with their bias they are what the product with the state
of the step before is added to. The states are joined along the channels.

Left as they are: nodes whose weights are not constant, whose number of steps is not fixed, which
have lengths for each sequence, or a function that is none of :data:`FUNCTIONS`.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from compiler.source import frontend
from compiler.source.frontend import Source, attributes

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""Operators, and the products of each."""

DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
"""Functions of a direction."""

FUNCTIONS = {"Sigmoid": (), "Tanh": (), "Relu": (), "Softsign": (), "Softplus": (),
             "LeakyRelu": ("alpha",), "ThresholdedRelu": ("alpha",), "Elu": ("alpha",),
             "HardSigmoid": ("alpha", "beta")}
"""Functions that are operators, and their parameters."""


def unrolled(source: Source, keep: Collection[str]) -> Source:
    """The network without such nodes; those whose operator is in ``keep`` stay."""
    model = onnx.ModelProto()
    model.CopyFrom(source.model)
    graph = model.graph
    del graph.node[:]
    found = False
    for node in source.nodes:
        cell = None if node.op_type in keep else _cell(source, node)
        found = found or cell is not None
        graph.node.extend([node] if cell is None else cell.nodes)
        graph.initializer.extend([] if cell is None else cell.constants)
    if not found:
        return source
    read = {name for n in graph.node for name in n.input}
    constants = [i for i in graph.initializer if i.name in read]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    return frontend.load(model, name=source.name)


def _cell(source: Source, node: onnx.NodeProto) -> "_Unrolling | None":
    """What comes in place of a node; None if it stays."""
    if node.op_type not in GATES or node.domain not in ("", "ai.onnx"):
        return None
    names = [*node.input, *[""] * (8 - len(node.input))]
    at, shape = attributes(node), source.shapes.get(node.input[0])
    weights = [source.constants.get(n) for n in names[1:4]]
    if shape is None or len(shape) != 3 or weights[0] is None or weights[1] is None:
        return None
    layout = at.get("layout", 0)
    steps, batch = (shape[1], shape[0]) if layout else shape[:2]
    lengths, peepholes = source.constants.get(names[4]), source.constants.get(names[7])
    if (names[3] and weights[2] is None) or (names[7] and peepholes is None) or (
            names[4] and (lengths is None or (lengths != steps).any())):
        return None
    ways = {b"forward": [1], b"reverse": [-1], b"bidirectional": [1, -1]}[
        at.get("direction", b"forward")]
    functions = [f.decode() for f in at.get("activations", [])] or \
        DEFAULTS[node.op_type] * len(ways)
    if any(f not in FUNCTIONS for f in functions):
        return None
    return _Unrolling(node, at, steps, batch, ways, functions, weights[0], weights[1], weights[2],
                      peepholes, names[5], names[6])


@dataclass
class _Unrolling:
    """The nodes that come in place of one."""

    node: onnx.NodeProto
    at: dict
    steps: int
    batch: int
    ways: list[int]
    functions: list[str]
    w: np.ndarray
    r: np.ndarray
    b: np.ndarray | None
    p: np.ndarray | None
    initial: str
    memory: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    known: dict[tuple, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kind, self.layout = self.node.op_type, self.at.get("layout", 0)
        self.size = self.r.shape[2]
        self._all = list(zip(self.functions, self._parameters("alpha"), self._parameters("beta")))
        states: list[list[str]] = []
        last: list[str] = []
        for d, way in enumerate(self.ways):
            made, memory = self._direction(d, way)
            states.append(made[::way])
            last.append(memory)
        wanted = [*self.node.output, "", "", ""][:3]
        if wanted[0]:
            parts = [states[d][t] for t in range(self.steps) for d in range(len(self.ways))]
            self._results(parts, [self.batch, self.steps, len(self.ways), self.size],
                          [1, 2, 0, 3], wanted[0])
        ends = [made[::way][-1] for made, way in zip(states, self.ways)]
        for parts, name in ((ends, wanted[1]), (last, wanted[2])):
            if name:
                self._results(parts, [self.batch, len(self.ways), self.size], [1, 0, 2], name)

    def _parameters(self, kind: str) -> list[float | None]:
        """``activation_alpha`` or ``activation_beta`` of each function: those that have one take
        the next."""
        left = list(self.at.get(f"activation_{kind}", []))
        return [left.pop(0) if kind in FUNCTIONS[f] and left else None for f in self.functions]

    # -- nodes ----------------------------------------------------------------------------------

    def _add(self, op: str, *inputs: str, name: str = "", **at: Any) -> str:
        name = name or f"{self.node.name}/{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **at))
        return name

    def _constant(self, value: np.ndarray) -> str:
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self.known:
            self.known[key] = name = f"{self.node.name}/constant_{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return self.known[key]

    def _integers(self, *values: int) -> str:
        return self._constant(np.array(values, np.int64))

    def _apply(self, x: str, d: int, which: int) -> str:
        """A function of a direction, behind the clip (of the gates alone, as ONNX Runtime)."""
        function, alpha, beta = self._all[d * len(DEFAULTS[self.kind]) + which]
        limit = self.at.get("clip")
        if limit is not None and which < 2:
            bounds = (self._constant(np.array(v, self.w.dtype)) for v in (-limit, limit))
            x = self._add("Clip", x, *bounds)
        at: dict[str, Any] = {k: v for k, v in (("alpha", alpha), ("beta", beta)) if v is not None}
        return self._add(function, x, **at)

    def _results(self, parts: list[str], shape: list[int], order: list[int], name: str) -> None:
        """States [batch, size], joined, in the shape of an output."""
        whole = self._add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
        target = name if self.layout else ""
        split = self._add("Reshape", whole, self._integers(*shape), name=target)
        if not self.layout:
            self._add("Transpose", split, perm=order, name=name)

    # -- steps ----------------------------------------------------------------------------------

    def _direction(self, d: int, way: int) -> tuple[list[str], str]:
        """The states of a direction in the order in which they are made, and the last memory."""
        size, gates = self.size, GATES[self.kind]
        w, r = (m[d].reshape(gates, size, -1).transpose(0, 2, 1) for m in (self.w, self.r))
        b = np.zeros((2, gates, size), self.w.dtype) if self.b is None else \
            self.b[d].reshape(2, gates, size)
        bias = b.sum(0)
        if self.kind == "GRU" and self.at.get("linear_before_reset", 0):
            bias[2] = b[0, 2]
        inputs = [self._add("Add", self._add("MatMul", self.node.input[0], self._constant(w[g])),
                            self._constant(bias[g])) for g in range(gates)]
        self._r = [self._constant(m) for m in r]
        self._rb = self._constant(b[1, gates - 1])
        self._d = d
        state, memory = (self._first(name, d) for name in (self.initial, self.memory))
        step = {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}[self.kind]
        made = []
        for t in range(self.steps)[::way]:
            x = [self._step(v, t) for v in inputs]
            state, memory = step(x, state, memory)
            made.append(state)
        return made, memory

    def _first(self, name: str, d: int) -> str:
        """The initial state of a direction; none if it is zero."""
        if not name:
            return ""
        axis = 1 if self.layout else 0
        piece = name if len(self.ways) == 1 else self._add(
            "Slice", name, self._integers(d), self._integers(d + 1), self._integers(axis))
        return self._add("Reshape", piece, self._integers(self.batch, self.size))

    def _step(self, x: str, t: int) -> str:
        axis = 1 if self.layout else 0
        piece = x if self.steps == 1 else self._add(
            "Slice", x, self._integers(t), self._integers(t + 1), self._integers(axis))
        return self._add("Reshape", piece, self._integers(self.batch, self.size))

    def _gate(self, x: str, state: str, gate: int) -> str:
        """What comes from the input, and the product with the state."""
        return self._add("Add", self._add("MatMul", state, self._r[gate]), x) if state else x

    def _peep(self, x: str, memory: str, gate: int) -> str:
        if self.p is None or not memory:
            return x
        weight = self.p[self._d].reshape(3, self.size)[gate]
        return self._add("Add", x, self._add("Mul", memory, self._constant(weight)))

    def _lstm(self, x: list[str], state: str, memory: str) -> tuple[str, str]:
        i, o, f, c = (self._gate(x[g], state, g) for g in range(4))
        i = self._apply(self._peep(i, memory, 0), self._d, 0)
        c = self._apply(c, self._d, 1)
        new = self._add("Mul", i, c)
        if memory:
            if self.at.get("input_forget", 0):
                f = self._add("Sub", self._constant(np.array(1, self.w.dtype)), i)
            else:
                f = self._apply(self._peep(f, memory, 2), self._d, 0)
            new = self._add("Add", self._add("Mul", f, memory), new)
        o = self._apply(self._peep(o, new, 1), self._d, 0)
        return self._add("Mul", o, self._apply(new, self._d, 2)), new

    def _gru(self, x: list[str], state: str, memory: str) -> tuple[str, str]:
        z = self._apply(self._gate(x[0], state, 0), self._d, 0)
        after = self.at.get("linear_before_reset", 0)
        new = x[2]
        if state or after:
            r = self._apply(self._gate(x[1], state, 1), self._d, 0)
            if after:
                inner = self._add("Add", self._add("MatMul", state, self._r[2]), self._rb) \
                    if state else self._rb
                new = self._add("Add", x[2], self._add("Mul", r, inner))
            else:
                new = self._gate(x[2], self._add("Mul", r, state), 2)
        new = self._apply(new, self._d, 1)
        if not state:
            return self._add("Sub", new, self._add("Mul", z, new)), ""
        return self._add("Add", new, self._add("Mul", z, self._add("Sub", state, new))), ""

    def _rnn(self, x: list[str], state: str, memory: str) -> tuple[str, str]:
        return self._apply(self._gate(x[0], state, 0), self._d, 0), ""
