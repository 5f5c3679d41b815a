# SPDX-License-Identifier: Apache-2.0
"""An FP32 model of which some layers are quantized and the others are kept as floats.

The parameters are those of the model quantized as a whole (:mod:`compiler.source.quantize`). A
quantized layer gets QuantizeLinear and DequantizeLinear in front of its operands; a layer that is
kept reads what the layer before has computed, before that is quantized. Operators that only clip or
move elements belong to the layer before.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import onnx

from compiler.ir.errors import CompileError
from compiler.ir.floats import FLOATS
from compiler.source.quantize import OPERATORS

CLIPS = {"Relu", "Clip"}
SHAPES = {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity"}

KEPT_TYPE = "fp16"
"""What layers are kept in unless told otherwise."""


@dataclass
class Recipe:
    """What is needed to quantize any of a model's layers.

    Attributes
    ----------
    plain : onnx.ModelProto
        FP32.
    layers : dict of str to str
        Layers that can be quantized, in the graph's order: node and operator.
    """

    plain: onnx.ModelProto
    layers: dict[str, str] = field(default_factory=dict)
    _activations: dict[str, list[str]] = field(default_factory=dict)
    _constants: dict[str, onnx.NodeProto] = field(default_factory=dict)
    _parameters: dict[str, onnx.TensorProto] = field(default_factory=dict)

    @classmethod
    def of(cls, qdq: onnx.ModelProto, plain: onnx.ModelProto) -> "Recipe":
        """From the two models of :func:`compiler.source.quantize.quantize`."""
        recipe = cls(plain, _parameters={i.name: i for i in qdq.graph.initializer})
        dequantized = set()
        for n in qdq.graph.node:
            if n.op_type == "QuantizeLinear":
                recipe._activations[n.input[0]] = list(n.input[1:])
            elif n.op_type == "DequantizeLinear":
                dequantized.add(n.output[0])
                if n.input[0] in recipe._parameters:
                    recipe._constants[n.input[0].removesuffix("_quantized")] = n
        names = {n.name for n in qdq.graph.node if dequantized.intersection(n.input)}
        recipe.layers = {n.name: n.op_type for n in plain.graph.node
                         if n.name in names and n.op_type in OPERATORS
                         and n.op_type not in CLIPS | SHAPES}
        return recipe

    def compose(self, kept: Collection[str]) -> onnx.ModelProto:
        """The model with all layers quantized but those."""
        return _Composer(self, kept).model


class _Composer:
    """The model that :meth:`Recipe.compose` gives."""

    def __init__(self, recipe: Recipe, kept: Collection[str]):
        self._recipe, self._kept = recipe, set(kept)
        self.model = onnx.ModelProto()
        self.model.CopyFrom(recipe.plain)
        graph = self.model.graph
        self._maker = {o: n for n in graph.node for o in n.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for n in graph.node:
            for name in n.input:
                self._readers.setdefault(name, []).append(n)
        self._outputs = {o.name for o in graph.output}
        self._made: dict[str, str] = {}
        self._nodes: dict[str, list[onnx.NodeProto]] = {}
        self._used: set[str] = set()
        for n in list(graph.node):
            if self._quantized(n):
                for k, name in enumerate(n.input):
                    n.input[k] = self._operand(name)
        self._finish()

    def _quantized(self, n: onnx.NodeProto) -> bool:
        return n.name in self._recipe.layers and n.name not in self._kept

    def _operand(self, name: str) -> str:
        """The dequantized value in place of ``name``."""
        if name in self._recipe._constants:
            constant = self._recipe._constants[name]
            if name not in self._made:
                self._made[name] = name + "_dequantized"
                node = onnx.NodeProto()
                node.CopyFrom(constant)
                node.output[0] = self._made[name]
                self._use([node], "")
            return self._made[name]
        at = name
        while (maker := self._maker.get(at)) is not None and maker.op_type in SHAPES \
                and self._whole(maker.input[0]):
            at = maker.input[0]
        if at != name:  # quantized in front of what moves it
            if at not in self._made:
                self._bracket(at)
                for reader in self._readers[at]:
                    if reader.op_type in SHAPES:
                        reader.input[0] = self._made[at]
            return name
        if name not in self._recipe._activations:
            return name
        if name not in self._made:
            self._bracket(name)
        return self._made[name]

    def _whole(self, name: str) -> bool:
        """Whether a value may be quantized as such: all who read it want that."""
        return (name in self._recipe._activations and name not in self._outputs
                and all(self._quantized(r) or (r.op_type in SHAPES and r.input[0] == name
                                               and self._moved(r.output[0]))
                        for r in self._readers[name]))

    def _moved(self, name: str) -> bool:
        """The same of a value that has been moved, whose parameters may be the ones before."""
        return name not in self._outputs and all(
            self._quantized(r) or (r.op_type in SHAPES and self._moved(r.output[0]))
            for r in self._readers.get(name, []))

    def _bracket(self, name: str) -> None:
        integers, self._made[name] = name + "_integers", name + "_dequantized"
        parameters = self._recipe._activations[name]
        self._use([
            onnx.helper.make_node("QuantizeLinear", [name, *parameters], [integers],
                                  name=name + "_quantize"),
            onnx.helper.make_node("DequantizeLinear", [integers, *parameters], [self._made[name]],
                                  name=name + "_dequantize")], name)

    def _use(self, nodes: list[onnx.NodeProto], after: str) -> None:
        """Place nodes behind the maker of a value; their parameters are needed."""
        self._nodes.setdefault(after, []).extend(nodes)
        self._used.update(i for n in nodes for i in n.input if i in self._recipe._parameters)

    def _finish(self) -> None:
        graph = self.model.graph
        inputs = {i.name for i in graph.input}
        nodes = [n for value, made in self._nodes.items() if not value or value in inputs
                 for n in made]
        for n in graph.node:
            nodes += [n, *(q for o in n.output for q in self._nodes.get(o, []))]
        del graph.node[:]
        graph.node.extend(nodes)
        read = {name for n in nodes for name in n.input}
        constants = [i for i in graph.initializer if i.name in read]
        del graph.initializer[:]
        graph.initializer.extend(constants)
        have = {i.name for i in constants}
        graph.initializer.extend(self._recipe._parameters[name]
                                 for name in sorted(self._used - have))


def by_hand(recipe: Recipe, keep: Mapping[str, str]) -> tuple[str, list[dict[str, str]]]:
    """Check layers that the user keeps, and say what becomes of each.

    Returns
    -------
    str, list of dict
        The type that they are kept in, and a row for each layer.

    Raises
    ------
    CompileError
        If there is no such layer or type, or if there are two types.
    """
    for layer, precision in keep.items():
        if layer not in recipe.layers:
            raise CompileError(f"--keep {layer}={precision}", "the model has no such layer",
                               f"name one of {', '.join(recipe.layers)}")
        if precision not in (*FLOATS, "int8"):
            raise CompileError(f"--keep {layer}={precision}", "there is no such type",
                               f"use one of int8, {', '.join(FLOATS)}")
    types = sorted(set(keep.values()) - {"int8"}) or [KEPT_TYPE]
    if len(types) > 1:
        raise CompileError(f"--keep …={types[0]} and …={types[1]}", "a network has one type of "
                           "floats", "keep all layers in the same")
    return types[0], [{"layer": name, "op": op, "type": keep.get(name, "int8"),
                       "reason": "by hand" if name in keep else "not kept"}
                      for name, op in recipe.layers.items()]
