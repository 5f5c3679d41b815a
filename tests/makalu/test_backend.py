# SPDX-License-Identifier: Apache-2.0
"""The ``onnx`` backend: the package's node tests, and what its interface promises."""

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.ir.errors import CompileError
from makalu import backend
from makalu.pages import operators

PASS = {"Conv": 6, "MatMul": 2, "Gemm": 10, "MaxPool": 13, "AveragePool": 14, "Sigmoid": 2,
        "HardSwish": 1, "Exp": 2, "Softmax": 6, "ReduceMean": 8, "QLinearMatMul": 4, "Resize": 39,
        "ConvTranspose": 10, "Add": 2, "Gather": 4, "InstanceNormalization": 2, "LRN": 2,
        "LayerNormalization": 19, "Max": 7, "Pow": 4, "ReduceL2": 8, "Where": 1}
"""Operators with at least so many node tests that pass."""


def test_node_tests() -> None:
    """None is wrong, the page says what became of them, and most operators have some that pass."""
    rows = operators.run()
    assert [name for row in rows.values() for name in row.wrong] == []
    assert operators.PAGE.read_text() == operators.page(rows), "run make docs"
    few = {op: len(rows[op].passed) for op, least in PASS.items() if len(rows[op].passed) < least}
    assert not few


def test_inputs_that_are_not_numbers_are_constants() -> None:
    """A mask is one though it comes first, and the values stay inputs."""
    kinds = (onnx.TensorProto.BOOL, onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT)
    values = [helper.make_tensor_value_info(n, k, (2, 2)) for n, k in zip("mab", kinds)]
    net = helper.make_model(helper.make_graph(
        [helper.make_node("Where", ["m", "a", "b"], ["y"])], "net", values,
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (2, 2))]))
    mask = np.array([[True, False], [False, True]])
    a, b = (np.full((2, 2), v, np.float32) for v in (1, 2))
    assert np.array_equal(backend.run_model(net, [mask, a, b]).y, [[1, 2], [2, 1]])


@pytest.mark.parametrize("kind,name", [(onnx.TensorProto.INT32, "INT32"),
                                       (onnx.TensorProto.DOUBLE, "DOUBLE")])
def test_other_types_are_named(kind: int, name: str) -> None:
    values = [helper.make_tensor_value_info(n, kind, (2, 3)) for n in "xy"]
    net = helper.make_model(helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "net",
                                              values[:1], values[1:]))
    with pytest.raises(CompileError, match=f"'x'.*{name}"):
        backend.prepare(net)


def test_half_precision() -> None:
    """Results have the model's type."""
    values = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT16, (2, 3)) for n in "xy"]
    net = helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "net",
                                              values[:1], values[1:]))
    x = np.array([[-1, 2, 3], [4, -5, 0]], np.float16)
    y, = backend.run_model(net, [x])
    assert y.dtype == np.float16 and np.array_equal(y, np.maximum(x, 0))


def model(op: str) -> onnx.ModelProto:
    shapes = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, (2, 3)) for n in "xy"]
    return helper.make_model(helper.make_graph([helper.make_node(op, ["x"], ["y"])], "net",
                                               shapes[:1], shapes[1:]))


def test_interface() -> None:
    assert backend.supports_device("CPU") and not backend.supports_device("CUDA")
    assert backend.is_compatible(model("Relu")) and not backend.is_compatible(model("Sin"))
    out = backend.prepare(model("Relu")).run([np.array([[-1, 2, 3], [4, -5, 0]], np.float32)])
    assert np.array_equal(out.y, [[0, 2, 3], [4, 0, 0]])


def test_no_elements() -> None:
    """A result without elements is refused by its name."""
    values = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s)
              for n, s in (("x", (4, 3)), ("y", (0, 3)))]
    constants = [onnx.numpy_helper.from_array(np.array([v]), n) for n, v in (("s", 4), ("e", 9))]
    net = helper.make_model(helper.make_graph([helper.make_node("Slice", ["x", "s", "e"], ["y"])],
                                              "net", values[:1], values[1:], constants))
    with pytest.raises(CompileError, match="'y'.*no elements"):
        backend.prepare(net)


def test_constants() -> None:
    """A weight that is an input is named when the model is prepared."""
    values = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s)
              for n, s in (("x", (2, 3)), ("w", (3, 4)), ("y", (2, 4)))]
    net = helper.make_model(helper.make_graph([helper.make_node("Gemm", ["x", "w"], ["y"])],
                                              "net", values[:2], values[2:]))
    x, w = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((3, 4), np.float32)
    with pytest.raises(CompileError, match="constant"):
        backend.prepare(net)
    out = backend.prepare(net, constants={"w": w}).run([x])
    assert np.array_equal(out[0], x @ w)
