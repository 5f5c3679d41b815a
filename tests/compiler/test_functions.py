# SPDX-License-Identifier: Apache-2.0
"""Functions and products of numbers against binary64, in units of the last place of FP16."""

from collections.abc import Callable

import numpy as np
import pytest

from compiler import compile_model
from compiler.ir.errors import CompileError
from isa.presets import PRESETS
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from tests.compiler.models import Net
from tests.compiler.test_floats import MACHINES, TYPES

SHAPE = (1, 19, 5, 6)


def hard_sigmoid(x: np.ndarray, alpha: float = 0.2, beta: float = 0.5) -> np.ndarray:
    return np.clip(alpha * x + beta, 0, 1)


CASES: list[tuple[str, dict[str, float], Callable[[np.ndarray], np.ndarray], float]] = [
    ("Exp", {}, np.exp, 0.51), ("Reciprocal", {}, lambda x: 1 / x, 0.51),
    ("Sigmoid", {}, lambda x: 1 / (1 + np.exp(-x)), 0.51), ("Tanh", {}, np.tanh, 0.51),
    # the slope itself is rounded to FP16
    ("HardSigmoid", {"alpha": 0.25, "beta": 0.4}, lambda x: hard_sigmoid(x, 0.25, 0.4), 0.51),
    ("HardSwish", {}, lambda x: x * hard_sigmoid(x, 1 / 6), 1.5),
    ("LeakyRelu", {"alpha": 0.1}, lambda x: np.where(x < 0, 0.1 * x, x), 0.51),
    ("LeakyRelu", {"alpha": 0.0}, lambda x: np.maximum(x, 0), 0.0)]


def run(net: Net, y: str, machine: str, precision: str = "fp16", **data: np.ndarray
        ) -> np.ndarray:
    program = compile_model(net.model(y, kind="float32"), MACHINES[machine], precision=precision)
    assert not any(row["engine"] == "host" for row in program.placement)
    session = Session(program, GoldenDevice(program.config))
    return next(iter(session.run(data).values())).astype(np.float64)


def places(want: np.ndarray) -> np.ndarray:
    """The unit of FP16's last place at each number."""
    return 2.0 ** (np.maximum(np.floor(np.log2(np.maximum(np.abs(want), 1e-9))), -14) - 10)


@pytest.mark.parametrize("machine", ["tiny_fp", "core1024_fp"])
@pytest.mark.parametrize("op,attributes,exact,ulp", CASES)
def test_functions(op: str, attributes: dict[str, float],
                   exact: Callable[[np.ndarray], np.ndarray], ulp: float, machine: str) -> None:
    x = np.random.default_rng(1).uniform(-9, 9, SHAPE).astype(np.float16)
    net = Net()
    y = net.op(op, net.input("x", "float32", SHAPE), **attributes)
    got = run(net, y, machine, x=x.astype(np.float32))
    want = exact(x.astype(np.float64))
    assert (np.abs(got - want) / places(want)).max() <= ulp


@pytest.mark.parametrize("pixel", [False, True])
def test_product(pixel: bool) -> None:
    """Of two activations, and of one with a value for each channel (squeeze and excite)."""
    rng = np.random.default_rng(2)
    shapes = {"a": SHAPE, "b": SHAPE[:2] + (1, 1) if pixel else SHAPE}
    data = {n: rng.standard_normal(s).astype(np.float16) for n, s in shapes.items()}
    net = Net()
    names = [net.input(n, "float32", s) for n, s in shapes.items()]
    got = run(net, net.op("Mul", *names), "tiny_fp",
              **{n: v.astype(np.float32) for n, v in data.items()})
    want = data["a"].astype(np.float64) * data["b"].astype(np.float64)
    assert (np.abs(got - want) / places(want)).max() <= 0.5


def test_large_and_small() -> None:
    """A clip of BF16 has the whole range of the type."""
    x = np.array([1e30, -1e30, 2.0 ** -100, 1.0], np.float32).reshape(1, 4, 1, 1)
    x = (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    net = Net()
    y = net.op("Relu", net.input("x", "float32", x.shape))
    got = run(net, y, "tiny_fp", "bf16", x=x)
    np.testing.assert_array_equal(got, np.maximum(x, 0))


def test_integers_have_none() -> None:
    net = Net()
    y = net.q(net.op("Sigmoid", net.dq(net.input("x", "int8", SHAPE), 0.1, 0, "int8")),
              1 / 256, -128, "int8")
    with pytest.raises(CompileError, match="Sigmoid"):
        compile_model(net.model(y), PRESETS["tiny"])


@pytest.mark.parametrize("shape,axis", [((1, 10), -1), ((3, 12), 1), ((1, 1000), -1),
                                        ((1, 7, 4, 5), 1), ((2, 3, 6), 2), ((2, 6, 5), 0)])
@pytest.mark.parametrize("precision", TYPES)
def test_softmax(precision: str, shape: tuple[int, ...], axis: int) -> None:
    """Two roundings to the type, of the powers and of the quotient; the same bits everywhere."""
    x = (4 * np.random.default_rng(6).standard_normal(shape)).astype(np.float32)
    x = x.astype(TYPES[precision]).astype(np.float32)
    net = Net()
    y = net.op("Softmax", net.input("x", "float32", shape), axis=axis)
    got = [run(net, y, machine, precision, x=x) for machine in MACHINES]
    power = np.exp(x.astype(np.float64) - x.max(axis, keepdims=True))
    want = power / power.sum(axis, keepdims=True)
    near = {"fp16": 2.0 ** -10, "bf16": 2.0 ** -7}[precision]
    assert (np.abs(got[0] - want) <= near * want + 2.0 ** -24).all()
    for other in got[1:]:
        np.testing.assert_array_equal(other, got[0])


def test_softmax_of_so_many_elements_that_no_window_covers_them() -> None:
    net = Net()
    y = net.op("Softmax", net.input("x", "float32", (1, 257)))
    with pytest.raises(CompileError, match="257 elements"):
        compile_model(net.model(y, kind="float32"), PRESETS["tiny_fp"], precision="fp16")


@pytest.mark.parametrize("axes", [[1], [0], [3], [1, 2], [2, 3], [0, 1, 2, 3], []])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_means(axes: list[int], keepdims: int) -> None:
    x = np.random.default_rng(7).standard_normal(SHAPE).astype(np.float16).astype(np.float32)
    net = Net()
    over = [net.constant(np.array(axes, np.int64))] if axes else []
    y = net.op("ReduceMean", net.input("x", "float32", SHAPE), *over, keepdims=keepdims)
    got = run(net, y, "tiny_fp", x=x)
    want = x.astype(np.float64).mean(tuple(axes) or None, keepdims=bool(keepdims))
    assert got.shape == want.shape
    assert (np.abs(got - want) / places(want)).max() <= 0.51


def test_differences() -> None:
    rng = np.random.default_rng(8)
    a, b = (rng.standard_normal(SHAPE).astype(np.float16).astype(np.float32) for _ in range(2))
    net = Net()
    y = net.op("Sub", net.input("a", "float32", SHAPE), net.input("b", "float32", SHAPE))
    got = run(net, y, "tiny_fp", a=a, b=b)
    np.testing.assert_array_equal(got, (a - b).astype(np.float16).astype(np.float32))
