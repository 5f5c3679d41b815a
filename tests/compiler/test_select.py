# SPDX-License-Identifier: Apache-2.0
"""Elements chosen by constant indices, constants between them, and operands that are broadcast:
exact in FP16, against onnx's own evaluator; in INT8 against what is moved."""

from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from compiler import compile_model
from compiler.ir.errors import CompileError
from isa.presets import PRESETS
from tests.compiler.models import Net, run
from tests.compiler.test_functions import run as run_floats

SHAPE = (2, 5, 3, 4)
RNG = np.random.default_rng(1)
MASK = RNG.random((5, 3, 4)) < 0.5

CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("Expand", [np.array([3, 1, 1, 1, 1])], {}), ("Expand", [np.array([2, 5, 3, 4])], {}),
    ("Tile", [np.array([1, 2, 1, 3])], {}),
    ("Gather", [np.array([[0, -1], [2, 2]])], {"axis": 2}), ("Gather", [np.array(3)], {"axis": 1}),
    ("GatherElements", [RNG.integers(-3, 3, (2, 5, 4, 4))], {"axis": 2}),
    ("GatherND", [np.array([[1, 4], [0, -2]])], {}),
    ("ReverseSequence", [np.array([3, 1])], {"batch_axis": 0, "time_axis": 2}),
    ("Trilu", [np.array(-1)], {"upper": 0}), ("Trilu", [np.array(1)], {}),
    ("CenterCropPad", [np.array([4, 3])], {"axes": [2, 3]}),
    ("Pad", [np.array([0, 1, 0, 2, 0, 0, 1, 0]), np.float32(-1.5)], {}),
    ("Pad", [np.array([1, 0, 0, 1]), np.float32(0.75), np.array([3, 1])], {}),
    ("Pad", [np.array([0, 0, 1, 1, 0, 0, 1, 2])], {"mode": "edge"})]


def operands(net: Net, given: list[Any]) -> list[str]:
    return [net.constant(np.asarray(v)) for v in given]


def data(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(2).standard_normal(shape).astype(np.float16).astype(np.float32)


@pytest.mark.parametrize("op,given,attributes", CASES)
@pytest.mark.parametrize("machine", ["tiny_fp", "core256_fp"])
def test_floats(op: str, given: list[Any], attributes: dict[str, Any], machine: str) -> None:
    net = Net()
    y = net.op(op, net.input("x", "float32", SHAPE), *operands(net, given), **attributes)
    got = run_floats(net, y, machine, x=data())
    want, = ReferenceEvaluator(net.model(y, kind="float32")).run(None, {"x": data()})
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("op,given,attributes", CASES)
def test_integers(op: str, given: list[Any], attributes: dict[str, Any]) -> None:
    """Nothing is rounded where the scale stays: the constants are multiples of it."""
    x = np.random.default_rng(3).integers(-128, 128, SHAPE).astype(np.int8)
    net = Net()
    y = net.op(op, net.dq(net.input("x", "int8", SHAPE), 0.125, 7, "int8"),
               *operands(net, given), **attributes)
    model = net.model(net.q(y, 0.125, 7, "int8"))
    got, = run(model, PRESETS["tiny"], {"x": x})
    want, = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("other", ["input", "one", "many"])
def test_where(other: str) -> None:
    """Two activations, or one and a constant."""
    net = Net()
    x, mask = net.input("x", "float32", SHAPE), net.constant(MASK)
    values = {"one": np.float32(2.5), "many": data((3, 4))}
    z = net.input("z", "float32", (5, 1, 4)) if other == "input" else net.constant(values[other])
    feeds = {"x": data()} | ({"z": data((5, 1, 4))} if other == "input" else {})
    for operands_ in ((x, z), (z, x)):
        net.nodes.clear()
        y = net.op("Where", mask, *operands_)
        got = run_floats(net, y, "tiny_fp", **feeds)
        want, = ReferenceEvaluator(net.model(y, kind="float32")).run(None, feeds)
        np.testing.assert_array_equal(got, want)


def test_where_of_integers() -> None:
    """With different scales: each side requantized, as the float chain has it."""
    rng = np.random.default_rng(4)
    a, b = (rng.integers(-128, 128, SHAPE).astype(np.int8) for _ in range(2))
    net = Net()
    y = net.op("Where", net.constant(MASK), net.dq(net.input("a", "int8", SHAPE), 0.25, 3, "int8"),
               net.dq(net.input("b", "int8", SHAPE), 0.5, -4, "int8"))
    model = net.model(net.q(y, 0.5, 1, "int8"))
    got, = run(model, PRESETS["tiny"], {"a": a, "b": b})
    want, = ReferenceEvaluator(model).run(None, {"a": a, "b": b})
    np.testing.assert_array_equal(got, want)


def test_several_constants_between_integers_are_refused() -> None:
    net = Net()
    y = net.op("Where", net.constant(MASK), net.dq(net.input("x", "int8", SHAPE), 0.1, 0, "int8"),
               net.constant(data((3, 4))))
    with pytest.raises(CompileError, match="where.*several constants"):
        compile_model(net.model(net.q(y, 0.1, 0, "int8")), PRESETS["tiny"])


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(4,), (3, 1), (5, 3, 4), SHAPE, (2, 1, 1, 1)])
@pytest.mark.parametrize("constant", [False, True])
def test_broadcast(op: str, shape: tuple[int, ...], constant: bool) -> None:
    """Of an activation and another, or a constant; each also the first operand."""
    b = np.abs(data(shape)) + 0.5
    for swapped in (False, True):
        net = Net()
        x = net.input("x", "float32", SHAPE)
        z = net.constant(b) if constant else net.input("z", "float32", shape)
        y = net.op(op, z, x) if swapped else net.op(op, x, z)
        feeds = {"x": np.abs(data()) + 0.5} | ({} if constant else {"z": b})
        got = run_floats(net, y, "tiny_fp", **feeds)
        want, = ReferenceEvaluator(net.model(y, kind="float32")).run(None, feeds)
        np.testing.assert_allclose(got, want, 1e-3, 1e-3)


