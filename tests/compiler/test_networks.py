# SPDX-License-Identifier: Apache-2.0
"""Whole networks against ONNX Runtime, as a whole and node by node on the same inputs.

The models are not part of the project: ``MAKALU_MODELS`` names their folder.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler import compile_model
from isa.presets import PRESETS
from tests.compiler.models import execute, onnxruntime

FOLDER = os.environ.get("MAKALU_MODELS", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="MAKALU_MODELS names no folder of models")

FILES = {"resnet8": "ic_resnet8/ic_resnet8_int8_qdq.onnx",
         "dscnn": "kws_dscnn/kws_dscnn_int8_qdq.onnx",
         "mobilenet": "mobilenet_v1_025_128/mobilenet_v1_025_128_uint8_qdq.onnx"}
EDGE = {"DequantizeLinear", "QuantizeLinear"}


def load(name: str) -> onnx.ModelProto:
    model = onnx.load(Path(FOLDER) / FILES[name])
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return onnx.shape_inference.infer_shapes(model)


def samples(name: str, model: onnx.ModelProto, count: int) -> Iterator[np.ndarray]:
    """Real features for the keyword network, smooth random images for the others."""
    tensor = model.graph.input[0].type.tensor_type
    shape = [d.dim_value for d in tensor.shape.dim]
    rng = np.random.default_rng(0)
    for i in range(count):
        if name == "dscnn":
            yield np.load(Path(FOLDER) / "kws_dscnn/mfcc_400.npz")["mfcc"][i:i + 1]
            continue
        step = shape[1] // 8
        coarse = rng.integers(0, 256, (1, 8, 8, 3)).repeat(step, 1).repeat(step, 2)
        image = (coarse + rng.integers(-20, 20, shape)).clip(0, 255)
        yield image.astype(np.uint8) if tensor.elem_type == 2 else (image - 128).astype(np.int8)


def with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names)
    return copy


@pytest.mark.parametrize("machine", list(PRESETS))
@pytest.mark.parametrize("name", list(FILES))
def test_network(name: str, machine: str) -> None:
    model = load(name)
    program = compile_model(model, PRESETS[machine], allow_host={"Softmax"})
    # with its edges on the host the program's output are the logits
    witness = with_outputs(model, [b.name for b in program.outputs])
    for x in samples(name, model, 1 if machine == "tiny" else 2):
        got, = execute(program, {program.inputs[0].name: x}).values()
        want, = onnxruntime(witness, {model.graph.input[0].name: x})
        assert got.argmax() == want.argmax()
        assert np.abs(got.astype(int) - want.astype(int)).max() <= 2


def clusters(model: onnx.ModelProto) -> Iterator[tuple[str, list[onnx.NodeProto], list[str], str]]:
    """Operators between quantized values: kind, nodes, inputs, output."""
    constants = {i.name for i in model.graph.initializer}
    maker = {o: n for n in model.graph.node for o in n.output}
    for end in model.graph.node:
        if end.op_type != "QuantizeLinear":
            continue
        picked, inputs, todo = [end], [], [end.input[0]]
        while todo:
            value = todo.pop()
            node = maker.get(value)
            if node is None or any(node is p for p in picked):
                continue
            picked.append(node)
            if node.op_type != "DequantizeLinear":
                todo += node.input
            elif node.input[0] not in constants:
                inputs.append(node.input[0])
        nodes = [n for n in model.graph.node if any(n is p for p in picked)]
        kind = "+".join(n.op_type for n in nodes if n.op_type not in EDGE)
        yield kind, nodes, inputs, end.output[0]


def test_conv_and_matmul_nodes_equal_qlinear(request: pytest.FixtureRequest) -> None:
    """Convolutions of the networks as ONNX Runtime's fused integer operators: no mismatch."""
    for name in FILES:
        model = load(name)
        x = next(iter(samples(name, model, 1)))
        parts = [c for c in clusters(model) if "Softmax" not in c[0]]
        names = sorted({v for _, _, i, o in parts for v in (*i, o)} - {model.graph.input[0].name})
        values = dict(zip(names, onnxruntime(with_outputs(model, names),
                                             {model.graph.input[0].name: x}), strict=True))
        values[model.graph.input[0].name] = x
        wrong: dict[str, list[int]] = {}
        for kind, nodes, inputs, out in parts:
            info = {n: helper.make_tensor_value_info(
                n, helper.np_dtype_to_tensor_dtype(values[n].dtype), values[n].shape)
                for n in (*inputs, out)}
            used = {i for n in nodes for i in n.input}
            graph = helper.make_graph(nodes, "part", [info[i] for i in inputs], [info[out]],
                                      [i for i in model.graph.initializer if i.name in used])
            part = helper.make_model(graph, opset_imports=model.opset_import,
                                     ir_version=model.ir_version)
            feed = {i: values[i] for i in inputs}
            got, = execute(compile_model(part, PRESETS["core256"]), feed).values()
            exact = kind.startswith(("Conv", "MatMul"))
            want, = onnxruntime(part, feed, fuse=exact)
            error = np.abs(got.astype(int) - want.astype(int))
            count = wrong.setdefault(kind, [0, 0])
            count[0] += int((error > 0).sum())
            count[1] += error.size
            assert error.max(initial=0) <= 1, kind
        for kind, (bad, total) in wrong.items():
            if kind.startswith(("Conv", "MatMul")):
                assert bad == 0, (name, kind, bad, total)
            elif kind.startswith("Add"):
                assert bad <= total / 1000, (name, kind, bad, total)
            # a mean over 2**k elements of equal scale ties in one element of 2**k, and ONNX
            # Runtime's float sum then falls on either side
