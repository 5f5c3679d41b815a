# SPDX-License-Identifier: Apache-2.0
"""Train the digits network, quantize it, and write the files that this folder ships.

    python -m examples.train_digits

numpy alone, a fixed seed: half a minute on one core. The INT8 network is ONNX Runtime's static
quantization (QDQ, signed, symmetric weights per channel). Weights keep to 7 bits (`reduce_range`),
so that ONNX Runtime's x86 kernels without VNNI do not saturate and every CPU gives the same
reference.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import (CalibrationDataReader, CalibrationMethod, QuantFormat,
                                      QuantType, quantize_static)
from onnxruntime.quantization.shape_inference import quant_pre_process

from examples.digits import FP32, INPUT, INT8, OUTPUT, TEST, split
from examples.network import Network, export

SEED, EPOCHS, BATCH, RATE, DECAY = 7, 60, 32, 3e-3, 1e-3
CALIBRATION_IMAGES = 256


class Adam:
    """Adam with decoupled weight decay."""

    def __init__(self, network: Network):
        self.layers = network.learners()
        self.moments = [[np.zeros_like(p) for p in (layer.weight, layer.bias) for _ in range(2)]
                        for layer in self.layers]
        self.steps = 0

    def step(self, rate: float) -> None:
        self.steps += 1
        for layer, moments in zip(self.layers, self.moments, strict=True):
            for i, value in enumerate((layer.weight, layer.bias)):
                g, (m, v) = layer.grads[i], moments[2 * i:2 * i + 2]
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                unbiased = m / (1 - 0.9 ** self.steps)
                value -= rate * (unbiased / (np.sqrt(v / (1 - 0.999 ** self.steps)) + 1e-8)
                                 + DECAY * value)


def shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each picture moved by up to a pixel in each direction."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    size = images.shape[2]
    return np.stack([p[:, y:y + size, x:x + size]
                     for p, (y, x) in zip(padded, rng.integers(0, 3, (len(images), 2)),
                                          strict=True)])


def train(images: np.ndarray, labels: np.ndarray) -> Network:
    """A trained network."""
    rng = np.random.default_rng(SEED)
    network = Network(rng)
    optimizer = Adam(network)
    for epoch in range(EPOCHS):
        rate = RATE * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        loss, order = 0.0, rng.permutation(len(labels))
        for at in range(0, len(order), BATCH):
            pick = order[at:at + BATCH]
            logits = network.forward(shifted(images[pick], rng))
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            rows = np.arange(len(pick))
            loss -= float(np.log(p[rows, labels[pick]] + 1e-9).sum())
            p[rows, labels[pick]] -= 1
            network.backward((p / len(pick)).astype(np.float32))
            optimizer.step(rate)
        print(f"epoch {epoch + 1:2d}: loss {loss / len(order):.4f}", flush=True)
    return network


class Calibration(CalibrationDataReader):
    """Training images, one by one."""

    def __init__(self, images: np.ndarray):
        self.feeds = iter([{INPUT: image[None]} for image in images])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


def quantize(images: np.ndarray) -> None:
    """FP32 to INT8."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(FP32), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared), str(INT8), Calibration(images), quant_format=QuantFormat.QDQ,
            per_channel=True, reduce_range=True, activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax,
            extra_options={"WeightSymmetric": True, "ActivationSymmetric": False})
    model = onnx.load(INT8)
    standard = [opset for opset in model.opset_import if not opset.domain]
    del model.opset_import[:]
    model.opset_import.extend(standard)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, INT8)


def accuracy(path: Path, images: np.ndarray, labels: np.ndarray) -> float:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run([OUTPUT], {INPUT: images})
    return float((logits.argmax(axis=1) == labels).mean())


def main() -> None:
    images, labels, test_images, test_labels = split()
    network = train(images, labels)
    onnx.save(export(network, INPUT, OUTPUT, images.shape[2]), FP32)
    quantize(images[:CALIBRATION_IMAGES])
    np.savez_compressed(TEST, **{INPUT: test_images, "labels": test_labels})
    for path in (FP32, INT8):
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KB, "
              f"{accuracy(path, test_images, test_labels):.2%} of {len(test_labels)} test images")


if __name__ == "__main__":
    main()
