# SPDX-License-Identifier: Apache-2.0
"""What is concatenated before it is quantized, and normalizations behind a concatenation."""

import numpy as np
import pytest
from onnx import helper

from compiler import compile_model
from isa.presets import PRESETS
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from tests.compiler.models import Net, onnxruntime, run

SHAPE = (1, 8, 6, 6)


def normalized(net: Net, x: str, channels: int, rng: np.random.Generator) -> str:
    values = [rng.uniform(0.5, 2, channels).astype(np.float32) for _ in range(4)]
    return net.op("BatchNormalization", x, *map(net.constant, values))


@pytest.mark.parametrize("machine", ["tiny", "core256"])
@pytest.mark.parametrize("quantized", [False, True])
def test_normalization_of_integers(quantized: bool, machine: str) -> None:
    """Of parts with other scales and zero points, with and without a quantization in between."""
    rng, net = np.random.default_rng(2), Net()
    parts = [("a", "int8", 5, 0.5, 3), ("b", "uint8", 3, 0.25, 120), ("c", "int8", 6, 0.125, 0)]
    data, values = {}, []
    for name, kind, channels, scale, zero in parts:
        low = 0 if kind == "uint8" else -128
        data[name] = rng.integers(low, low + 256, (1, channels, 6, 6)).astype(kind)
        values.append(net.dq(net.input(name, kind, data[name].shape), scale, zero, kind))
    y = net.op("Concat", *values, axis=1)
    if quantized:
        y = net.dq(net.q(y, 0.5, 3, "int8"), 0.5, 3, "int8")
    y = net.op("Relu", normalized(net, y, 14, rng))
    model = net.model(net.q(y, 0.7, -100, "int8"))
    got, = run(model, PRESETS[machine], data)
    want, = onnxruntime(model, data)
    assert np.abs(got.astype(int) - want.astype(int)).max() <= 1
    assert (got != want).mean() < 0.05 and len(np.unique(want)) > 50


def test_normalization_of_numbers() -> None:
    rng, net = np.random.default_rng(2), Net()
    names = [net.input(n, "float32", SHAPE) for n in "ab"]
    y = net.op("Relu", normalized(net, net.op("Concat", *names, axis=1), 16, rng))
    model = net.model(y, kind="float32")
    program = compile_model(model, PRESETS["tiny_fp"], precision="fp16")
    data = {n: rng.normal(0, 1, SHAPE).astype(np.float32) for n in names}
    got, = Session(program, GoldenDevice(program.config)).run(data).values()
    want, = onnxruntime(model, data)
    assert np.abs(got - want).max() < 2e-3 * np.abs(want).max()


@pytest.mark.parametrize("machine", ["tiny", "core256"])
def test_what_is_quantized_behind_it(machine: str) -> None:
    """Convolutions, pools and clamps whose results are quantized once they are together: the bits
    of ONNX Runtime."""
    rng, net = np.random.default_rng(2), Net()
    x = net.dq(net.input("x", "int8", SHAPE), 0.5, 3, "int8")

    def conv(y: str) -> str:
        w = rng.integers(-99, 99, (8, 8, 3, 3)).astype(np.int8)
        return net.op("Conv", y, net.weights(w, 0.0078125), pads=[1, 1, 1, 1])

    parts = [conv(x), net.op("Relu", conv(x)), net.op("Relu", x), x,
             net.op("MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1])]
    y = net.dq(net.q(net.op("Concat", *parts, axis=1), 0.25, 5, "int8"), 0.25, 5, "int8")
    model = net.model(net.q(net.op("Add", y, y), 0.5, 5, "int8"))
    data = {"x": rng.integers(-128, 128, SHAPE).astype(np.int8)}
    np.testing.assert_array_equal(run(model, PRESETS[machine], data)[0],
                                  onnxruntime(model, data)[0])


def test_many_parts() -> None:
    """More than a byte counts."""
    net, rng = Net(), np.random.default_rng(2)
    x = net.dq(net.input("x", "int8", (1, 140)), 0.5, 3, "int8")
    names = [net.name("piece") for _ in range(140)]
    net.nodes.append(helper.make_node("Split", [x], names, axis=1, num_outputs=140))
    model = net.model(net.q(net.op("Concat", *reversed(names), axis=1), 0.5, 3, "int8"))
    data = {"x": rng.integers(-128, 128, (1, 140)).astype(np.int8)}
    assert np.array_equal(run(model, PRESETS["core256"], data)[0], data["x"][:, ::-1])


@pytest.mark.parametrize("machine,precision", [("tiny", "int8"), ("core256_fp", "fp16")])
def test_constants(machine: str, precision: str) -> None:
    """Zeros, an initial state for instance, and others; between activations."""
    rng, net, integers = np.random.default_rng(2), Net(), precision == "int8"
    kind = "int8" if integers else "float32"
    x = net.input("x", kind, (1, 6))
    y = net.dq(x, 0.5, 3, "int8") if integers else x
    zeros, others = np.zeros((1, 4), np.float32), (rng.integers(-9, 10, (1, 5)) * 0.5).astype("f4")
    others[0, 0] = 63.5  # 127 steps of a half
    y = net.op("Concat", net.constant(zeros), y, net.constant(others), y, axis=1)
    model = net.model(net.q(y, 0.5, 3, "int8") if integers else y, kind=kind)
    data = {"x": rng.integers(-60, 60, (1, 6)).astype(kind)}
    program = compile_model(model, PRESETS[machine], precision=precision)
    got, = Session(program, GoldenDevice(program.config)).run(data).values()
    np.testing.assert_array_equal(got, onnxruntime(model, data)[0])
