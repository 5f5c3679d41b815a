# SPDX-License-Identifier: Apache-2.0
"""The light models: their structure survives, their weights are the same each time, and
SqueezeNet's operators are ONNX Runtime's, bit for bit."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from isa.presets import PRESETS
from makalu import api
from makalu.measure import light
from makalu.measure.networks import HALVES, LIGHT, networks
from makalu.measure.nodes import compare_nodes, is_exact
from makalu.measure.samples import random_inputs
from makalu.measure.witness import saturates
from runtime.ports import Port


def shapes(proto: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Of every value that inference reaches; weights made by ConstantOfShape among them."""
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    made = {i.name: tuple(i.dims) for i in inferred.initializer}
    for v in [*inferred.input, *inferred.value_info, *inferred.output]:
        made.setdefault(v.name, tuple(d.dim_value for d in v.type.tensor_type.shape.dim))
    return made


def macs(proto: onnx.ModelProto) -> int:
    """Multiplications of the original graph's convolutions and matrix products."""
    size, total = shapes(proto), 0
    for n in proto.graph.node:
        if n.op_type == "Conv":
            total += int(np.prod(size[n.output[0]]) * np.prod(size[n.input[1]][1:]))
        elif n.op_type == "Gemm":
            total += int(np.prod(size[n.input[1]]))
    return total


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
def test_structure_is_preserved(name: str) -> None:
    original = light.structure(name)
    made = onnx.load(light.quantized(name))
    want, got = (Counter(n.op_type for n in m.graph.node) for m in (original, made))
    for op in ("Conv", "Gemm", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat"):
        assert got[op] == want[op], op
    assert got["Add"] == want["Sum"] and not got["Dropout"] and not got["BatchNormalization"]
    program = api.compile(light.quantized(name), "core1024", host=("all",))
    assert program.macs == macs(original) > 10**8
    assert {p["op"] for p in program.placement if p["engine"] == "host"} <= {
        "QuantizeLinear", "DequantizeLinear", "Softmax", "Flatten", "Reshape"}


def test_macs_of_resnet50_and_vgg19() -> None:
    assert macs(light.structure("resnet50")) == 4_089_184_256
    assert macs(light.structure("vgg19")) == 19_632_062_464


def test_weights_are_the_same_each_time_and_kind() -> None:
    one, two = light.model("squeezenet"), light.model("squeezenet")
    assert one.SerializeToString() == two.SerializeToString()
    weights = {i.name: numpy_helper.to_array(i) for i in one.graph.initializer}
    w = weights["fire9/expand3x3_w_0"]
    assert abs(w.std() * np.sqrt(np.prod(w.shape[1:]) / 2) - 1) < 0.02 and abs(w.mean()) < 1e-3
    assert not np.array_equal(weights["fire9/expand3x3_w_0"], weights["fire8/expand3x3_w_0"])


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
def test_activations_neither_vanish_nor_saturate(name: str) -> None:
    made = light.quantized(name).read_bytes()
    proto = onnx.load_from_string(made)
    wanted = [n.output[0] for n in proto.graph.node if n.op_type == "QuantizeLinear"]
    proto.graph.output.extend(onnx.ValueInfoProto(name=v) for v in wanted)
    session = onnxruntime.InferenceSession(proto.SerializeToString(),
                                           providers=["CPUExecutionProvider"])
    given, = session.get_inputs()
    feed = random_inputs([Port(given.name, np.dtype(np.float32), tuple(given.shape))])
    for value, name in zip(session.run(wanted, feed), wanted, strict=True):
        assert len(np.unique(value)) > 40, name
        assert np.isin(value, (127,)).mean() < 0.05, name


def test_operators_of_squeezenet_are_exact() -> None:
    proto = onnx.load(light.quantized("squeezenet"))
    given, = proto.graph.input
    feed = random_inputs([Port(given.name, np.dtype(np.float32), (1, 3, 224, 224))])
    tallies = compare_nodes(proto, [feed], PRESETS["core1024"])
    convolutions = {kind: t for kind, t in tallies.items() if is_exact(kind)}
    assert sum(t.elements for t in convolutions.values()) > 10**6
    if not saturates():
        assert all(t.different == 0 for t in convolutions.values()), convolutions


def test_unknown_light_model() -> None:
    with pytest.raises(ValueError, match="no light model 'lenet'.*squeezenet"):
        light.structure("lenet")
    assert set(LIGHT) <= set(light.available())


def test_halves_meet_in_the_quantized_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network of two layers in VGG-19's place."""
    given = np.random.default_rng(1)
    h = onnx.helper

    def constant(name: str, value: np.ndarray) -> onnx.TensorProto:
        return numpy_helper.from_array(value, name)

    nodes = [h.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
             h.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
             h.make_node("MaxPool", ["xd"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
             h.make_node("QuantizeLinear", ["p", "s", "z"], ["pq"]),
             h.make_node("DequantizeLinear", ["pq", "s", "z"], ["pd"]),
             h.make_node("Reshape", ["pd", "shape"], ["r"]),
             h.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"]),
             h.make_node("Gemm", ["r", "wd"], ["g"]),
             h.make_node("QuantizeLinear", ["g", "s", "z"], ["y"])]
    graph = h.make_graph(
        nodes, "net", [h.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 4, 4, 4))],
        [h.make_tensor_value_info("y", onnx.TensorProto.INT8, (1, 8))],
        [constant("s", np.float32(0.05)), constant("z", np.int8(0)),
         constant("shape", np.array([1, 16], np.int64)),
         constant("w", given.integers(-9, 9, (16, 8), np.int8))])
    whole = h.make_model(graph, opset_imports=[h.make_opsetid("", 20)], ir_version=10)
    monkeypatch.setattr(light, "quantized", lambda name: whole)
    front, back = (light.half("net", part) for part in light.HALVES)
    assert front.graph.output[0].name == back.graph.input[0].name == "pq"
    x = given.standard_normal((1, 4, 4, 4)).astype(np.float32)
    middle = api.run(api.compile(front, "tiny", host=("all",)), x)["pq"]
    end = api.run(api.compile(back, "tiny", host=("all",)), middle)["y"]
    assert np.array_equal(end, api.run(api.compile(whole, "tiny", host=("all",)), x)["y"])


def test_halves_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAKALU_MODELS", raising=False)
    found, left = networks()
    assert [n.label for n in found if not n.large] == ["digits_int8", "squeezenet"]
    assert [n.label for n in found][-3:] == [*(f"{HALVES}_{p}" for p in light.HALVES), HALVES]
    assert not left
