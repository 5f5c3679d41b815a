# SPDX-License-Identifier: Apache-2.0
"""TensorFlow, Keras and TensorFlow Lite, each format from the same trained or seeded network."""

import json
import subprocess

import numpy as np
import onnx
import pytest

import makalu
from compiler.source.imports import foreign
from compiler.source.imports.foreign import Edges, take
from compiler.source.imports.formats import format_of
from makalu.models import onnx_file

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tf2onnx")
pytestmark = pytest.mark.filterwarnings("ignore")     # Keras' own

SAMPLES = np.random.default_rng(1).uniform(-1, 1, (16, 16, 16, 3)).astype(np.float32)


def network():
    """A network with the layers of small image classifiers."""
    layers = tf.keras.layers
    x = inputs = layers.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu6")(x)
    x = layers.Conv2D(12, 1, bias_initializer="random_normal")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return tf.keras.Model(inputs, layers.Dense(5)(x))


def lite(model, **options):
    """The bytes of a .tflite file."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    for name, value in options.items():
        setattr(converter, name, value)
    return converter.convert()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The network in each format by name, and the network."""
    folder = tmp_path_factory.mktemp("tensorflow")
    tf.keras.utils.set_random_seed(1)
    model = network()
    for ending in ("keras", "h5"):
        model.save(folder / f"net.{ending}")
    model.export(folder / "saved")
    (folder / "net.tflite").write_bytes(lite(model))
    default = [tf.lite.Optimize.DEFAULT]
    half = tf.lite.TFLiteConverter.from_keras_model(model)
    half.optimizations, half.target_spec.supported_types = default, [tf.float16]
    (folder / "half.tflite").write_bytes(half.convert())
    (folder / "int8.tflite").write_bytes(lite(
        model, optimizations=default, inference_input_type=tf.int8, inference_output_type=tf.int8,
        representative_dataset=lambda: ([x[None]] for x in SAMPLES)))
    return folder, model


@pytest.mark.parametrize("name", ["net.keras", "net.h5", "saved", "net.tflite", "half.tflite"])
def test_a_float_network_in_each_format(files, name):
    folder, model = files
    said = []
    path = onnx_file(folder / name, say=said.append)
    assert "equals the original on seeded inputs" in said[-1]
    program = makalu.compile(onnx.load(path), "tiny_fp", precision="fp16", host=("all",))
    want = model(SAMPLES[:1]).numpy()
    (got,) = makalu.run(program, SAMPLES[:1]).values()
    assert np.abs(got - want).max() <= 1e-2 * np.abs(want).max()


def test_int8_equals_xnnpack(files):
    """Convolutions and matrix products to the bit; the mean may round in another order."""
    path = files[0] / "int8.tflite"
    program = makalu.compile(path, "tiny", host=("all",))
    interpreter = tf.lite.Interpreter(str(path))
    interpreter.allocate_tensors()
    (i,), (o,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = i["quantization"]
    x = np.clip(np.rint(SAMPLES / scale) + zero, -128, 127).astype(np.int8)
    got = next(iter(makalu.run(program, x).values())).astype(int)
    for sample, mine in zip(x, got, strict=True):
        interpreter.set_tensor(i["index"], sample[None])
        interpreter.invoke()
        assert np.abs(interpreter.get_tensor(o["index"])[0].astype(int) - mine).max() <= 1


def test_attention_with_an_exact_gelu(tmp_path):
    """Its Erfc and TFL_GELU pass the converter untouched."""
    layers = tf.keras.layers
    x = layers.Input((7, 8))
    y = layers.Dense(6, activation="gelu")(x + layers.MultiHeadAttention(2, 4)(x, x))
    model = tf.keras.Model(x, y)
    model.save(tmp_path / "attention.keras")
    (tmp_path / "attention.tflite").write_bytes(lite(model))
    for name in ("attention.keras", "attention.tflite"):
        path = tmp_path / name
        taken = take(path, format_of(path))
        assert "equals the original" in taken.said
        assert not {"Erfc", "TFL_GELU"} & {n.op_type for n in taken.model.graph.node}


def test_a_lost_bias_is_named_by_its_layer(files, monkeypatch):
    run = subprocess.run

    def loses(command, **options):
        done = run(command, **options)
        path = json.loads(options["input"])["folder"] + "/model.onnx"
        model = onnx.load(path)
        node = [n for n in model.graph.node if n.op_type == "Conv"][-1]
        del node.input[2:]
        onnx.save(model, path)
        return done

    monkeypatch.setattr(foreign.subprocess, "run", loses)
    path = files[0] / "saved"
    with pytest.raises(makalu.CompileError, match="the first layer that does is"):
        take(path, format_of(path))


def test_a_frozen_graph_by_the_names_of_its_ends(tmp_path):
    g = tf.Graph()
    with g.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None, 6], "x")
        w = tf.constant(np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32))
        tf.nn.relu(tf.matmul(x, w), name="hidden")
        tf.nn.softmax(tf.matmul(x, w), name="unwanted")
    path = tmp_path / "frozen.pb"
    path.write_bytes(g.as_graph_def().SerializeToString())
    taken = take(path, format_of(path), Edges(("x:0",), ("hidden:0",), {"x:0": (2, 6)}))
    assert [o.name for o in taken.model.graph.output] == ["hidden:0"]
    assert [n.op_type for n in taken.model.graph.node][-1] == "Relu"


def test_what_is_no_model_is_said(tmp_path):
    path = tmp_path / "bad.tflite"
    path.write_bytes(b"\0\0\0\0TFL3" + bytes(100))
    with pytest.raises(makalu.CompileError, match="cannot be read or converted"):
        take(path, format_of(path))
