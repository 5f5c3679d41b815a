# SPDX-License-Identifier: Apache-2.0
"""Operators that exporters spell out: GELU, LayerNormalization, RMSNormalization, masks of an
attention, and a Softmax whose rows without a score become zeros. Each becomes the one node that it
stands for, under the name of its last node; the host, if it is to run one, runs what it was.

GELU is found in any order of its factors: with its function as an unknown, what is around it and
what is in it are polynomials of ``x``::

    erf     x/2 + x/2 * erf(x / sqrt(2))
    tanh    x/2 + x/2 * tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx
from onnx import helper

from compiler.ir.floats import LARGEST
from compiler.source.frontend import Source, attributes

ALIKE = 1e-4
"""Relative difference of coefficients that are the same, rounded by hand."""

DEGREE = 6
"""Of the polynomials that are looked at."""

ARITHMETIC = {"Add", "Sub", "Mul", "Div", "Neg", "Pow"}

Polynomial = dict[tuple[str, ...], float]
"""Coefficients by the unknowns that are multiplied, sorted."""

GELUS: dict[str, tuple[str, Polynomial]] = {
    "Erf": ("none", {("x",): 0.5 ** 0.5}),
    "Tanh": ("tanh", {("x",): (2 / math.pi) ** 0.5,
                      ("x", "x", "x"): 0.044715 * (2 / math.pi) ** 0.5})}
"""Of each function the approximation that it is part of, and its argument."""


def recognized(source: Source) -> Source:
    """The network with such nodes in place of what spells them out."""
    model = onnx.ModelProto()
    model.CopyFrom(source.model)
    source = replace(source, model=model, constants=dict(source.constants),
                     spelled=dict(source.spelled))
    for find in (_chosen, _without_nan, _mask, _normalization, _gelu):
        graph = _Graph(source)
        for node in source.nodes:
            found = find(graph, node)
            if found is not None:
                graph.put(found)
        graph.prune()
    return source


class _Graph:
    """Who makes and who reads what, in a source that is changed."""

    def __init__(self, source: Source):
        self.source, self.graph = source, source.model.graph
        self.makers = {o: n for n in self.graph.node for o in n.output}
        self.uses = Counter(name for n in self.graph.node for name in n.input)
        self.uses.update(o.name for o in self.graph.output)

    def made(self, name: str, *ops: str) -> onnx.NodeProto | None:
        """What makes a value, if it is such an operator."""
        node = self.makers.get(self.root(name))
        return node if node is not None and node.op_type in ops else None

    def root(self, name: str) -> str:
        """A value before it went through Identity, or a Cast to the type that it has."""
        types = self.source.types
        while (node := self.makers.get(name)) is not None and (
                node.op_type == "Identity" or node.op_type == "Cast"
                and types.get(node.input[0]) == types.get(name, 0)):
            name = node.input[0]
        return name

    def twins(self, name: str) -> set[str]:
        """A value, and differences of the same operands."""
        node = self.made(name, "Sub")
        return {name} if node is None else {
            n.output[0] for n in self.graph.node
            if n.op_type == "Sub" and list(map(self.root, n.input)) == list(
                map(self.root, node.input))}

    def number(self, name: str) -> float | None:
        """A constant of one element."""
        value = self.source.constants.get(self.root(name))
        return float(value.item()) if value is not None and value.size == 1 else None

    def axes(self, node: onnx.NodeProto) -> tuple[int, ...]:
        """Of a reduction, from 0 on; none if they are not constant."""
        given = attributes(node).get("axes")
        if len(node.input) > 1 and node.input[1]:
            given = self.source.constants.get(node.input[1], np.empty(0, np.int64)).tolist()
        rank = len(self.source.shapes.get(node.input[0], ()))
        return tuple(sorted(int(a) % rank for a in given or ())) if rank else ()

    def polynomial(self, name: str, unknown: dict[str, str]) -> Polynomial | None:
        """A value by the ``unknown`` ones, which have names of their own; None if it is none."""
        name = self.root(name)
        if name in unknown:
            return {(unknown[name],): 1.0}
        if (constant := self.number(name)) is not None:
            return {(): constant}
        node = self.made(name, *ARITHMETIC)
        if node is None:
            return None
        parts = [self.polynomial(i, unknown) for i in node.input]
        a, b = parts[0], parts[-1]
        if a is None or b is None:
            return None
        if node.op_type in ("Add", "Sub"):
            sign = 1 if node.op_type == "Add" else -1
            return {m: a.get(m, 0) + sign * b.get(m, 0) for m in a.keys() | b.keys()}
        if node.op_type == "Neg":
            return {m: -v for m, v in a.items()}
        if node.op_type == "Mul":
            return _product(a, b)
        value = b.get(()) if b.keys() == {()} else None
        if node.op_type == "Div":
            return _product(a, {(): 1 / value}) if value else None
        if value not in (1, 2, 3):
            return None
        return _product(a, *[a] * (int(value) - 1))

    def around(self, name: str) -> Iterator[str]:
        """A value and what arithmetic makes it of, the nearest first."""
        todo = [self.root(name)]
        for value in todo:
            yield value
            node = self.made(value, *ARITHMETIC)
            if node is not None and len(todo) < 32:
                todo += [r for i in node.input if (r := self.root(i)) not in todo
                         and r not in self.source.constants]

    def put(self, node: onnx.NodeProto) -> None:
        """A node in the place of the one that makes its result; its parts are remembered."""
        name, stops = node.output[0], {self.root(i) for i in node.input} | set(node.input)
        last = self.makers[name]
        node.name = last.name
        parts: list[onnx.NodeProto] = []
        todo = [name]
        while todo:
            maker = self.makers.get(todo.pop())
            if maker is not None and not any(maker is p for p in parts):
                parts.append(maker)
                todo += [i for i in maker.input if i not in stops]
        copies = []
        for part in parts:
            copies += self.source.spelled.get(part.name, [])
            copies.append(onnx.NodeProto())
            copies[-1].CopyFrom(part)
        self.source.spelled[node.name] = copies
        last.CopyFrom(node)

    def constant(self, name: str, value: np.ndarray) -> str:
        """A constant of the network, by a new name."""
        self.source.constants[name] = value
        return name

    def prune(self) -> None:
        """Remove what nobody reads any more."""
        needed, keep = {o.name for o in self.graph.output}, []
        for node in reversed(self.graph.node):
            if needed.intersection(node.output):
                needed.update(node.input)
                keep.append(node)
        del self.graph.node[:]
        self.graph.node.extend(reversed(keep))


def _product(*factors: Polynomial) -> Polynomial | None:
    result: Polynomial = {(): 1.0}
    for p in factors:
        wider: Polynomial = {}
        for m, v in result.items():
            for n, w in p.items():
                key = tuple(sorted(m + n))
                wider[key] = wider.get(key, 0) + v * w
        result = wider
    return result if max(map(len, result)) <= DEGREE else None


def _alike(a: Polynomial | None, b: Polynomial) -> bool:
    return a is not None and all(
        math.isclose(a.get(m, 0), b.get(m, 0), rel_tol=ALIKE) for m in a.keys() | b.keys())


def _gelu(graph: _Graph, node: onnx.NodeProto) -> onnx.NodeProto | None:
    if node.op_type not in ("Mul", "Div", "Add"):
        return None
    for value in list(graph.around(node.output[0])):
        f = graph.made(value, *GELUS)
        if f is None:
            continue
        approximate, inner = GELUS[f.op_type]
        for x in list(graph.around(f.input[0])):
            if _alike(graph.polynomial(f.input[0], {x: "x"}), inner) and _alike(
                    graph.polynomial(node.output[0], {x: "x", f.output[0]: "f"}),
                    {("x",): 0.5, ("f", "x"): 0.5}) and _same_shape(graph, x, node.output[0]):
                return helper.make_node("Gelu", [x], node.output, approximate=approximate)
    return None


def _same_shape(graph: _Graph, a: str, b: str) -> bool:
    shapes = graph.source.shapes
    return a in shapes and shapes[a] == shapes.get(b)


def _chosen(graph: _Graph, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """Where whose condition is constant and the same everywhere, as for a mask that leaves all
    scores."""
    takes = graph.source.constants.get(graph.root(node.input[0]))
    if node.op_type != "Where" or takes is None or not takes.size or takes.min() != takes.max():
        return None
    chosen = node.input[1 if takes.flat[0] else 2]
    return helper.make_node("Identity", [chosen], node.output) if _same_shape(
        graph, chosen, node.output[0]) else None


def _without_nan(graph: _Graph, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """Where(t, 0, s) of a Softmax s, with t IsNaN(s), or Equal(ReduceMax(m), -inf) of a mask m that
    was added in front of s: the machine's gives zeros where there is no score."""
    if node.op_type != "Where" or graph.number(node.input[1]) != 0:
        return None
    test, softmax = graph.made(node.input[0], "IsNaN", "Equal"), graph.made(
        node.input[2], "Softmax")
    if test is None or softmax is None:
        return None
    if test.op_type == "IsNaN":
        found = graph.root(test.input[0]) == graph.root(node.input[2])
    else:
        most, add = graph.made(test.input[0], "ReduceMax"), graph.made(softmax.input[0], "Add")
        found = (most is not None and add is not None and graph.number(test.input[1]) == -math.inf
                 and graph.root(most.input[0]) in map(graph.root, add.input))
    return helper.make_node("Identity", [node.input[2]], node.output) if found else None