def test_a_constant_for_each_pixel_of_integers() -> None:
    x = np.random.default_rng(5).integers(-128, 128, SHAPE).astype(np.int8)
    c = data((3, 4))
    net = Net()
    y = net.op("Add", net.dq(net.input("x", "int8", SHAPE), 0.031, 3, "int8"), net.constant(c))
    model = net.model(net.q(y, 0.043, -2, "int8"))
    got, = run(model, PRESETS["tiny"], {"x": x})
    want, = ReferenceEvaluator(model).run(None, {"x": x})
    assert np.abs(got.astype(int) - want.astype(int)).max() <= 1


@pytest.mark.parametrize("x_shape,w_shape", [((3, 4), (4,)), ((4,), (4, 5)), ((4,), (4,)),
                                             ((2, 1, 3, 4), (5, 4, 2)), ((3, 4), (2, 4, 5)),
                                             ((2, 3, 1, 4), (2, 3, 4, 5)), ((4,), (3, 4, 2))])
def test_batches_of_matrices(x_shape: tuple[int, ...], w_shape: tuple[int, ...]) -> None:
    x, w = data(x_shape), data(w_shape)
    net = Net()
    y = net.op("MatMul", net.input("x", "float32", x_shape), net.constant(w))
    np.testing.assert_allclose(run_floats(net, y, "tiny_fp", x=x), x @ w, 2e-3, 2e-3)


def test_clip_of_integers() -> None:
    x = np.arange(-8, 8, dtype=np.int8).reshape(1, 4, 2, 2)
    net = Net()
    y = net.op("Clip", net.input("x", "int8", x.shape), net.constant(np.int8(-3)),
               net.constant(np.int8(5)))
    got, = run(net.model(y), PRESETS["tiny"], {"x": x})
    np.testing.assert_array_equal(got, x.clip(-3, 5))


def test_training_is_refused() -> None:
    net = Net()
    y = net.op("Dropout", net.input("x", "float32", SHAPE), net.constant(np.float32(0.5)),
               net.constant(np.array(True)))
    with pytest.raises(CompileError, match="dropout.*training"):
        compile_model(net.model(y, kind="float32"), PRESETS["tiny_fp"], precision="fp16")
