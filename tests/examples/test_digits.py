# SPDX-License-Identifier: Apache-2.0
"""The shipped networks are what they claim: held-out accuracy, standard QDQ INT8, small."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from examples.digits import FP32, INPUT, INT8, OUTPUT, TEST_IMAGES, held_out, split
from examples.network import Network


def predict(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run([OUTPUT], {INPUT: images})[0].argmax(axis=1)


@pytest.mark.parametrize("path", [FP32, INT8])
def test_accuracy_on_the_held_out_images(path):
    images, labels = held_out()
    assert len(labels) == TEST_IMAGES
    assert (predict(path, images) == labels).mean() >= 0.97


def test_split_is_the_file_and_disjoint_from_training():
    train, _, images, labels = split()
    kept, kept_labels = held_out()
    assert np.array_equal(images, kept) and np.array_equal(labels, kept_labels)
    seen = {image.tobytes() for image in train}
    assert not [image for image in images if image.tobytes() in seen]


def test_int8_network_is_standard_qdq():
    model = onnx.load(INT8)
    onnx.checker.check_model(model, full_check=True)
    assert [o.domain for o in model.opset_import] == [""]
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    source = {n.output[0]: n for n in model.graph.node}
    assert {n.op_type for n in model.graph.node} == {
        "QuantizeLinear", "DequantizeLinear", "Conv", "Add", "GlobalAveragePool", "Flatten",
        "Gemm"}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            weight, scale, zero = (values[i] for i in source[node.input[1]].input)
            assert weight.dtype == np.int8 and np.abs(weight).max() <= 64
            assert scale.shape == (weight.shape[0],) and not zero.any()


def test_sizes():
    assert FP32.stat().st_size + INT8.stat().st_size < 500_000


def test_gradients_against_differences():
    rng = np.random.default_rng(3)
    network = Network(rng, channels=(2, 3))
    for layer in network.learners():
        layer.weight = layer.weight.astype(np.float64)
        layer.bias = layer.bias + rng.standard_normal(layer.bias.shape)
    images = rng.standard_normal((2, 1, 8, 8))
    direction = rng.standard_normal((2, 10))
    network.forward(images)
    network.backward(direction)
    for layer in network.learners():
        for value, gradient in zip((layer.weight, layer.bias), layer.grads, strict=True):
            at = tuple(rng.integers(0, n) for n in value.shape)
            kept, step = value[at], 1e-6
            sides = []
            for sign in (1, -1):
                value[at] = kept + sign * step
                sides.append((network.forward(images) * direction).sum())
            value[at] = kept
            assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(gradient[at], rel=1e-3,
                                                                      abs=1e-5)