def _mask(graph: _Graph, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """Where(constant, x, c) in front of a Softmax, with a c so low that it is nothing beside any
    score: c is added."""
    readers = [n for n in graph.graph.node if node.output[0] in n.input]
    if node.op_type != "Where" or any(n.op_type != "Softmax" for n in readers):
        return None
    takes = graph.source.constants.get(graph.root(node.input[0]))
    for at in (1, 2) if takes is not None else ():
        low = graph.number(node.input[3 - at])
        if low is not None and low <= -LARGEST["float16"]:
            assert takes is not None
            adds = np.where(takes == (at == 1), 0, low).astype(np.float32)
            name = graph.constant(f"{node.output[0]}:mask", adds)
            return helper.make_node("Add", [node.input[at], name], node.output)
    return None


def _root_of(graph: _Graph, node: onnx.NodeProto) -> tuple[str, str] | None:
    """Of ``d / sqrt(v)``, however it is written, d and v."""
    if node.op_type == "Div":
        s = graph.made(node.input[1], "Sqrt")
        return (node.input[0], s.input[0]) if s is not None else None
    for d, r in (node.input, node.input[::-1]) if node.op_type == "Mul" else ():
        n = graph.made(r, "Reciprocal", "Div", "Pow")
        if n is None:
            continue
        if n.op_type == "Pow":
            if graph.number(n.input[1]) == -0.5:
                return d, n.input[0]
        elif n.op_type == "Reciprocal" or graph.number(n.input[0]) == 1:
            s = graph.made(n.input[-1], "Sqrt")
            if s is not None:
                return d, s.input[0]
    return None


def _mean(graph: _Graph, name: str) -> tuple[str, tuple[int, ...]] | None:
    """Of a mean over the last axes, which stay: of what, and the axes."""
    node = graph.made(name, "ReduceMean")
    if node is None or not attributes(node).get("keepdims", 1):
        return None
    axes, rank = graph.axes(node), len(graph.source.shapes.get(node.input[0], ()))
    return (node.input[0], axes) if axes and axes == tuple(range(axes[0], rank)) else None


def _normalization(graph: _Graph, node: onnx.NodeProto) -> onnx.NodeProto | None:
    found = _root_of(graph, node)
    total = found and graph.made(found[1], "Add")
    if not found or total is None:
        return None
    d = graph.root(found[0])
    for variance, e in (total.input, total.input[::-1]):
        epsilon, mean = graph.number(e), _mean(graph, variance)
        if epsilon is None or mean is None:
            continue
        square, axes = mean
        if _alike(graph.polynomial(square, dict.fromkeys(graph.twins(d), "d")), {("d", "d"): 1}):
            return _whole(graph, node, d, axes, epsilon)
    return None


def _whole(graph: _Graph, node: onnx.NodeProto, d: str, axes: tuple[int, ...], epsilon: float
           ) -> onnx.NodeProto:
    """With the mean in front of it, and scale and bias behind it."""
    difference, x = graph.made(d, "Sub"), d
    centered = difference is not None and _mean(graph, difference.input[1]) == (
        graph.root(difference.input[0]), axes)
    if centered:
        assert difference is not None
        x = graph.root(difference.input[0])
    shape, y = graph.source.shapes[x][axes[0]:], node.output[0]
    scale, y = _operand(graph, "Mul", y, shape)
    bias, y = _operand(graph, "Add", y, shape) if centered else (None, y)
    names = [graph.constant(f"{y}:scale", np.ones(shape, np.float32) if scale is None else scale)]
    if bias is not None:
        names.append(graph.constant(f"{y}:bias", bias))
    return helper.make_node("LayerNormalization" if centered else "RMSNormalization", [x, *names],
                            [y], axis=axes[0] - len(graph.source.shapes[x]), epsilon=epsilon)


def _operand(graph: _Graph, op: str, name: str, shape: tuple[int, ...]
             ) -> tuple[np.ndarray | None, str]:
    """A constant of a shape that the only reader of a value multiplies it with or adds, and the
    result; None and the value unless it is so."""
    readers = [n for n in graph.graph.node if name in n.input]
    while len(readers) == 1 and readers[0].op_type == "Identity" and graph.uses[name] == 1:
        name = readers[0].output[0]
        readers = [n for n in graph.graph.node if name in n.input]
    if len(readers) != 1 or graph.uses[name] != 1 or readers[0].op_type != op:
        return None, name
    other = readers[0].input[1 - list(readers[0].input).index(name)]
    value = graph.source.constants.get(graph.root(other))
    if value is None or value.size != int(np.prod(shape)) or not _same_shape(
            graph, name, readers[0].output[0]):
        return None, name
    return value.reshape(shape).astype(np.float32), readers[0].output[0]
