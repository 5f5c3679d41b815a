# SPDX-License-Identifier: Apache-2.0
"""Operators that exporters spell out, and what looks like one but is not."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from compiler import compile_model
from compiler.source.frontend import load
from compiler.source.spelled import recognized
from isa.presets import PRESETS
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from tests.compiler.models import onnxruntime

HEAD = '<ir_version: 10, opset_import: ["" : 20]>\n'
CONSTANTS = """<float half = {0.5}, float one = {1}, float two = {2}, float three = {3},
    float root = {1.41421356}, float other = {0.7071}, float slope = {0.79788456},
    float cubic = {0.044715}, float wrong = {0.05}, float eps = {1e-5}, float minus = {-0.5},
    float zero = {0}, float low = {-3.4e38}, float infinite = {-1e30}, int64[1] last = {-1},
    int64[1] rows = {1}, int64[2] both = {1, 2},
    bool[1,1,8] some = {1, 1, 0, 1, 0, 1, 0, 1}>"""
RNG = np.random.default_rng(7)
GAIN, BIAS = RNG.uniform(0.5, 2, 8).astype(np.float32), RNG.standard_normal(8).astype(np.float32)
GAIN, BIAS = (v.astype(np.float16).astype(np.float32) for v in (GAIN, BIAS))
X = {"x": (2 * RNG.standard_normal((1, 6, 8))).astype(np.float16).astype(np.float32)}


def network(nodes: str) -> onnx.ModelProto:
    model = parser.parse_model(HEAD + f"net (float[1,6,8] x) => (float y) {CONSTANTS}"
                                      f"{{ {nodes} }}")
    names = {"gain": GAIN, "bias": BIAS}
    model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in names.items())
    return onnx.shape_inference.infer_shapes(model)


def operators(nodes: str) -> list[str]:
    return [n.op_type for n in recognized(load(network(nodes))).nodes]


def near(nodes: str, tolerance: float = 2 ** -9) -> None:
    """The machine's results against ONNX Runtime's of the nodes as they are."""
    model = network(nodes)
    program = compile_model(model, PRESETS["tiny_fp"], precision="fp16")
    got, = Session(program, GoldenDevice(program.config)).run(X).values()
    want, = onnxruntime(model, X)
    np.testing.assert_allclose(got, want, atol=tolerance * np.abs(want).max())


ERF = "u = Div(x, root)  e = Erf(u)  f = Add(e, one)"
CUBE = """c = Pow(x, three)  d = Mul(c, cubic)  i = Add(x, d)  u = Mul(i, slope)
          e = Tanh(u)  f = Add(one, e)"""


@pytest.mark.parametrize("nodes", [
    ERF + " g = Mul(x, f)  y = Mul(g, half)", ERF + " g = Mul(half, x)  y = Mul(g, f)",
    ERF + " g = Mul(half, f)  y = Mul(g, x)", ERF + " g = Mul(f, x)  y = Div(g, two)",
    "u = Mul(x, other)  e = Erf(u)  h = Mul(x, half)  g = Mul(h, e)  y = Add(h, g)",
    CUBE + " g = Mul(x, half)  y = Mul(g, f)", CUBE + " g = Mul(x, f)  y = Mul(half, g)",
    """s = Mul(x, x)  d = Mul(s, cubic)  k = Add(one, d)  m = Mul(x, slope)  u = Mul(m, k)
       e = Tanh(u)  f = Add(e, one)  g = Mul(x, half)  y = Mul(g, f)""",
])
def test_gelu(nodes: str) -> None:
    assert operators(nodes) == ["Gelu"]
    near(nodes)


@pytest.mark.parametrize("nodes", [
    ERF + " y = Mul(x, f)", ERF + " g = Mul(f, f)  y = Mul(g, half)",
    "u = Mul(x, half)  e = Erf(u)  f = Add(e, one)  g = Mul(x, f)  y = Mul(g, half)",
    CUBE.replace("cubic", "wrong") + " g = Mul(x, f)  y = Mul(half, g)",
])
def test_other_functions_are_no_gelu(nodes: str) -> None:
    assert "Gelu" not in operators(nodes)


CENTERED = "m = ReduceMean(x, last)  d = Sub(x, m)"
VARIANCE = "  s = Pow(d, two)  v = ReduceMean(s, last)  w = Add(v, eps)  r = Sqrt(w)"


@pytest.mark.parametrize("nodes,kind", [
    (CENTERED + VARIANCE + "  y = Div(d, r)", "LayerNormalization"),
    (CENTERED + VARIANCE + "  n = Div(d, r)  g = Mul(n, gain)  y = Add(bias, g)",
     "LayerNormalization"),
    (CENTERED + "  k = Sub(x, m)  s = Mul(k, k)  v = ReduceMean(s, last)  w = Add(eps, v)"
     "  r = Pow(w, minus)  n = Mul(r, d)  y = Mul(gain, n)", "LayerNormalization"),
    ("""m = ReduceMean(x, both)  d = Sub(x, m)  s = Mul(d, d)  v = ReduceMean(s, both)
        w = Add(v, eps)  r = Sqrt(w)  y = Div(d, r)""", "LayerNormalization"),
    ("d = Identity(x)" + VARIANCE + "  q = Reciprocal(r)  n = Mul(x, q)  y = Mul(n, gain)",
     "RMSNormalization"),
    ("d = Identity(x)" + VARIANCE + "  q = Div(one, r)  y = Mul(x, q)", "RMSNormalization"),
])
def test_normalizations(nodes: str, kind: str) -> None:
    assert operators(nodes.replace("d = Identity(x)  ", "d = Identity(x) ")).count(kind) == 1
    assert not {"ReduceMean", "Sqrt", "Div", "Sub"} & set(operators(nodes))
    near(nodes)


@pytest.mark.parametrize("nodes", [
    """m = ReduceMean(x, rows)  d = Sub(x, m)  s = Mul(d, d)  v = ReduceMean(s, last)
       w = Add(v, eps)  r = Sqrt(w)  y = Div(d, r)""",
    CENTERED + "  s = Mul(x, d)  v = ReduceMean(s, last)  w = Add(v, eps)  r = Sqrt(w)"
    "  y = Div(d, r)",
    "s = Mul(x, x)  v = ReduceMean(s, rows)  w = Add(v, eps)  r = Sqrt(w)  y = Div(x, r)",
])
def test_other_quotients_are_not_taken_for_the_whole(nodes: str) -> None:
    """Means over unlike axes, a product that is no square, and an axis that is not the last."""
    assert "LayerNormalization" not in operators(nodes)
    near(nodes, 2 ** -8)


def test_what_others_read_stays() -> None:
    nodes = CENTERED + VARIANCE + "  n = Div(d, r)  g = Mul(n, gain)  y = Add(g, d)"
    assert operators(nodes) == ["ReduceMean", "Sub", "LayerNormalization", "Add"]
    near(nodes)


@pytest.mark.parametrize("nodes", [
    "z = Where(some, x, low)  y = Softmax(z)",
    "n = Not(some)  z = Where(n, low, x)  y = Softmax(z)",
    "z = Where(some, x, infinite)  y = Softmax(z)"])
def test_constant_masks_are_added(nodes: str) -> None:
    assert operators(nodes) == ["Add", "Softmax"]
    near(nodes)


@pytest.mark.parametrize("takes", [False, True])
def test_a_constant_choice_is_what_it_chooses(takes: bool) -> None:
    """But where what is chosen is repeated."""
    model = network("w = Where(all, x, k)  y = Softmax(w)" if takes else
                    "w = Where(all, k, x)  y = Softmax(w)")
    model.graph.initializer.append(numpy_helper.from_array(np.full((1, 1, 1), takes), "all"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "k"))
    found = [n.op_type for n in recognized(load(model)).nodes]
    assert "Where" not in found
    model.graph.node[0].input[1], model.graph.node[0].input[2] = (
        model.graph.node[0].input[2], model.graph.node[0].input[1])
    assert "Where" in [n.op_type for n in recognized(load(model)).nodes]


@pytest.mark.parametrize("columns", [6, 8])
def test_rows_without_a_score_are_zeros(columns: int) -> None:
    """As torch's attention is exported; also where scores are no whole words."""
    mask = np.zeros((1, 6, columns), np.float32)
    mask[0, 1:3] = mask[0, 4, 1:] = -np.inf
    model = parser.parse_model(HEAD + f"""net (float[1,6,{columns}] x) => (float y)
        <float zero = {{0}}>
        {{ s = Add(x, mask)  p = Softmax(s)  n = IsNaN(p)  y = Where(n, zero, p) }}""")
    model.graph.initializer.append(numpy_helper.from_array(mask, "mask"))
    model = onnx.shape_inference.infer_shapes(model)
    x = {"x": X["x"][:, :, :columns].copy()}
    program = compile_model(model, PRESETS["tiny_fp"], precision="fp16")
    got, = Session(program, GoldenDevice(program.config)).run(x).values()
    want, = onnxruntime(model, x)
    assert not want[0, 1:3].any() and want[0, 4, 0] == 1
    np.testing.assert_allclose(got, want, atol=2 ** -10)


def test_the_host_runs_what_it_was() -> None:
    """A network whose last product is the machine's: the host gets RMSNormalization, which ONNX
    Runtime does not have in this opset, as its parts."""
    nodes = ("a = Sin(x)  s = Mul(a, a)  v = ReduceMean(s, last)  w = Add(v, eps)  r = Sqrt(w)"
             "  n = Div(a, r)  g = Mul(n, gain)  k = Sin(g)  y = MatMul(k, square)")
    model = network(nodes.replace("MatMul(k, square)", "Mul(k, gain)"))
    model.graph.node[-1].op_type, model.graph.node[-1].input[1] = "MatMul", "square"
    model.graph.initializer.append(numpy_helper.from_array(
        np.eye(8, dtype=np.float32)[::-1].copy(), "square"))
    program = compile_model(model, PRESETS["tiny_fp"], precision="fp16", allow_host=["all"])
    on_host = {row["op"] for row in program.placement if row["engine"] == "host"}
    assert "RMSNormalization" in on_host
    got, = Session(program, GoldenDevice(program.config)).run(X).values()
    np.testing.assert_allclose(got, onnxruntime(model, X)[0], atol=2 ** -9)
