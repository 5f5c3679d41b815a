# SPDX-License-Identifier: Apache-2.0
"""Integers and truth values that the host gives as floats: masks of an attention, and what chooses
with them."""

import numpy as np
import onnx
import pytest
from onnx import parser

from compiler import compile_model
from compiler.ir.errors import CompileError
from isa.presets import PRESETS
from isa.program import Program
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from tests.compiler.models import onnxruntime

HEAD = '<ir_version: 10, opset_import: ["" : 20]>\n'
RNG = np.random.default_rng(11)
X = RNG.standard_normal((1, 4, 8)).astype(np.float16).astype(np.float32)
TRUE = np.array([[1, 1, 0, 1, 0, 1, 0, 1]], bool)
MASK = np.array([[1, 1, 0, 3, -7, 5000, 0, 0]], np.int64)
LOW = """<float[1,1] low = {-3.4e38}, float[1,1] zero = {0}, float[1,1] two = {2},
          int64[1] one = {1}, bool[1,1,8] some = {1, 0, 0, 1, 1, 1, 0, 0}>"""


def results(model: onnx.ModelProto, x: dict[str, np.ndarray], **options
            ) -> tuple[Program, np.ndarray, np.ndarray]:
    """The program, and what it and ONNX Runtime give."""
    program = compile_model(model, PRESETS["tiny_fp"], precision="fp16", **options)
    got, = Session(program, GoldenDevice(program.config)).run(x).values()
    return program, got, onnxruntime(model, x)[0]


@pytest.mark.parametrize("nodes", [
    "y = Where(m, x, zero)", "y = Where(m, zero, x)",
    "z = Where(m, two, low)\n q = Exp(z)\n y = Add(x, q)",
    "y = Where(m, two, zero)", "z = Mul(x, two)\n y = Where(m, z, x)",
    "z = Where(m, x, low)\n y = Softmax(z)", "z = Where(m, low, x)\n y = Softmax(z)",
    "n = Not(m)\n z = Where(n, low, zero)\n s = Add(x, z)\n y = Softmax(s)",
    "n = And(m, some)\n y = Where(n, x, zero)", "n = Or(some, m)\n y = Where(n, x, zero)",
    "n = Or(m, k)\n y = Where(n, x, zero)", "n = And(m, k)\n y = Where(n, x, zero)",
    "u = Unsqueeze(m, one)\n c = Cast<to=1>(u)\n y = Add(x, c)",
])
def test_truth_values(nodes: str) -> None:
    text = f"net (float[1,4,8] x, bool[1,8] m, bool[1,8] k) => (float y) {LOW} {{ {nodes} }}"
    model = onnx.shape_inference.infer_shapes(parser.parse_model(HEAD + text.replace(
        ", bool[1,8] k", ", bool[1,8] k" if "k)" in nodes else "")))
    x = {"x": X, "m": TRUE, "k": np.roll(TRUE, 1)}
    x = {i.name: x[i.name] for i in model.graph.input}
    program, got, want = results(model, x)
    assert not [row for row in program.placement if row["engine"] == "host"]
    np.testing.assert_allclose(got, want, rtol=2 ** -9, atol=2 ** -12)


@pytest.mark.parametrize("to,exact", [(1, False), (9, True)])
def test_integers(to: int, exact: bool) -> None:
    """As floats they are rounded to the type, as truth values they are not."""
    nodes = f"u = Cast<to={to}>(m)\n" + ("y = Where(u, x, zero)" if exact else "y = Mul(x, u)")
    model = onnx.shape_inference.infer_shapes(parser.parse_model(
        HEAD + f"net (float[1,4,8] x, int64[1,8] m) => (float y) {LOW} {{ {nodes} }}"))
    program, got, want = results(model, {"x": X, "m": MASK})
    assert not [row for row in program.placement if row["engine"] == "host"]
    np.testing.assert_allclose(got, want, rtol=0 if exact else 2 ** -10)


def test_integers_that_are_counted_with_stay_on_the_host() -> None:
    """The machine has no int64: 4,097 + 1 is another number in FP16."""
    model = onnx.shape_inference.infer_shapes(parser.parse_model(
        HEAD + "net (float[1,4,8] x, int64[1,8] m) => (float y) <int64[1] c = {-5000}>"
        "{ s = Add(m, c)\n u = Cast<to=1>(s)\n y = Add(x, u) }"))
    with pytest.raises(CompileError, match="Add"):
        results(model, {"x": X, "m": MASK})
    program, got, want = results(model, {"x": X, "m": MASK}, allow_host=["Add"])
    assert [row["op"] for row in program.placement if row["engine"] == "host"] == ["Add"]
    np.testing.assert_allclose(got, want, rtol=2 ** -10, atol=2 ** -10)


def test_only_the_embedding_is_on_the_host() -> None:
    """Token types by GatherElements of constants are constant; the machine has the mask."""
    rng = np.random.default_rng(3)
    model = onnx.shape_inference.infer_shapes(parser.parse_model(HEAD + """
    net (int64[1,6] ids, int64[1,6] mask) => (float y)
        <float[20,8] table, float[2,8] kinds, int64[1,9] types, int64[1,6] at = {0,1,2,3,4,5},
         float[1] zero = {0}, float[1] low = {-3.4e38}, int64[2] axes = {1,2}>
    { e = Gather(table, ids)  t = GatherElements<axis=1>(types, at)  k = Gather(kinds, t)
      x = Add(e, k)  xt = Transpose<perm=[0,2,1]>(x)  s = MatMul(x, xt)
      u = Unsqueeze(mask, one)  b = Cast<to=9>(u)  w = Where(b, zero, low)
      a = Add(s, w)  p = Softmax(a)  y = MatMul(p, x) }""".replace(
        "int64[2] axes = {1,2}", "int64[1] one = {1}")))
    model.graph.initializer.extend(onnx.numpy_helper.from_array(v, n) for n, v in {
        "table": rng.standard_normal((20, 8)).astype(np.float32),
        "kinds": rng.standard_normal((2, 8)).astype(np.float32),
        "types": np.array([[0, 0, 1, 1, 0, 1, 0, 0, 0]], np.int64)}.items())
    x = {"ids": rng.integers(0, 20, (1, 6)), "mask": np.array([[1, 1, 1, 1, 0, 0]], np.int64)}
    program, got, want = results(model, x, allow_host=["all"])
    assert [row["node"] for row in program.placement if row["engine"] == "host"] == ["Gather_0"]
    np.testing.assert_allclose(got, want, rtol=2 ** -7, atol=2 ** -8)
