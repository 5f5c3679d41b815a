# SPDX-License-Identifier: Apache-2.0
"""The light models of the ``onnx`` package: true structures, to which we give synthetic weights.

``onnx`` brings well-known networks whose weights are ConstantOfShape nodes, a few kilobytes each.
Cycles do not depend on data, so the structure is all that a benchmark needs; but a network whose
activations vanish or saturate would hide a wrong bit. Hence

* weights are normal with variance 2 / fan-in (He), which keeps the second moment from one layer to
  the next behind a rectifier, and biases are small;
* normalizations are near the identity, and fold into the convolutions in front of them.

Every value comes from a generator seeded by its name: the same network each time, whatever the
order of the file. The compiler's own quantization makes INT8 of them, and the result is kept in
the cache.
"""

import importlib.metadata
import zlib
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from compiler.source import frontend, quantize
from makalu.measure.samples import random_inputs
from runtime.ports import Port
from sim.cache import digest, kept, say

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
PREFIX = "light_"

CALIBRATION = 2
"""Random inputs that the quantization sees."""

HALVES = ("convolutions", "fully_connected")
"""The parts before and behind the input of the first fully connected layer."""

IR_VERSION = 4
"""The first version in which constants need not be inputs as well."""

NORMALIZATION = {1: (0.8, 1.2), 2: (-0.1, 0.1), 3: (-0.1, 0.1), 4: (0.8, 1.2)}
"""Range of a BatchNormalization's scale, shift, mean and variance, by the number of its input."""


def available() -> list[str]:
    """Names of the light models of the installed ``onnx``."""
    return sorted(p.stem.removeprefix(PREFIX) for p in FOLDER.glob(f"{PREFIX}*.onnx"))


def structure(name: str) -> onnx.ModelProto:
    """A light model as it is, without weights.

    Raises
    ------
    ValueError
        If ``onnx`` has no such model.
    """
    if name not in available():
        raise ValueError(f"onnx has no light model {name!r}: one of {', '.join(available())}")
    return onnx.load(FOLDER / f"{PREFIX}{name}.onnx")


def model(name: str) -> onnx.ModelProto:
    """A light model in FP32 with synthetic weights."""
    proto = structure(name)
    graph = proto.graph
    tensors = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    shapes = {k: v.shape for k, v in tensors.items() if v.dtype == np.float32}
    shapes |= {n.output[0]: tuple(tensors[n.input[0]]) for n in graph.node
               if n.op_type == "ConstantOfShape"}
    values = {k: _value(k, shape, *_reader(graph, k)) for k, shape in shapes.items()}
    nodes = [n for n in graph.node if n.op_type != "ConstantOfShape"]
    used = {i for n in nodes for i in n.input}
    keep = [i for i in graph.initializer if i.name in used and i.name not in values]
    inputs = [i for i in graph.input if i.name in used and i.name not in tensors]
    del graph.node[:], graph.initializer[:], graph.input[:]
    graph.node.extend(nodes)
    graph.input.extend(inputs)
    graph.initializer.extend(keep)
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in values.items() if k in used)
    proto.ir_version = IR_VERSION
    return proto


def _reader(graph: onnx.GraphProto, value: str) -> tuple[str, int]:
    """The operator that reads a constant, behind a change of shape if there is one, and which of
    its inputs it is."""
    for n in graph.node:
        if value in n.input:
            return _reader(graph, n.output[0]) if n.op_type == "Unsqueeze" else \
                (n.op_type, list(n.input).index(value))
    return "", 0


def _value(name: str, shape: tuple[int, ...], op: str, place: int) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if op in ("Conv", "Gemm") and place == 1:
        deviation = np.sqrt(2 / np.prod(shape[1:]))
        return rng.standard_normal(shape, np.float32) * np.float32(deviation)
    low, high = NORMALIZATION[place if op == "BatchNormalization" else 1 if op == "Mul" else 2]
    return rng.uniform(low, high, shape).astype(np.float32)


def quantized(name: str) -> Path:
    """A light model with synthetic weights in INT8, from the cache if it is there."""
    sources = (Path(__file__), Path(frontend.__file__), Path(quantize.__file__))
    key = digest((FOLDER / f"{PREFIX}{name}.onnx").read_bytes(),
                 *(importlib.metadata.version(p) for p in ("onnx", "onnxruntime", "numpy")),
                 *(p.read_bytes() for p in sources))

    def make(path: Path) -> None:
        say(f"quantizing {name}, once; this may take minutes")
        onnx.save(in_int8(model(name), name), path)

    return kept("light", f"{name}-{key}.onnx", make)[0]


def in_int8(fp32: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """An FP32 network quantized with random inputs."""
    source = frontend.load(fp32, name=name)
    ports = [Port(i.name, np.dtype(np.float32), source.shapes[i.name])
             for i in source.model.graph.input]
    qdq, _ = quantize.quantize(source, [random_inputs(ports, 1 + n) for n in range(CALIBRATION)])
    return qdq


def half(name: str, part: str) -> onnx.ModelProto:
    """One of :data:`HALVES` of a light model in INT8. What passes from one to the other is the
    quantized value, so that neither has a float at the cut."""
    source = frontend.load(quantized(name))
    makers = {o: n for n in source.nodes for o in n.output}
    at = cut = next(n for n in source.nodes if n.op_type in ("Gemm", "MatMul")).input[0]
    while makers[at].op_type in ("QuantizeLinear", "DequantizeLinear", "Reshape", "Flatten"):
        cut = at if makers[at].op_type == "QuantizeLinear" else cut
        at = makers[at].input[0]
    graph = source.model.graph
    first, last = graph.input[0].name, graph.output[0].name
    return _between(source, *((first, cut) if part == HALVES[0] else (cut, last)))


def _between(source: frontend.Source, given: str, wanted: str) -> onnx.ModelProto:
    """The nodes that make one value of another."""
    nodes: list[onnx.NodeProto] = []
    todo = {wanted}
    for n in reversed(source.nodes):
        if todo.intersection(n.output) and given not in n.output:
            nodes.insert(0, n)
            todo.update(n.input)
    model = source.model
    info = [helper.make_tensor_value_info(v, source.types[v], source.shapes[v])
            for v in (given, wanted)]
    graph = helper.make_graph(nodes, source.name, info[:1], info[1:],
                              [i for i in model.graph.initializer if i.name in todo])
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
