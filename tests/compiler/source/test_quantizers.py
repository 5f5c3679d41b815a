# SPDX-License-Identifier: Apache-2.0
"""Who quantizes, and calibration data that do not do."""

import importlib.util

import numpy as np
import pytest

import makalu
from compiler.source.frontend import load
from compiler.source.quantize import quantize
from examples.digits import FP32, INPUT, held_out
from tests.compiler.blocks import Block
from tests.compiler.models import Net, onnxruntime

IMAGES = held_out()[0][:4]


def test_a_missing_nncf_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(makalu.CompileError, match=r"pip install 'makalu\[nncf\]'"):
        makalu.compile(FP32, "tiny", quantizer="nncf", calibration={INPUT: IMAGES})


@pytest.mark.parametrize("options", [{"quantizer": "mine"},
                                     {"quantizer": "nncf", "precision": "mixed"}])
def test_quantizers_that_are_none(options):
    with pytest.raises(makalu.CompileError, match="leave --quantize out"):
        makalu.compile(FP32, "tiny_fp", **options)


@pytest.mark.parametrize("calibration, batch, words", [
    (None, 1, "it is an FP32 model"),
    ({"other": IMAGES}, 1, "none of its arrays"),
    ({INPUT: IMAGES}, 8, "has 4 samples, and the network takes 8 at once"),
    ([{"other": IMAGES}], 1, "it lacks input 'image'")])
def test_calibration_data_that_do_not_fit(calibration, batch, words):
    with pytest.raises(makalu.CompileError, match=words):
        makalu.compile(FP32, "tiny", calibration=calibration, batch=batch)


def test_several_samples_of_a_batch():
    program = makalu.compile(FP32, "tiny", host=("all",), calibration={INPUT: IMAGES}, batch=2)
    assert np.isfinite(next(iter(makalu.run(program, IMAGES).values()))).all()


BLOCK = Block(tokens=12, heads=2, size=8, inner=32)
"""Which multiplies activations with one another."""


def block_samples() -> list[dict[str, np.ndarray]]:
    return [BLOCK.inputs(seed) for seed in range(8)]


def ratio(got: np.ndarray, want: np.ndarray) -> float:
    noise = ((got.astype(np.float64) - want) ** 2).sum()
    return float(10 * np.log10((want ** 2).sum() / noise))


def test_a_transformer_has_islands_of_integers():
    """Its products alone are quantized, and the machine computes what ONNX Runtime does, nearer to
    FP32 than with everything quantized."""
    model, x = BLOCK.model(), BLOCK.inputs(99)
    program = makalu.compile(model, "tiny_fp", calibration=block_samples())
    assert program.precision == "mixed"
    assert not [row for row in program.placement if row["engine"] == "host"]
    got, = makalu.run(program, x).values()
    islands, whole = (quantize(load(model), block_samples(), only)[0] for only in (True, False))
    want, truth = onnxruntime(islands, x)[0], onnxruntime(model, x)[0]
    assert ratio(got, want) > 40
    assert ratio(got, truth) > 3 + ratio(onnxruntime(whole, x)[0], truth)


def test_islands_of_a_quantized_model_are_found():
    """On a machine with floats; on another one what needs them is named."""
    model, x = quantize(load(BLOCK.model()), block_samples(), True)[0], BLOCK.inputs(98)
    said = []
    program = makalu.compile(model, "tiny_fp", say=said.append)
    assert program.precision == "mixed" and said[0] == "what is not quantized is computed in fp16"
    got, = makalu.run(program, x).values()
    assert ratio(got, onnxruntime(model, x)[0]) > 40
    with pytest.raises(makalu.CompileError, match="LayerNormalization"):
        makalu.compile(model, "tiny")


def test_functions_between_integers_are_found():
    """A network that attends to nothing, whose Sigmoid the host may not run; or may."""
    net = Net()
    x = net.dq(net.input("x", "int8", (1, 8, 4, 4)), 0.05, 3, "int8")
    w = net.weights(np.eye(8, dtype=np.int8)[:, :, None, None], 1.0)
    x = net.dq(net.q(net.op("Conv", x, w), 0.05, 3, "int8"), 0.05, 3, "int8")
    y = net.q(net.op("Sigmoid", x), 1 / 128, 0, "int8")
    model = net.model(y)
    assert makalu.compile(model, "tiny_fp").precision == "mixed"
    assert makalu.compile(model, "tiny_fp", host=("all",)).precision == "int8"
