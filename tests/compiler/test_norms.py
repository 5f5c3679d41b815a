# SPDX-License-Identifier: Apache-2.0
"""Roots, powers, norms, normalizations and activations that are made of several steps, against
binary64; what is said of their errors, over the whole range of FP16."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from compiler import compile_model
from compiler.ir.errors import CompileError
from isa.presets import PRESETS
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from tests.compiler.models import Net, onnxruntime, run
from tests.compiler.test_functions import places
from tests.compiler.test_functions import run as run_floats

SHAPE = (2, 5, 3, 4)


def data(shape: tuple[int, ...] = SHAPE, scale: float = 1.0) -> np.ndarray:
    values = scale * np.random.default_rng(1).standard_normal(shape)
    return values.astype(np.float16).astype(np.float32)


def positive() -> np.ndarray:
    """Numbers over the whole range of FP16, and 0."""
    rng = np.random.default_rng(2)
    values = np.concatenate([2.0 ** rng.uniform(-24, 16, 251), [0, 2.0 ** -24, 1, 65504, 2]])
    return values.astype(np.float16).astype(np.float32).reshape(1, 8, 4, 8)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


STEPS: list[tuple[str, dict[str, Any], Callable[[np.ndarray], np.ndarray], float]] = [
    ("Softplus", {}, softplus, 0.6), ("Mish", {}, lambda x: x * np.tanh(softplus(x)), 0.6),
    ("Gelu", {"approximate": "tanh"}, lambda x: x / (1 + np.exp(
        -2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3))), 0.6),
    ("ThresholdedRelu", {"alpha": 0.7}, lambda x: np.where(x > 0.7, x, 0), 0),
    ("ThresholdedRelu", {"alpha": -0.3}, lambda x: np.where(x > -0.3, x, 0), 0),
    ("Shrink", {"lambd": 1.5, "bias": 0.25}, lambda x: np.where(
        x < -1.5, x + 0.25, np.where(x > 1.5, x - 0.25, 0)), 0.5),
    ("Shrink", {"lambd": 1.0}, lambda x: np.where(np.abs(x) > 1, x, 0), 0)]


@pytest.mark.parametrize("op,attributes,exact,ulp", STEPS)
def test_activations(op: str, attributes: dict[str, Any],
                     exact: Callable[[np.ndarray], np.ndarray], ulp: float) -> None:
    x = np.concatenate([data((1, 8, 4, 8), 3).ravel(), positive().ravel().clip(0, 60),
                        -positive().ravel().clip(0, 9), [0.7, -0.3, 1, 1.5, -1.5, 60000, -100,
                                                         1.001]])
    x = x.astype(np.float16).astype(np.float32).reshape(1, 8, 97, 1)
    net = Net()
    got = run_floats(net, net.op(op, net.input("x", "float32", x.shape), **attributes), "tiny_fp",
                     x=x)
    with np.errstate(over="ignore"):
        want = exact(x.astype(np.float64))
    assert (np.abs(got - want) / places(want)).max() <= ulp


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("op,want", [("Softplus", (np.inf, 0)), ("Abs", (np.inf, np.inf)),
                                     ("ThresholdedRelu", (np.inf, 0))])
def test_infinities(op: str, want: tuple[float, float], value: float) -> None:
    net = Net()
    got = run_floats(net, net.op(op, net.input("x", "float32", (1, 1))), "tiny_fp",
                     x=np.full((1, 1), value, np.float32))
    assert got[0, 0] == want[value < 0]


def test_sqrt() -> None:
    """The nearest number of FP16, but for the last eighth of a rounding."""
    net = Net()
    got = run_floats(net, net.op("Sqrt", net.input("x", "float32", (1, 8, 4, 8))), "tiny_fp",
                     x=positive())
    want = np.sqrt(positive().astype(np.float64))
    assert (np.abs(got - want) / places(want)).max() <= 0.56
    assert (got[positive() == 0] == 0).all()


@pytest.mark.parametrize("e", [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 7.0])
def test_powers(e: float) -> None:
    x = np.abs(data()) + 0.25 if e != int(e) else data(scale=0.5) + 2
    x = x.astype(np.float16).astype(np.float32)
    net = Net()
    got = run_floats(net, net.op("Pow", net.input("x", "float32", SHAPE),
                                 net.constant(np.float32(e))), "tiny_fp", x=x)
    want = x.astype(np.float64) ** e
    assert (np.abs(got - want) / places(want)).max() <= 0.6


def test_several_exponents() -> None:
    x, e = np.abs(data()) + 0.5, np.array([2, 0, -1, 0.5], np.float32)
    x = x.astype(np.float16).astype(np.float32)
    net = Net()
    got = run_floats(net, net.op("Pow", net.input("x", "float32", SHAPE), net.constant(e)),
                     "tiny_fp", x=x)
    np.testing.assert_allclose(got, x ** e, 1e-3)


def test_other_exponents_are_refused() -> None:
    net = Net()
    y = net.op("Pow", net.input("x", "float32", SHAPE), net.constant(np.float32(1.7)))
    with pytest.raises(CompileError, match="pow.*exponent is 1.7"):
        compile_model(net.model(y, kind="float32"), PRESETS["tiny_fp"], precision="fp16")


REDUCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "ReduceMin": np.min, "ReduceL1": lambda x, *a, **k: np.sum(np.abs(x), *a, **k),
    "ReduceL2": lambda x, *a, **k: np.sqrt(np.sum(x * x, *a, **k)),
    "ReduceSumSquare": lambda x, *a, **k: np.sum(x * x, *a, **k)}


@pytest.mark.parametrize("op", REDUCTIONS)
@pytest.mark.parametrize("axes,keepdims,scale", [([1], 1, 1.0), ([2, 3], 0, 40.0), ([0], 0, 0.01),
                                                 ([], 1, 5.0)])
def test_reductions(op: str, axes: list[int], keepdims: int, scale: float) -> None:
    x = data(scale=scale)
    net = Net()
    over = [net.constant(np.array(axes, np.int64))] if axes else []
    y = net.op(op, net.input("x", "float32", SHAPE), *over, keepdims=keepdims)
    got = run_floats(net, y, "tiny_fp", x=x)
    want = REDUCTIONS[op](x.astype(np.float64), tuple(axes) or None, keepdims=bool(keepdims))
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, 1.5e-3, 2.0 ** -24)


@pytest.mark.parametrize("op,attributes", [
    ("LpPool", {"kernel_shape": [2, 3], "p": 2, "strides": [1, 2], "pads": [1, 0, 0, 1]}),
    ("LpPool", {"kernel_shape": [3, 2], "p": 1}), ("GlobalLpPool", {"p": 2}),
    ("GlobalLpPool", {"p": 1})])
def test_pools(op: str, attributes: dict[str, Any]) -> None:
    x = data(scale=4)
    net = Net()
    y = net.op(op, net.input("x", "float32", SHAPE), **attributes)
    model = net.model(y, kind="float32", shape=[2, 5, "h", "w"])
    want, = onnxruntime(model, {"x": x})
    program = compile_model(model, PRESETS["tiny_fp"], precision="fp16")
    got = Session(program, GoldenDevice(program.config)).run({"x": x})[y]
    np.testing.assert_allclose(got, want, 2e-3, 1e-3)


NORMALIZATIONS: list[tuple[str, list[tuple[int, ...]], dict[str, Any]]] = [
    ("InstanceNormalization", [(5,), (5,)], {"epsilon": 1e-3}),
    ("LayerNormalization", [(4,), (4,)], {}), ("LayerNormalization", [(3, 4)], {"axis": 2}),
    ("LayerNormalization", [(5, 3, 4), (5, 3, 4)], {"axis": 1}),
    ("MeanVarianceNormalization", [], {}), ("MeanVarianceNormalization", [], {"axes": [1]}),
    ("LpNormalization", [], {"axis": 1, "p": 2}), ("LpNormalization", [], {"axis": 2, "p": 1}),
    ("LRN", [], {"size": 3, "alpha": 0.2, "beta": 0.75, "bias": 2.0}),
    ("LRN", [], {"size": 5, "alpha": 0.5, "beta": 0.5})]


@pytest.mark.parametrize("op,constants,attributes", NORMALIZATIONS)
@pytest.mark.parametrize("scale", [0.05, 1.0, 300.0])
@pytest.mark.parametrize("machine", ["tiny_fp", "core256_fp"])
def test_normalizations(op: str, constants: list[tuple[int, ...]], attributes: dict[str, Any],
                        scale: float, machine: str) -> None:
    x = data(scale=scale) + np.float32(0.5 * scale)
    x = x.astype(np.float16).astype(np.float32)
    net = Net()
    given = [net.constant(data(shape)) for shape in constants]
    y = net.op(op, net.input("x", "float32", SHAPE), *given, **attributes)
    y = net.op("Reshape", y, net.constant(np.array(SHAPE)))  # not every shape can be inferred
    want, = onnxruntime(net.model(y, kind="float32"), {"x": x})
    np.testing.assert_allclose(run_floats(net, y, machine, x=x), want, 2e-3, 2e-3)


def test_nothing_is_normalized() -> None:
    """Zeros stay zeros: their variance is what epsilon makes it."""
    net = Net()
    y = net.op("InstanceNormalization", net.input("x", "float32", SHAPE),
               *(net.constant(np.ones(5, np.float32)) for _ in range(2)))
    got = run_floats(net, y, "tiny_fp", x=np.zeros(SHAPE, np.float32))
    np.testing.assert_array_equal(got, np.ones(SHAPE))


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_extremes(op: str) -> None:
    """Of three floats, one of them broadcast, and a constant: exact."""
    rng = np.random.default_rng(3)
    feeds = {n: rng.standard_normal(s).astype(np.float16).astype(np.float32)
             for n, s in (("a", SHAPE), ("b", SHAPE), ("c", (3, 1)))}
    net = Net()
    names = [net.input(n, "float32", v.shape) for n, v in feeds.items()]
    y = net.op(op, *names, net.constant(np.float32(0.25)))
    got = run_floats(net, y, "tiny_fp", **feeds)
    want, = ReferenceEvaluator(net.model(y, kind="float32")).run(None, feeds)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("op", ["Max", "Min"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("scaled", [False, True])
def test_extremes_of_integers(op: str, dtype: str, scaled: bool) -> None:
    rng = np.random.default_rng(4)
    info = np.iinfo(dtype)
    feeds = {n: rng.integers(info.min, info.max + 1, SHAPE).astype(dtype) for n in "ab"}
    net = Net()
    names = [net.input(n, dtype, SHAPE) for n in "ab"]
    if scaled:
        names = [net.dq(n, 0.1, 3, dtype) for n in names]
    y = net.op(op, *names)
    if scaled:
        y = net.q(y, 0.1, 3, dtype)
    got, = run(net.model(y, kind=dtype), PRESETS["tiny"], feeds)
    np.testing.assert_array_equal(got, (np.maximum if op == "Max" else np.minimum)(*feeds.values()))


def test_a_number_a_channel_times_what_lies_in_rows() -> None:
    """A normalization leaves its rows as pixels; a factor for each channel is not one of those."""
    net = Net()
    shape = (1, 8, 6, 6)
    rows = net.op("LayerNormalization", net.input("x", "float32", shape),
                  net.constant(np.ones(6, np.float32)), axis=-1)
    factor = net.op("ReduceL2", net.input("z", "float32", shape), net.constant(np.array([2, 3])),
                    keepdims=1)
    x, z = data(shape), data(shape)[:, ::-1]
    got = run_floats(net, net.op("Mul", rows, factor), "tiny_fp", x=x, z=np.ascontiguousarray(z))
    unit = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    want = unit * np.sqrt((z ** 2).sum((2, 3), keepdims=True))
    assert np.abs(got - want).max() < 4e-3 * np.abs(want).max()
