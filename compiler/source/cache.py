# SPDX-License-Identifier: Apache-2.0
"""The key-value cache of a decoder as exporters write it, and the decoder at fixed lengths.

A cache is an input, the *past*, that only a Concat along the tokens reads, and an output, the
*present*, that the Concat makes: what an execution has computed goes behind what earlier ones have.
From opset 24 on it may be a TensorScatter into a past that has all slots, at one that is an input.
At fixed lengths that is the same: the execution's own tokens are the last.

The machine keeps it, so that its length is that of its place: as many *slots* as it is compiled
for, of which the network counts those that the attention mask says.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from compiler.ir.errors import CompileError

AXIS = 2
"""Of the tokens, in [batch, heads, tokens, width]."""


@dataclass(frozen=True)
class Cache:
    """One cache by its input, its output, and the node that makes this of that; and by the input
    that says at which slot, if the past has room for the tokens."""

    past: str
    present: str
    node: str
    write: str = ""


@dataclass(frozen=True)
class Lengths:
    """How many tokens an execution takes, how many others it has slots for in a cache, and its
    last slots, of which the last are for the execution's own tokens. The cache has ``room`` for
    more slots, which other executions read."""

    tokens: int
    context: int
    own: int
    room: int

    @property
    def slots(self) -> int:
        """All that the execution reads."""
        return self.context + self.own

    @property
    def past(self) -> int:
        """Slots in front of the execution's own tokens."""
        return self.slots - self.tokens


def caches(model: onnx.ModelProto, where: str) -> list[Cache]:
    """The caches of a model, in the order of its inputs.

    Raises
    ------
    CompileError
        If there is none, or an input looks like one but is read otherwise.
    """
    graph = model.graph
    readers = Counter(name for n in graph.node for name in n.input)
    found = []
    for value, joins, made in _continued(graph):
        rank = len(value.type.tensor_type.shape.dim)
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in joins[0].attribute}
        axis = attributes.get("axis", -2) % max(rank, 1)    # a Concat has the attribute
        others = [n for n in graph.node if value.name in n.input and n.op_type != "Shape"]
        if rank != AXIS + 2 or axis != AXIS or others != joins or readers[value.name] > len(
                joins) + sum(n.op_type == "Shape" and value.name in n.input for n in graph.node):
            raise CompileError(f"input {value.name!r}", "it is a cache that the network does not "
                               "read as [batch, heads, tokens, width] with its own tokens behind",
                               "export the model with such caches")
        write = "" if joins[0].op_type == "Concat" else _write(graph, value, joins[0], attributes)
        found.append(Cache(value.name, made, joins[0].output[0], write))
    if not found:
        raise CompileError(where, "it has no key-value cache: no input that a Concat or a "
                           "TensorScatter continues to an output",
                           "export the model with its cache (with past)")
    return found


def grows(model: onnx.ModelProto) -> bool:
    """Whether the model is a decoder: it continues a cache of any length."""
    return any(dim.dim_value == 0 for value, _, _ in _continued(model.graph)
               for dim in value.type.tensor_type.shape.dim[AXIS:AXIS + 1])


def _write(graph: onnx.GraphProto, past: onnx.ValueInfoProto, node: onnx.NodeProto,
           attributes: Mapping[str, object]) -> str:
    """The input that says where a TensorScatter writes."""
    index = node.input[2] if len(node.input) > 2 else ""
    if (index not in {i.name for i in graph.input} or attributes.get("mode", b"linear") != b"linear"
            or sum(past.name in n.input for n in graph.node) > 1
            or past.type.tensor_type.shape.dim[AXIS].dim_value):
        raise CompileError(f"node {node.name!r} (TensorScatter)", "the machine keeps caches of any "
                           "length that are linear, and whose write_indices are an input",
                           "export the model with such caches, or with a Concat")
    return index


def _continued(graph: onnx.GraphProto
               ) -> Iterator[tuple[onnx.ValueInfoProto, list[onnx.NodeProto], str]]:
    """Inputs that a Concat or TensorScatter continues to an output, with such nodes behind them and
    that output."""
    outputs = {o.name for o in graph.output}
    renamed = {n.input[0]: n.output[0] for n in graph.node
               if n.op_type == "Identity" and n.output[0] in outputs}
    constants = {t.name for t in graph.initializer}
    for value in graph.input:
        joins = [n for n in graph.node if n.input and n.input[0] == value.name and (
            n.op_type == "TensorScatter" or n.op_type == "Concat" and len(n.input) == 2)]
        made = [renamed.get(n.output[0], n.output[0]) for n in joins]
        if joins and made[0] in outputs and value.name not in constants:
            yield value, joins, made[0]


def at_lengths(model: onnx.ModelProto, found: list[Cache], lengths: Lengths) -> onnx.ModelProto:
    """The model for one execution: one sequence, every dimension fixed, and the caches no outputs.

    A dimension of another input is the past or all slots if it has the name of that of a cache, or
    if it belongs to a mask; otherwise it is that of the execution's tokens.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    graph = fixed.graph
    pasts, presents = {c.past for c in found}, {c.present for c in found}
    known = {_dimension(v): n for side, names, n in (
        (graph.input, pasts, lengths.past), (graph.output, presents, lengths.slots))
        for v in side if v.name in names}
    constants = {t.name for t in graph.initializer}
    for value in graph.input:
        if value.name in constants:
            continue
        for i, dim in enumerate(value.type.tensor_type.shape.dim):
            if value.name in pasts and i == AXIS:
                _fix(dim, lengths.past)
            elif dim.HasField("dim_value"):
                continue
            elif i == 0:
                _fix(dim, 1)
            elif value.name in pasts:
                raise CompileError(f"input {value.name!r}", f"its dimension {i} is not fixed",
                                   "export the model with a fixed number of heads and width")
            else:
                total = "mask" in value.name
                _fix(dim, known.get(dim.dim_param, lengths.slots if total else lengths.tokens))
    for cache in found:
        if cache.write:
            _append(graph, cache, lengths.past)
    outputs = [o for o in graph.output if o.name not in presents]
    del graph.output[:]
    graph.output.extend(outputs)
    del graph.value_info[:]
    return fixed


def _append(graph: onnx.GraphProto, cache: Cache, past: int) -> None:
    """A Concat for the cache's TensorScatter, whose slot becomes a constant: the last ones."""
    node = next(n for n in graph.node if n.output[0] == cache.node)
    node.CopyFrom(onnx.helper.make_node("Concat", node.input[:2], node.output, node.name,
                                        axis=AXIS))
    for i in [i for i in graph.input if i.name == cache.write]:
        graph.input.remove(i)
        graph.initializer.append(onnx.numpy_helper.from_array(np.array([past]), cache.write))


def _dimension(value: onnx.ValueInfoProto) -> str:
    """The name of a cache's number of tokens."""
    dims = value.type.tensor_type.shape.dim
    return dims[AXIS].dim_param if len(dims) > AXIS else ""


def _fix(dim: onnx.TensorShapeProto.Dimension, size: int) -> None:
    dim.ClearField("dim_param")
    dim.dim_value = size
