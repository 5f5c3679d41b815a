# SPDX-License-Identifier: Apache-2.0
"""FP32 networks in FP16 and BF16: layers that are computed exactly and rounded give the same bits
on every machine and however the compiler cuts them."""

import dataclasses

import ml_dtypes
import numpy as np
import onnx
import pytest

from compiler import compile_model
from compiler.ir.errors import CompileError
from compiler.ir.floats import filters
from isa.presets import PRESETS
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from tests.compiler.models import Net

MACHINES = {name: config for name, config in PRESETS.items() if "bf16" in config.dtypes}
MACHINES["two tiles"] = dataclasses.replace(PRESETS["ecp5"], dtypes=PRESETS["tiny_fp"].dtypes)
TYPES = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}


def rounded(value: np.ndarray, precision: str) -> np.ndarray:
    """To binary32, and then to the type; back in binary64."""
    with np.errstate(over="ignore"):
        return value.astype(np.float32).astype(TYPES[precision]).astype(np.float64)


def convolution(x: np.ndarray, w: np.ndarray, stride: int, pad: int, groups: int) -> np.ndarray:
    """Sums in binary64, which holds these exactly."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    n, c, h, wd = x.shape
    k, per, r, s = w.shape
    out = np.zeros((n, k, (h - r) // stride + 1, (wd - s) // stride + 1))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            window = x[:, :, i * stride:i * stride + r, j * stride:j * stride + s]
            window = window.reshape(n, groups, per, r, s)
            out[:, :, i, j] = np.einsum("ngcrs,gkcrs->ngk", window,
                                        w.reshape(groups, k // groups, per, r, s)).reshape(n, k)
    return out


class Network:
    """An FP32 graph, and what it is in a 16-bit type, built side by side."""

    def __init__(self, shape: tuple[int, ...], precision: str, seed: int):
        self.net, self.precision = Net(), precision
        self.rng = np.random.default_rng(seed)
        self.data = np.random.default_rng(seed + 1).standard_normal(shape).astype(np.float32)
        self.x = self.net.input("x", "float32", shape)
        self.value = rounded(self.data, precision)

    def weights(self, shape: tuple[int, ...], over: float) -> np.ndarray:
        """Random ones that the type has."""
        return rounded(self.rng.standard_normal(shape) / over, self.precision).astype(np.float32)

    def conv(self, k: int, r: int, stride: int = 1, pad: int = 0, groups: int = 1,
             relu: bool = True, add: tuple[str, np.ndarray] | None = None) -> None:
        c = self.value.shape[1]
        w = self.weights((k, c // groups, r, r), r * (c / groups) ** 0.5)
        bias = self.rng.standard_normal(k).astype(np.float32)
        self.x = self.net.op("Conv", self.x, self.net.constant(w), self.net.constant(bias),
                             strides=[stride] * 2, pads=[pad] * 4, group=groups)
        sums = convolution(self.value, w, stride, pad, groups)
        value = sums.astype(np.float32) + bias[:, None, None]
        if add:
            self.x = self.net.op("Add", self.x, add[0])
            value = value + add[1].astype(np.float32)
        if relu:
            self.x = self.net.op("Relu", self.x)
            value = np.maximum(value, 0)
        self.value = rounded(value, self.precision)

    def add(self, other: tuple[str, np.ndarray]) -> None:
        self.x = self.net.op("Add", self.x, other[0])
        self.value = rounded(self.value.astype(np.float32) + other[1].astype(np.float32),
                             self.precision)

    def pool(self, maximum: bool) -> None:
        self.x = self.net.op("MaxPool" if maximum else "AveragePool", self.x, kernel_shape=[2, 2],
                             strides=[2, 2])
        n, c, h, w = self.value.shape
        h, w = h // 2, w // 2
        cells = self.value[:, :, :2 * h, :2 * w].reshape(n, c, h, 2, w, 2)
        if maximum:
            self.value = cells.max(axis=(3, 5))
        else:
            sums = cells.sum(axis=(3, 5)).astype(np.float32)
            self.value = rounded(sums * np.float32(0.25), self.precision)

    def mean(self) -> None:
        self.x = self.net.op("GlobalAveragePool", self.x)
        sums = self.value.sum(axis=(2, 3), keepdims=True).astype(np.float32)
        count = self.value.shape[2] * self.value.shape[3]
        self.value = rounded(sums * np.float32(1 / count), self.precision)

    def gemm(self, n: int) -> None:
        flat = self.net.op("Flatten", self.x)
        k = int(np.prod(self.value.shape[1:]))
        w = self.weights((n, k), k ** 0.5)
        self.x = self.net.op("Gemm", flat, self.net.constant(w), transB=1)
        sums = self.value.reshape(len(self.value), k) @ w.astype(np.float64).T
        self.value = rounded(sums, self.precision)

    def model(self) -> onnx.ModelProto:
        return self.net.model(self.x, kind="float32", shape=self.value.shape)


def residual(precision: str, batch: int) -> Network:
    """A stem of few channels, a residual block with stride, a classifier."""
    n = Network((batch, 3, 13, 11), precision, 1)
    n.conv(12, 3, pad=1)
    short = n.x, n.value
    n.conv(12, 3, pad=1)
    n.conv(12, 3, pad=1, add=short)
    n.conv(20, 3, stride=2, pad=1)
    n.mean()
    n.gemm(7)
    return n


def separable(precision: str, batch: int) -> Network:
    """Depthwise and pointwise layers, an addition behind a clip, which is no residual."""
    n = Network((batch, 10, 18, 18), precision, 2)
    n.conv(10, 3, pad=1, groups=10)
    first = n.x, n.value
    n.conv(10, 1)
    n.add(first)
    n.pool(maximum=True)
    n.conv(24, 1)
    n.pool(maximum=False)
    n.conv(24, 5, stride=2, pad=2, groups=24)
    n.gemm(5)
    return n


def gray(precision: str, batch: int) -> Network:
    """A strided stem of one channel, whose pixels are regrouped where a word has room."""
    n = Network((batch, 1, 21, 12), precision, 3)
    n.conv(9, 5, stride=2, pad=2)
    n.conv(7, 3, pad=1)
    n.mean()
    return n


@pytest.mark.parametrize("precision", TYPES)
def test_gray_stems_are_regrouped(precision: str) -> None:
    cells = {name: compile_model(gray(precision, 1).model(), config,
                                 precision=precision).inputs[0].cell
             for name, config in MACHINES.items()}
    assert cells["tiny_fp"] == (1, 1)
    assert cells["core256_fp"] == (2, 2)


@pytest.mark.parametrize("precision", TYPES)
@pytest.mark.parametrize("make", [residual, separable, gray])
def test_bits(make, precision: str) -> None:
    results = []
    for machine, config in MACHINES.items():
        for batch in (1, 3) if machine == "two tiles" else (3,):
            n = make(precision, 3)
            program = compile_model(make(precision, batch).model(), config, precision=precision)
            out, = Session(program, GoldenDevice(config)).run(n.data).values()
            assert out.dtype == np.float32 and out.shape == n.value.shape
            np.testing.assert_array_equal(out, n.value, f"{machine} {batch}")
            results.append(out)
    assert len(results) == len(MACHINES) + 1


def test_precision_of_a_machine_that_lacks_it() -> None:
    with pytest.raises(CompileError, match="core256_fp"):
        compile_model(residual("fp16", 1).model(), PRESETS["core256"], precision="fp16")


def test_weights_too_large() -> None:
    n = Network((1, 4, 3, 3), "fp16", 1)
    w = np.full((4, 4, 1, 1), 1e6, np.float32)
    n.x = n.net.op("Conv", n.x, n.net.constant(w))
    with pytest.raises(CompileError, match="bf16"):
        compile_model(n.model(), PRESETS["tiny_fp"], precision="fp16")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_errors_of_weights_are_fed_back(dtype: str) -> None:
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float16
    weight = np.random.default_rng(5).standard_normal((7, 40, 3, 3)).astype(np.float32)
    weight[:, ::4] = 0
    found = filters(weight, dtype).view(kind).astype(np.float64)
    assert np.array_equal(found == 0, weight == 0)
    # a weight is off by at most a place of its kernel's largest one, a kernel as a whole by little
    place = np.spacing(np.abs(weight).max(axis=(2, 3)).astype(kind)).astype(np.float64)
    assert (np.abs(found - weight).max(axis=(2, 3)) <= place).all()
    assert np.abs((found - weight).sum(axis=(2, 3))).mean() < 0.25 * place.mean()
    again = found.astype(np.float32)
    assert np.array_equal(filters(again, dtype).view(kind).astype(np.float32), again)
    # what it is for: inputs with a mean
    x = 1 + 0.2 * np.random.default_rng(6).standard_normal((40, 3, 3))
    nearest = weight.astype(kind).astype(np.float64)
    noise = [np.abs(((w - weight) * x).sum(axis=(1, 2, 3))).mean() for w in (found, nearest)]
    assert noise[0] < 0.5 * noise[1]


def test_the_largest_weights_stay_finite() -> None:
    weight = np.full((1, 8), 65504 + 15, np.float32)
    assert (filters(weight, "float16") == np.float16(65504).view(np.uint16)).all()
