# SPDX-License-Identifier: Apache-2.0
"""A quantized network operator by operator, golden model against ONNX Runtime.

    value (integers) ─► DequantizeLinear ─► Conv ─► Relu ─► QuantizeLinear ─► value (integers)
                        └───────────────── a cluster: "Conv+Relu" ──────────┘

A difference in a whole network says little: one step in an early layer reaches everything behind
it. Here each cluster is a network of its own and gets the values that ONNX Runtime computed for the
whole one, so that a difference is the cluster's own.

The witness of a convolution or matrix product is the integer operator that ONNX Runtime fuses the
cluster into, whose arithmetic is the machine's: nothing may differ (:func:`is_exact`). The witness
of everything else is ONNX Runtime's chain of float operators, which rounds more often than the
machine and may fall on the other side of a tie; so it is for convolutions that ONNX Runtime does
not fuse, such as those with a Relu whose zero is not the smallest integer, which are counted apart.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from compiler import CompileError, compile_model
from isa.config import Config
from makalu.measure.witness import Arithmetic, fused, open_session
from runtime.golden_device import GoldenDevice
from runtime.session import Session

CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")
SHAPES = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity")
EXACT = ("Conv", "MatMul", "Gemm")
"""Operators that ONNX Runtime computes with integers when they stand between quantized values."""

IN_FLOATS = " in floats"
"""Added to the kind of a convolution or matrix product that ONNX Runtime computes otherwise."""

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Cluster:
    """Operators between quantized values.

    Parameters
    ----------
    kind : str
        The operators, joined by ``+``, without conversions, and without operators that only move
        data where there are others.
    nodes : list of onnx.NodeProto
        All of them, in the order of the graph.
    inputs : list of str
        The quantized values that go in; constants are not among them.
    output : str
        The quantized value that comes out.
    """

    kind: str
    nodes: list[onnx.NodeProto]
    inputs: list[str]
    output: str


@dataclass
class Tally:
    """Elements compared, those that differ, the largest difference in quantization steps, the
    output of the first cluster that differs, and why clusters of the kind were not compared
    (empty if all were)."""

    different: int = 0
    elements: int = 0
    largest: int = 0
    first: str = ""
    reason: str = ""

    def add(self, ours: np.ndarray, theirs: np.ndarray, name: str) -> None:
        """Count two arrays of integers that are called ``name``."""
        error = np.abs(ours.astype(np.int64) - theirs.astype(np.int64))
        self.different += int((error > 0).sum())
        self.elements += error.size
        if error.any() and not self.first:
            self.first = name
        self.largest = max(self.largest, int(error.max(initial=0)))

    def json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def is_exact(kind: str) -> bool:
    """Whether clusters of a kind are convolutions or matrix products, of which nothing may differ.
    """
    return kind.split("+")[0] in EXACT and not kind.endswith(IN_FLOATS)


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """The model with these values as its only outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names)
    return copy


def clusters(model: onnx.ModelProto) -> Iterator[Cluster]:
    """The clusters of a QDQ model, in the order of their last nodes. What reads a float input of
    the network is none: there is no quantized value in front of it."""
    constants = {i.name for i in model.graph.initializer}
    maker = {o: n for n in model.graph.node for o in n.output}
    for end in model.graph.node:
        if end.op_type != "QuantizeLinear":
            continue
        picked, inputs, todo, floats = [end], [], [end.input[0]], False
        while todo:
            value = todo.pop()
            node = maker.get(value)
            if node is None:
                floats |= bool(value) and value not in constants
            elif not any(node is p for p in picked):
                picked.append(node)
                if node.op_type != "DequantizeLinear":
                    todo += node.input
                elif node.input[0] not in constants and node.input[0] not in inputs:
                    inputs.append(node.input[0])
        if inputs and not floats:
            nodes = [n for n in model.graph.node if any(n is p for p in picked)]
            yield Cluster(_kind(nodes), nodes, inputs, end.output[0])


def _kind(nodes: list[onnx.NodeProto]) -> str:
    names = [n.op_type for n in nodes if n.op_type not in CONVERSIONS]
    return "+".join([n for n in names if n not in SHAPES] or names) or "requantization"


class _Part:
    """One cluster as a network: compiled for the golden model, and opened in ONNX Runtime."""

    def __init__(self, model: onnx.ModelProto, cluster: Cluster, values: Values, config: Config):
        info = {n: helper.make_tensor_value_info(
            n, helper.np_dtype_to_tensor_dtype(values[n].dtype), values[n].shape)
            for n in (*cluster.inputs, cluster.output)}
        used = {i for n in cluster.nodes for i in n.input}
        graph = helper.make_graph(
            cluster.nodes, "part", [info[i] for i in cluster.inputs], [info[cluster.output]],
            [i for i in model.graph.initializer if i.name in used])
        part = helper.make_model(graph, opset_imports=model.opset_import,
                                 ir_version=model.ir_version)
        self.cluster = cluster
        self._session = Session(compile_model(part, config), GoldenDevice(config))
        exact = is_exact(cluster.kind)
        integer = exact and not any(op.removeprefix("Fused") in EXACT for op in fused(part))
        self.kind = cluster.kind + (IN_FLOATS if exact and not integer else "")
        self._witness = open_session(part, Arithmetic.INTEGER if integer else Arithmetic.FLOAT)

    def compare(self, values: Values, tally: Tally) -> None:
        feed = {name: values[name] for name in self.cluster.inputs}
        ours, = self._session.run(feed).values()
        theirs, = self._witness.run(None, feed)
        tally.add(ours, theirs, self.cluster.output)


def compare_nodes(model: onnx.ModelProto, feeds: Iterable[Values], config: Config
                  ) -> dict[str, Tally]:
    """Every cluster of a QDQ model on the same values.

    Parameters
    ----------
    model : onnx.ModelProto
        The network.
    feeds : iterable of mappings
        Inputs of the network by name, each with the batch that the network is to be compiled for.
    config : Config
        The machine that the golden model is of.

    Returns
    -------
    dict of Tally
        By kind, in the order of the network; of kinds that are exact nothing may differ. Of
        clusters that the machine does not run, the reason.
    """
    found = list(clusters(model))
    given = {i.name for i in model.graph.input}
    names = sorted({v for c in found for v in (*c.inputs, c.output)} - given)
    whole = open_session(with_outputs(model, names), Arithmetic.FLOAT)
    tallies: dict[str, Tally] = {}
    parts: list[_Part] | None = None
    for feed in feeds:
        values = {**feed, **dict(zip(names, whole.run(names, dict(feed)), strict=True))}
        if parts is None:
            parts = []
            for cluster in found:
                try:
                    parts.append(_Part(model, cluster, values, config))
                    tallies.setdefault(parts[-1].kind, Tally())
                except CompileError as e:
                    tallies.setdefault(cluster.kind, Tally()).reason = str(e)
        for part in parts:
            part.compare(values, tallies[part.kind])
    return tallies
