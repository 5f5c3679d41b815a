# SPDX-License-Identifier: Apache-2.0
"""The ONNX graph as quantized operators (:mod:`compiler.ir.graph`), and what is left to the host.

Nodes are read in order; :mod:`compiler.lower.values` says what becomes of their values. A node that
the machine does not run goes to the host only at an edge of the graph and only if the user allowed
its operator; QuantizeLinear, DequantizeLinear and shape operators next to such a node go with it.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import onnx

from compiler.ir.errors import CompileError, Unsupported
from compiler.ir.graph import Graph, Port
from compiler.lower.builder import Builder
from compiler.lower.finish import as_number, stored
from compiler.lower.moves import copied, demand
from compiler.lower.operators import HANDLERS
from compiler.lower.values import (INF, Deq, Host, Linear, Quantized, Real, Storage, Weights,
                                   as_view, canonical, identity, is_number)
from compiler.source.frontend import Source
from isa.errors import SUPPORTED

CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")
"""Between floats and integers: a network with one of them at its edge has the other as well."""

RIDE_ALONG = {*CONVERSIONS, "Reshape", "Flatten", "Transpose", "Squeeze",
              "Unsqueeze", "Identity"}
"""Operators that may follow a host operator onto the host."""

REALS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
"""Types of inputs that are floats."""

CLIPS = {"Relu", "Clip"}
AFFINE = {"BatchNormalization", "Add", "Sub", "Mul", "Div"}
"""Operators that go on with a value in binary32: any, and a convolution's with constants."""

Value = Quantized | Real | Weights | Host | np.ndarray


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
    return _Walk(source, allow_host, floats).run()


