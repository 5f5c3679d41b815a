# SPDX-License-Identifier: Apache-2.0
"""What passes between host and machine: inputs, outputs, and values in the middle."""

import numpy as np
import onnx

from compiler.ir.errors import CompileError
from compiler.ir.graph import Port
from compiler.lower.builder import Builder
from compiler.lower.finish import as_number, stored
from compiler.lower.moves import copied, demand
from compiler.lower.permission import RIDE_ALONG, Permission
from compiler.lower.values import (Deq, Host, Quantized, Real, Value, Weights, as_view, canonical,
                                   identity, is_number)
from compiler.source.frontend import Source


class Edges:
    """The edges of the machine's part of a network.

    Parameters
    ----------
    source : Source
    build : Builder
        Of the machine's part.
    host : Permission
    values : dict of str to Value
        Of every name, as far as it is known.

    Members
    -------
    pre, post : list of onnx.NodeProto
        What the host computes before and behind the machine.
    passing : set of str
        Inputs, and values from before the machine, that the host reads behind it.
    crossing : dict of str to Quantized
        What the machine gives to the host, by ONNX name.
    placement : list of dict
        As of :class:`compiler.lower.legalize.Legal`.
    """

    def __init__(self, source: Source, build: Builder, host: Permission,
                 values: dict[str, Value]):
        self.source, self.build, self.host, self.values = source, build, host, values
        self.makers = {o: n for n in source.nodes for o in n.output}
        self.pre: list[onnx.NodeProto] = []
        self.post: list[onnx.NodeProto] = []
        self.passing: set[str] = set()
        self.crossing: dict[str, Quantized] = {}
        self.placement: list[dict[str, str]] = []

    def get(self, name: str) -> Value | None:
        """The value of an input name; None for an absent optional input."""
        if not name:
            return None
        if name in self.values:
            return self.values[name]
        return self.source.constants.get(name)

    def computed_twice(self, name: str, nodes: list[onnx.NodeProto]) -> None:
        """The host needs quantized weights as well: it dequantizes them itself."""
        maker = self.makers[name]
        if any(maker is n for n in nodes):
            return
        for given in maker.input:
            if isinstance(self.get(given), Weights):
                self.computed_twice(given, nodes)
        nodes.append(maker)

    def leave(self, name: str, value: Value | None) -> None:
        """The host needs a value behind the machine. One from before it passes by; of the machine's
        the quantized value crosses, and what makes a real one of it runs on the host."""
        made = self.makers.get(name)
        if isinstance(value, Host):
            if value.early:
                self.passing.add(name)
        elif made is None or any(made is n for n in self.pre):
            self.passing.add(name)
        else:
            self._cross(name, value)

    def _cross(self, name: str, value: Value | None) -> None:
        if isinstance(value, Quantized):
            self.crossing[name] = value
            return
        if isinstance(value, Real) and isinstance(value.expr, Deq) and is_number(value.expr):
            number = value.expr if value.expr.scale == 1 else stored(self.build, value, name)
            self.crossing[name] = number.q
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
        self.leave(maker.input[0], self.values[maker.input[0]])

    def bind(self) -> None:
        """Bind the network's inputs and outputs.

        Raises
        ------
        CompileError
            If an output is not quantized, or the machine has nothing to compute.
        """
        for value in self.source.model.graph.output:
            v = self.get(value.name)
            self.build.node = self._position(value.name)
            if isinstance(v, Quantized):
                self.crossing[value.name] = v
            elif isinstance(v, Real):
                maker = self.makers.get(value.name)
                allowed = maker is not None and self.host.may(maker.op_type)
                if self.build.floats and isinstance(v.expr, Deq) and not allowed:
                    v = Real(as_number(self.build, v.expr))
                number = isinstance(v.expr, Deq) and is_number(v.expr)
                if not allowed and not number:
                    op = maker.op_type if maker else "Identity"
                    where = f"node {maker.name!r} ({op})" if maker else f"output {value.name!r}"
                    raise CompileError(
                        where, f"the network's output {value.name!r} is a float value, and the "
                        "machine gives INT8", self.host.cure(op)
                        if isinstance(v.expr, Deq) else
                        "quantize it (QuantizeLinear and DequantizeLinear behind it)")
                self._cross(value.name, v)
            elif not isinstance(v, Host) or v.early:
                raise self.host.nothing_for(value.name, v, self.values)
        if not self.crossing:  # the host computes it all: what it reads goes through the machine
            for name in sorted(self.passing):
                if isinstance(self.values[name], Quantized | Real):
                    self.passing.discard(name)
                    self._cross(name, self.values[name])
        for name, q in self.crossing.items():
            self.build.node = self._position(name)
            self.build.graph.outputs.append(self._output(name, q))
        for s in self.build.inputs:
            if s.tensor is not None:
                self.build.graph.inputs.append(Port(s.name, s.tensor, s.shape, s.view, s.perm,
                                              s.tensor.nchw))
        if not self.build.graph.outputs:
            name = self.source.model.graph.output[0].name
            raise self.host.nothing_for(name, self.get(name), self.values)

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
