# SPDX-License-Identifier: Apache-2.0
"""The ONNX graph that grows while a net is imported.

A blob may be written many times; a value only once. Each write of a blob is a value of its own,
and the last one keeps the blob's name. The shape of every value is known at once.

A value [N, …, C] that was made from one [N, C, …] remembers it (``first``), so that operators of
order NHWC in a row need no Transposes between them; nodes without a reader go at the end. The
integers of an Int8 blob know what they stand for (``real``), and the reals of constants know their
``integers``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from compiler.ir.errors import Unsupported

OPSET = 12
"""In which Softmax flattens, as Caffe2's does."""

SMALL = 64
"""Elements of a constant whose contents shape inference may look at."""


class Graph:
    """Nodes, constants and shapes under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.types: dict[str, onnx.TypeProto] = {}
        self.hints: dict[str, str] = {}
        self.inputs: list[str] = []
        self.blobs: dict[str, str] = {}
        self.first: dict[str, str] = {}
        self.real: dict[str, str] = {}
        self.integers: dict[str, tuple[str, list[str]]] = {}
        self.where = ""

    def _value(self, kind: onnx.TypeProto, hint: str) -> str:
        name = f"{len(self.types)}"
        self.types[name], self.hints[name] = kind, hint
        return name

    def input(self, blob: str, shape: Sequence[int]) -> None:
        self.blobs[blob] = self._value(
            helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, shape), blob)
        self.inputs.append(self.blobs[blob])

    def constant(self, array: Any, hint: str = "") -> str:
        array = np.asarray(array)
        kind = helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(array.dtype),
                                             array.shape)
        name = self._value(kind, hint or f"{self.where}/constant")
        self.constants[name] = array
        return name

    def shape(self, value: str) -> tuple[int, ...]:
        return tuple(d.dim_value for d in self.types[value].tensor_type.shape.dim)

    def dtype(self, value: str) -> int:
        return self.types[value].tensor_type.elem_type

    def fixed(self, value: str, what: str) -> np.ndarray:
        """The contents of a constant.

        Raises
        ------
        Unsupported
            If it is computed.
        """
        if value not in self.constants:
            raise Unsupported(f"{what} is computed by the net", "make it a blob of the init net")
        return self.constants[value]

    def emit(self, kind: str, *inputs: str, count: int | None = None, **attributes: Any) -> Any:
        """Append a node; its output, or with ``count`` the list of its outputs."""
        node = helper.make_node(kind, inputs, [f"o{i}" for i in range(count or 1)], **attributes)
        opset = [helper.make_opsetid("", OPSET)]
        used = [i for i in dict.fromkeys(inputs) if i]
        try:
            found = onnx.shape_inference.infer_node_outputs(
                onnx.defs.get_schema(kind, OPSET), node, {i: self.types[i] for i in used},
                {i: numpy_helper.from_array(self.constants[i]) for i in used
                 if i in self.constants and self.constants[i].size <= SMALL},
                opset_imports=opset, ir_version=7)
        except Exception as e:
            text = str(e).strip().splitlines()[-1]
            raise Unsupported(f"its inputs do not fit ({text})", "correct the net, or the shapes "
                              "of its inputs") from e
        for i, name in enumerate(node.output):
            kind_of = found[name]
            if not all(d.HasField("dim_value") for d in kind_of.tensor_type.shape.dim):
                raise Unsupported("the shape of its output depends on the data", "use fixed shapes")
            node.output[i] = self._value(kind_of, f"{self.where}/{kind}")
        self.nodes.append(node)
        return list(node.output) if count else node.output[0]

    def bind(self, blob: str, value: str) -> None:
        """Let a blob hold a value from here on."""
        self.blobs[blob] = value
        if self.hints[value].startswith(f"{self.where}/"):
            self.hints[value] = blob

    def transpose(self, value: str, order: Sequence[int]) -> str:
        if value in self.constants:
            return self.constant(np.ascontiguousarray(self.constants[value].transpose(order)))
        if value in self.integers:
            integers, at = self.integers[value]
            return self.emit("DequantizeLinear", self.transpose(integers, order), *at)
        return self.emit("Transpose", value, perm=list(order))

    def channels_first(self, value: str) -> str:
        """[N, …, C] as [N, C, …]."""
        if value not in self.first:
            rank = len(self.shape(value))
            self.first[value] = self.transpose(value, [0, rank - 1, *range(1, rank - 1)])
        return self.first[value]

    def channels_last(self, value: str) -> str:
        """[N, C, …] as [N, …, C], remembered."""
        rank = len(self.shape(value))
        last = self.transpose(value, [0, *range(2, rank), 1])
        self.first[last] = value
        return last

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        if value in self.constants:
            return self.constant(self.constants[value].reshape(shape))
        if value in self.integers:
            integers, at = self.integers[value]
            return self.emit("DequantizeLinear", self.reshape(integers, shape), *at)
        return self.emit("Reshape", value, self.constant(np.array(shape, np.int64)))

    def pointwise(self, kind: str, *values: str, **attributes: Any) -> str:
        """An operator that acts alike on every element, in the order that costs no Transposes."""
        if all(v in self.first for v in values) and len({self.shape(v) for v in values}) == 1:
            return self.channels_last(
                self.emit(kind, *(self.first[v] for v in values), **attributes))
        return self.emit(kind, *values, **attributes)

    def dequantize(self, value: str, scale: float, zero: int) -> None:
        """Let ``real`` of an integer value be ``(value - zero) scale``."""
        at = [self.constant(np.float32(scale))]
        if self.dtype(value) == onnx.TensorProto.UINT8:
            at.append(self.constant(np.uint8(zero)))
        self.real[value] = self.emit("DequantizeLinear", value, *at)
        if value in self.constants:  # another order of weights is one of the integers
            self.integers[self.real[value]] = (value, at)
        if value in self.first:
            self.first[self.real[value]] = self.emit("DequantizeLinear", self.first[value], *at)

    def quantize(self, value: str, scale: float, zero: int) -> str:
        """A float value as uint8, in the order that costs no Transposes."""
        at = [self.constant(np.float32(scale)), self.constant(np.uint8(zero))]
        if value in self.first:
            first = self.emit("QuantizeLinear", self.first[value], *at)
            found = self.channels_last(first)
        else:
            found = self.emit("QuantizeLinear", value, *at)
        self.dequantize(found, scale, zero)
        return found

    def model(self, outputs: Sequence[str], name: str) -> onnx.ModelProto:
        """The finished model; ``outputs`` are blobs."""
        results = []
        for blob in outputs:
            value = self.blobs[blob]
            if value in self.inputs or value in self.constants or value in results:
                self.where = blob
                value = self.emit("Identity", value)
            results.append(value)
        needed, nodes = set(results), []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                nodes.append(node)
        names = self._names(dict(zip(results, outputs)), needed)
        for node in nodes:
            node.input[:] = [names[i] if i else "" for i in node.input]
            node.output[:] = [names[o] for o in node.output]
            node.name = node.output[0]

        def info(value: str) -> onnx.ValueInfoProto:
            return helper.make_value_info(names[value], self.types[value])
        graph = helper.make_graph(
            nodes[::-1], name, [info(i) for i in self.inputs], [info(r) for r in results],
            [numpy_helper.from_array(v, names[k]) for k, v in self.constants.items()
             if k in needed])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)],
                                 ir_version=7, producer_name="caffe2")

    def _names(self, outputs: dict[str, str], needed: set[str]) -> dict[str, str]:
        """A name for each value: inputs and outputs first, then the last write of a blob."""
        wanted = {i: self.hints[i] for i in self.inputs} | outputs
        wanted |= {v: b for b, v in self.blobs.items() if v not in wanted and v in needed}
        names: dict[str, str] = {}
        taken: set[str] = set()
        for value in [*wanted, *(v for v in self.types if v not in wanted)]:
            base = name = wanted.get(value, self.hints[value])
            count = 0
            while name in taken:
                count += 1
                name = f"{base}_{count}"
            taken.add(name)
            names[value] = name
        return names
