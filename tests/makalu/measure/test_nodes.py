# SPDX-License-Identifier: Apache-2.0
"""Clusters of a small network, and what their comparison counts."""

import numpy as np
import pytest

from isa.presets import PRESETS
from makalu.measure.nodes import Tally, clusters, compare_nodes, is_exact, with_outputs
from makalu.measure.witness import Arithmetic, reference, saturates
from tests.compiler.models import Net

RNG = np.random.default_rng(0)


def network(last: str = "MaxPool", zero: int = -128) -> Net:
    """A float input, a convolution with Relu and a zero point, and another operator."""
    net = Net()
    x = net.dq(net.q(net.input("x", "float32", (1, 4, 6, 6)), 0.05, 3, "int8"), 0.05, 3, "int8")
    w = net.weights(RNG.integers(-99, 99, (5, 4, 3, 3)).astype(np.int8), 0.02)
    y = net.dq(net.q(net.op("Relu", net.op("Conv", x, w)), 0.1, zero, "int8"), 0.1, zero, "int8")
    more = {"kernel_shape": [2, 2]} if last == "MaxPool" else {}
    y = net.op("Flatten", net.op(last, y, **more))
    net.q(y, 0.1, -9, "int8")
    return net


def test_clusters_lie_between_quantized_values():
    net = network()
    model = net.model(net.nodes[-1].output[0])
    conv, pool = clusters(model)
    assert (conv.kind, pool.kind) == ("Conv+Relu", "MaxPool")
    assert pool.inputs == [conv.output] and pool.output == model.graph.output[0].name
    assert len(conv.inputs) == 1 and not conv.inputs[0].startswith("c_")
    assert [n.op_type for n in conv.nodes] == ["DequantizeLinear", "DequantizeLinear", "Conv",
                                               "Relu", "QuantizeLinear"]


@pytest.mark.skipif(saturates(), reason="ONNX Runtime saturates on this processor")
def test_counts_what_the_machine_runs_and_names_what_it_does_not():
    feeds = [{"x": RNG.normal(0, 2, (1, 4, 6, 6)).astype(np.float32)} for _ in range(3)]
    net = network("Sigmoid")
    found = compare_nodes(net.model(net.nodes[-1].output[0]), feeds, PRESETS["tiny"])
    assert found["Conv+Relu"] == Tally(0, 3 * 5 * 4 * 4)
    assert found["Sigmoid"].elements == 0 and "does not run Sigmoid" in found["Sigmoid"].reason


def test_a_convolution_that_is_not_fused_is_counted_apart():
    """ONNX Runtime keeps a Relu whose zero is not the smallest integer, and computes in floats."""
    net = network(zero=-9)
    feed = {"x": RNG.normal(0, 2, (1, 4, 6, 6)).astype(np.float32)}
    found = compare_nodes(net.model(net.nodes[-1].output[0]), [feed], PRESETS["tiny"])
    assert list(found) == ["Conv+Relu in floats", "MaxPool"]
    assert found["Conv+Relu in floats"].largest <= 1


def test_tally():
    tally = Tally()
    tally.add(np.array([1, 2], np.uint8), np.array([1, 2], np.uint8), "a")
    tally.add(np.array([0, 255], np.uint8), np.array([3, 255], np.uint8), "b")
    tally.add(np.array([-128], np.int8), np.array([127], np.int8), "c")
    assert tally == Tally(different=2, elements=5, largest=255, first="b")


def test_which_kinds_are_exact():
    assert all(map(is_exact, ("Conv", "Conv+Relu", "MatMul+Add", "Gemm")))
    assert not any(map(is_exact, ("Add+Relu", "AveragePool", "ConvTranspose",
                                 "Conv in floats")))


def test_a_model_cut_at_inner_values():
    net = network()
    model = net.model(net.nodes[-1].output[0])
    inner = next(clusters(model)).output
    x = {"x": RNG.normal(0, 2, (1, 4, 6, 6)).astype(np.float32)}
    found = reference(with_outputs(model, [inner]), x, Arithmetic.FLOAT)
    assert list(found) == [inner] and found[inner].shape == (1, 5, 4, 4)
