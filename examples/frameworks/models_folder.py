# SPDX-License-Identifier: Apache-2.0
"""Well-known networks of a folder that ``MAKALU_MODELS`` names, each from its own framework's file.

A network whose file is not there is left out. FP32 networks with data are quantized, without data
they run in FP16.
"""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from compiler.source.imports.foreign import Edges
from examples.frameworks.keras_digits import lite
from examples.frameworks.trial import Trial
from makalu.measure.samples import PHOTOS
from makalu.pictures import SUFFIXES
from runtime.ports import Port

MNIST, LSTM, RANDOM, CALIBRATION = 1000, 50, 16, 128
"""Inputs of a trial: pictures of MNIST, those for an LSTM of 28 steps, random ones where there is
no data, and pictures to quantize with."""


def trials(folder: Path, scratch: Path) -> list[Trial]:
    """All networks that the folder has; nothing is written to ``scratch``."""
    made = []
    for name, make in NETWORKS.items():
        path = folder / name
        if path.exists():
            made.append(replace(make(path), network=name))
    return made


def _tflite(images: Callable[[Path], np.ndarray], labels: Callable[[Path], np.ndarray] | None = None
            ) -> Callable[[Path], Trial]:
    def make(path: Path) -> Trial:
        x = images(path)
        return Trial("TensorFlow Lite", "", path, x, None if labels is None else labels(path),
                     lite(path, x), "TensorFlow Lite")
    return make


def _words(path: Path) -> np.ndarray:
    return np.asarray(np.load(path.parent / "mfcc_400.npz")["mfcc"])


def _spoken(path: Path) -> np.ndarray:
    return np.asarray(np.load(path.parent / "mfcc_400.npz")["label"])


def _photos(path: Path) -> np.ndarray:
    port = Port("photo", np.dtype(np.uint8), (1, 128, 128, 3))
    return np.concatenate([PHOTOS.read(p, port) for p in sorted((path.parent / "photos").iterdir())
                           if p.suffix in SUFFIXES])


def _pixels(path: Path) -> np.ndarray:
    """Random pictures of 32 x 32, int8."""
    return np.random.default_rng(1).integers(-128, 127, (RANDOM, 32, 32, 3), np.int8, endpoint=True)


def _caffe2_resnet(path: Path) -> Trial:
    """ONNX Runtime on the same network in ONNX stands for Caffe2."""
    images = np.random.default_rng(1).uniform(0, 255, (RANDOM, 3, 32, 32)).astype(np.float32)
    answers = _onnx(path.parent / "ic_resnet8_fp32.onnx", images.transpose(0, 2, 3, 1))
    return Trial("Caffe2", "", path, images, None, answers, "ONNX Runtime", precision="fp16")


def _super_resolution(framework: str) -> Callable[[Path], Trial]:
    """The network with its own pair of input and output."""
    def make(path: Path) -> Trial:
        given, wanted = (_tensor(path.parent / "test_data_set_0" / f"{name}_0.pb")
                         for name in ("input", "output"))
        return Trial(framework, "", path, given, None, wanted, "the network's own pair",
                     precision="fp16", on_rtl=1)
    return make


def _mnist_onnx(path: Path) -> Trial:
    images, labels = _mnist(path.parent)
    images = images[:, None]
    test = images[:MNIST]
    return Trial("ONNX", "", path, test, labels[:MNIST], _onnx(path, test), "ONNX Runtime",
                 images[-CALIBRATION:])


def _graph_def(precision: str, count: int, **values: float) -> Callable[[Path], Trial]:
    """A frozen graph with ``X`` and ``output``, and numbers for its other placeholders."""
    def make(path: Path) -> Trial:
        images, labels = _mnist(path.parents[1] / "mnist8")
        images = images.reshape(-1, 784) / np.float32(255)
        test = images[:count]
        return Trial("TensorFlow", "", path, test, labels[:count], _tensorflow(path, test, values),
                     "TensorFlow", images[-CALIBRATION:] if precision == "int8" else None,
                     precision, Edges(values=values))
    return make


def _tensorflow(path: Path, images: np.ndarray, values: dict[str, float]) -> np.ndarray:
    """TensorFlow's own answers."""
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        tf.import_graph_def(graph, name="")
        feeds = {"X:0": images, **{f"{name}:0": value for name, value in values.items()}}
        return np.asarray(session.run("output:0", feeds))


def _onnx(path: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path)
    (port,) = session.get_inputs()
    return np.concatenate([session.run(None, {port.name: x[None]})[0] for x in images])


def _mnist(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Test pictures from 0 to 255, [10000, 28, 28] float32, and their digits."""
    pixels, digits = (gzip.decompress((folder / f"t10k-{name}-ubyte.gz").read_bytes())
                      for name in ("images-idx3", "labels-idx1"))
    return (np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28).astype(np.float32),
            np.frombuffer(digits, np.uint8, offset=8).astype(np.int64))


def _tensor(path: Path) -> np.ndarray:
    return numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))


NETWORKS: dict[str, Callable[[Path], Trial]] = {
    "kws_dscnn/kws_ref_model.tflite": _tflite(_words, _spoken),
    "ic_resnet8/pretrainedResnet_quant.tflite": _tflite(_pixels),
    "ic_resnet8/caffe2": _caffe2_resnet,
    "mobilenet_v1_025_128/mobilenet_v1_0.25_128_quant.tflite": _tflite(_photos),
    "mnist8/model.onnx": _mnist_onnx,
    "tf_frozen/fc-layers.pb": _graph_def("int8", MNIST),
    "tf_frozen/lstm.pb": _graph_def("fp16", LSTM, keep_prob=1.0),
    "super_resolution/model.onnx": _super_resolution("ONNX"),
    "super_resolution/caffe2": _super_resolution("Caffe2"),
}
"""Makers of the trials by the file in the folder."""