class _Walk:
    """One run over a graph: the value of every name, and what the host has to do."""

    def __init__(self, source: Source, allow_host: Collection[str], floats: str):
        self.source, self.allow = source, set(allow_host)
        self.build = Builder([n.name for n in source.nodes], floats)
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for n in source.nodes:
            for name in n.input:
                self.readers.setdefault(name, []).append(n)
        self.makers = {o: n for n in source.nodes for o in n.output}
        self.values: dict[str, Value] = {}
        self.pre: list[onnx.NodeProto] = []
        self.post: list[onnx.NodeProto] = []
        self.placement: list[dict[str, str]] = []
        self.crossing: dict[str, Quantized] = {}

    def run(self) -> Legal:
        """Lower every node, then bind inputs and outputs."""
        s = self.source
        for value in s.model.graph.input:
            if value.name in s.constants:
                continue
            kind = s.types[value.name]
            if kind in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8):
                self.values[value.name] = self.build.new_input(
                    value.name, s.shapes[value.name],
                    "int8" if kind == onnx.TensorProto.INT8 else "uint8")
            elif self.build.floats and kind in REALS and not self._quantized_before(value.name):
                q = self.build.new_input(value.name, s.shapes[value.name], self.build.floats)
                self.values[value.name] = Real(Deq(q, np.float32(1), 0))
            else:
                self.values[value.name] = Host(True)
        for self.build.node, node in enumerate(s.nodes):
            self._place(node)
        self._bind_edges()
        return Legal(self.build.graph, self.build.inputs, self.crossing, self.pre, self.post,
                     self.placement, self.build.quantization)

    def _quantized_before(self, name: str) -> bool:
        """Whether the host quantizes an input, perhaps moved before: it may, and nobody wants it
        otherwise."""
        return name in self.readers and all(
            {n.op_type, "all"} & self.allow and (
                n.op_type == "QuantizeLinear"
                or (n.op_type in RIDE_ALONG and self._quantized_before(n.output[0])))
            for n in self.readers[name])

    def get(self, name: str) -> Value | None:
        """The value of an input name; None for an absent optional input."""
        if not name:
            return None
        if name in self.values:
            return self.values[name]
        return self.source.constants.get(name)

    def _place(self, node: onnx.NodeProto) -> None:
        inputs = [self.get(n) for n in node.input]
        hosts = [v for v in inputs if isinstance(v, Host)]
        late = [v for v in hosts if not v.early]
        if hosts:
            return self._to_host(node, inputs, bool(late), None)
        plain = node.domain in ("", "ai.onnx")
        handler = HANDLERS.get(node.op_type if plain else f"{node.domain}.{node.op_type}")
        try:
            if handler is None:
                raise Unsupported(f"the machine does not run {node.op_type}")
            outputs = [replace(v, node=self.build.node) if isinstance(v, Real) and v.node < 0 else v
                       for v in handler(self.build, node, inputs)]
            if self.build.floats:
                outputs = [self._stored(name, v) for name, v in zip(node.output, outputs)]
        except Unsupported as e:
            return self._to_host(node, inputs, True, e)
        self.values.update(zip(node.output, outputs))
        self.placement.append({"node": node.name, "op": node.op_type, "engine": "none",
                               "reason": "folded into its neighbors"})

    def _stored(self, name: str, value: Value) -> Value:
        """A float value in its type, unless its only reader goes on with it in binary32."""
        if not isinstance(value, Real) or (
                isinstance(value.expr, Deq) and (value.lo, value.hi) == (-INF, INF)):
            return value
        readers = self.readers.get(name, [])
        outputs = {o.name for o in self.source.model.graph.output}
        if len(readers) == 1 and name not in outputs and (
                readers[0].op_type in {*CLIPS, "QuantizeLinear"}
                or (readers[0].op_type in AFFINE and isinstance(value.expr, Linear)
                    and (value.lo, value.hi) == (-INF, INF)
                    and any(n in self.source.constants for n in readers[0].input))):
            return value
        return Real(stored(self.build, value, name))

    def permission(self, op: str) -> str:
        """The cure that lets the host run an operator, with what it is allowed already."""
        more = CONVERSIONS if op in CONVERSIONS else (op,)
        names = [*sorted(self.allow - {*more}), *more]
        return f"allow it on the host: --host {','.join(names)}, or --host all"

    def _to_host(self, node: onnx.NodeProto, inputs: list, late: bool,
                 why: Unsupported | None) -> None:
        early = not late and all(v is None or isinstance(v, np.ndarray | Weights)
                                 or (isinstance(v, Host) and v.early) for v in inputs)
        along = node.op_type in RIDE_ALONG and any(
            isinstance(v, Host) and v.node not in ("", node.name) for v in inputs)
        if not (node.op_type in self.allow or "all" in self.allow or along):
            origin = next((v.node for v in inputs if isinstance(v, Host) and v.node), "")
            reason = why.reason if why else (
                f"{node.op_type} works on values that the host computes"
                + (f" (node {origin!r})" if origin else " (a float input)"))
            cure = why.cure if why and why.cure else self.permission(node.op_type)
            raise CompileError(f"node {node.name!r} ({node.op_type})", reason,
                               f"{cure} (what the machine runs: {SUPPORTED})")
        (self.pre if early else self.post).append(node)
        self.placement.append({
            "node": node.name, "op": node.op_type, "engine": "host",
            "reason": why.reason if why else "its input or output is the host's"})
        for name, v in zip(node.input, inputs):
            if not early and isinstance(v, Host) and v.early:
                raise CompileError(f"node {node.name!r} ({node.op_type})",
                                   "it mixes a value from before the machine with one from behind",
                                   "give that value as an output of its own")
            if not early and isinstance(v, (Quantized, Real)):
                self._leave(name, v)
            if isinstance(v, Weights):
                self._computed_twice(name, self.pre if early else self.post)
        enters = early and node.op_type in ("QuantizeLinear", "Cast") and \
            self.source.types.get(node.output[0]) in (onnx.TensorProto.INT8,
                                                      onnx.TensorProto.UINT8)
        for name in node.output:
            if enters:
                kind = self.source.types[name]
                self.values[name] = self.build.new_input(
                    name, self.source.shapes[name],
                    "int8" if kind == onnx.TensorProto.INT8 else "uint8")
            else:
                self.values[name] = Host(early, node.name)

    def _computed_twice(self, name: str, nodes: list[onnx.NodeProto]) -> None:
        """The host needs quantized weights as well: it dequantizes them itself."""
        maker = self.makers[name]
        if any(maker is n for n in nodes):
            return
        for given in maker.input:
            if isinstance(self.get(given), Weights):
                self._computed_twice(given, nodes)
        nodes.append(maker)

    def _leave(self, name: str, value: Value | None) -> None:
        """The host needs a machine value: the quantized value crosses, and what makes a real one
        of it runs on the host."""
        if isinstance(value, Quantized):
            self.crossing[name] = value
            return
        if isinstance(value, Real) and isinstance(value.expr, Deq) and is_number(value.expr):
            self.crossing[name] = value.expr.q
            return
        maker = self.makers.get(name)
        if maker is None or maker.op_type not in RIDE_ALONG or not isinstance(value, Real) \
                or not isinstance(value.expr, Deq):
            raise CompileError(f"value {name!r}", "the host needs it, but it is not quantized",
                               "quantize it (QuantizeLinear and DequantizeLinear behind it)")
        if not any(maker is n for n in self.post):
            self.post.append(maker)
            for row in self.placement:
                if row["node"] == maker.name:
                    row.update(engine="host", reason="gives the host a real value")
        self._leave(maker.input[0], self.values[maker.input[0]])

    def _bind_edges(self) -> None:
        for value in self.source.model.graph.output:
            v = self.get(value.name)
            self.build.node = self._position(value.name)
            if isinstance(v, Quantized):
                self.crossing[value.name] = v
            elif isinstance(v, Real):
                maker = self.makers.get(value.name)
                allowed = maker is not None and bool({maker.op_type, "all"} & self.allow)
                if self.build.floats and isinstance(v.expr, Deq) and not allowed:
                    v = Real(as_number(self.build, v.expr))
                number = isinstance(v.expr, Deq) and is_number(v.expr)
                if not allowed and not number:
                    op = maker.op_type if maker else "Identity"
                    where = f"node {maker.name!r} ({op})" if maker else f"output {value.name!r}"
                    raise CompileError(
                        where, f"the network's output {value.name!r} is a float value, and the "
                        "machine gives INT8", self.permission(op)
                        if isinstance(v.expr, Deq) else
                        "quantize it (QuantizeLinear and DequantizeLinear behind it)")
                self._leave(value.name, v)
            elif not isinstance(v, Host) or v.early:
                raise self._nothing_for(value.name, v)
        for name, q in self.crossing.items():
            self.build.node = self._position(name)
            self.build.graph.outputs.append(self._output(name, q))
        for s in self.build.inputs:
            if s.tensor is not None:
                self.build.graph.inputs.append(Port(s.name, s.tensor, s.shape, s.view, s.perm,
                                              s.tensor.nchw))
        if not self.build.graph.outputs:
            raise CompileError(self.source.name, "nothing of it runs on the machine",
                               "give a quantized network")

    def _nothing_for(self, name: str, value: Value | None) -> CompileError:
        """An output that is constant, an input, or computed by the host alone."""
        where = f"output {name!r}"
        if not isinstance(value, Host) or not value.node:
            return CompileError(where, "the machine has nothing to compute for it",
                                "remove the output from the model")
        names = (i.name for i in self.source.model.graph.input
                 if isinstance(self.values.get(i.name), Host))
        kinds = ", ".join(f"{n!r} ({onnx.TensorProto.DataType.Name(self.source.types[n])})"
                          for n in names)
        return CompileError(
            where, f"the host computes all of it, from input {kinds} on", "cut the model behind "
            "what the host has to do, so that the machine's part has INT8, UINT8 or (--precision "
            f"fp16) FLOAT inputs ({SUPPORTED})")

    def _position(self, name: str) -> int:
        """Position of the node that made a value; -1: the host or nobody did."""
        maker = self.makers.get(name)
        if maker is None or any(maker is n for n in (*self.pre, *self.post)):
            return -1
        return self.build.graph.nodes.index(maker.name)

    def _output(self, name: str, q: Quantized) -> Port:
        if not q.index.size:
            raise CompileError(f"output {name!r}", "it has no elements",
                               "remove it from the model")
        tensor = self.build.settle(q)
        index = q.positions()
        if any(s.tensor is tensor for s in self.build.inputs):
            tensor = copied(self.build, q, name)
        view = None
        if index.size == int(np.prod(tensor.nchw)) and (index >= 0).all():
            order = np.full(index.size, -1, np.int32)
            order[index.ravel()] = np.arange(index.size, dtype=np.int32)
            if (order >= 0).all():
                view = as_view(order.reshape(tensor.nchw))
        if view is None:
            shape = canonical(index.shape) or (1, 1, 1, index.size)
            tensor = demand(self.build, q, q.index.reshape(shape), tensor.zero_point)
            view = as_view(identity(tensor.nchw))
            assert view is not None
        return Port(name, tensor, tuple(index.shape), *view, tensor.nchw)
