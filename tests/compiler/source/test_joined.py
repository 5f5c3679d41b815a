# SPDX-License-Identifier: Apache-2.0
"""Ranges around a Concat: which values share one, and what that costs."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from compiler.source import frontend, quantize
from compiler.source.joined import groups
from tests.compiler.models import Net, onnxruntime

SHAPE = (1, 6, 12, 12)


def fire(seed: int) -> onnx.ModelProto:
    """Two blocks of a squeeze, and of expansions whose results differ in their range."""
    rng, net, channels = np.random.default_rng(seed), Net(), SHAPE[1]
    y = net.input("x", "float32", SHAPE)

    def conv(x: str, channels: int, outputs: int, size: int, gain: float) -> str:
        w = rng.normal(0, gain / (size * channels ** 0.5), (outputs, channels, size, size))
        return net.op("Relu", net.op("Conv", x, net.constant(w.astype(np.float32)),
                                     pads=[size // 2] * 4))
    for _ in range(2):
        y = conv(y, channels, 8, 1, 1.4)
        pooled = net.op("MaxPool", conv(y, 8, 4, 1, 1), kernel_shape=[3, 3], pads=[1] * 4)
        y = net.op("Concat", conv(y, 8, 12, 1, 0.7), conv(y, 8, 12, 3, 2.8), pooled, axis=1)
        channels = 28
    return net.model(net.op("GlobalAveragePool", y), kind="float32")


def data(count: int) -> np.ndarray:
    return np.random.default_rng(9).normal(0, 1, (count, *SHAPE[1:])).astype(np.float32)


def test_operands_share_a_scale() -> None:
    qdq, _ = quantize.quantize(frontend.load(fire(0)), {"x": data(4)})
    makers = {o: n for n in qdq.graph.node for o in n.output}
    constants = {i.name: numpy_helper.to_array(i) for i in qdq.graph.initializer}
    joins = [n for n in qdq.graph.node if n.op_type == "Concat"]
    for node in joins:
        behind, = (n for n in qdq.graph.node if n.input[0] == node.output[0])
        parameters = {tuple(float(constants[p]) for p in n.input[1:])
                      for n in [behind, *(makers[i] for i in node.input)]}
        assert len(parameters) == 1
    assert len(joins) == 2


def test_who_is_read_elsewhere_keeps_its_own() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Relu", ["x"], ["b"]),
             helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[1, 1]),
             helper.make_node("MaxPool", ["a"], ["d"], kernel_shape=[1, 1]),
             helper.make_node("Concat", ["c", "d", "a"], ["e"], axis=1),
             helper.make_node("Relu", ["x"], ["f"]),
             helper.make_node("Concat", ["e", "f"], ["g"], axis=1)]
    graph = helper.make_graph(nodes, "g", [], [onnx.ValueInfoProto(name="g")])
    assert groups(graph) == [{"b", "c", "e", "f", "g"}]


def test_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ratio of signal to noise, mean of several networks, with and without."""
    ratios: list[list[float]] = [[], []]
    for seed in range(6):
        model = fire(seed)
        x = data(12)
        want = np.array([onnxruntime(model, {"x": v[None]})[0] for v in x])
        for ratio, around in zip(ratios, (lambda graph: [], groups), strict=True):
            monkeypatch.setattr(quantize, "groups", around)
            qdq, _ = quantize.quantize(frontend.load(model), {"x": x})
            got = np.array([onnxruntime(qdq, {"x": v[None]})[0] for v in x])
            ratio.append(10 * np.log10((want ** 2).sum() / ((got - want) ** 2).sum()))
    alone, shared = map(np.mean, ratios)
    assert shared > alone - 0.3 and alone > 25
