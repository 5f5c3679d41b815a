# SPDX-License-Identifier: Apache-2.0
"""What happens around the machine: files, batches, host edges, FP32 models, placement."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler import CompileError, compile_model
from isa.presets import INTEGER, PRESETS
from isa.program import Program
from tests.compiler.models import Net, execute, onnxruntime, run

CORE = PRESETS["core256"]


def host(model: bytes, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a host model; without one the values pass."""
    if not model:
        return values
    proto = onnx.load_model_from_string(model)
    onnx.checker.check_model(proto)
    names = [o.name for o in proto.graph.output]
    return dict(zip(names, onnxruntime(proto, values), strict=True))


def whole(program: Program, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Host, machine, host."""
    fed = host(program.host_pre, inputs)
    return list(host(program.host_post, execute(program, fed)).values())


def float_edges() -> Net:
    rng = np.random.default_rng(0)
    net = Net()
    net.input("image", "float32", (1, 3, 8, 8))
    x = net.dq(net.q("image", 0.05, 3, "int8"), 0.05, 3, "int8")
    y = net.op("Conv", x, net.weights(rng.integers(-99, 99, (5, 3, 3, 3)).astype(np.int8), 0.02))
    p = net.dq(net.q(net.op("Relu", y), 0.1, -128, "int8"), 0.1, -128, "int8")
    net.op("Softmax", net.op("Flatten", p))
    return net


def test_edges_run_on_the_host_if_allowed() -> None:
    net = float_edges()
    model = net.model(net.nodes[-1].output[0], kind="float32")
    edges = "--host QuantizeLinear,DequantizeLinear, or --host all"
    with pytest.raises(CompileError, match=f"quantizelinear_3.*{edges}"):
        compile_model(model, CORE)
    with pytest.raises(CompileError, match="softmax.*--host QuantizeLinear,Softmax, or --host all"):
        compile_model(model, CORE, allow_host={"QuantizeLinear"})
    program = compile_model(model, CORE, allow_host={"QuantizeLinear", "Softmax"})
    assert compile_model(model, CORE, allow_host=["all"]).to_bytes() == program.to_bytes()
    x = np.random.default_rng(1).normal(0, 3, (1, 3, 8, 8)).astype(np.float32)
    got, = whole(program, {"image": x})
    want, = onnxruntime(model, {"image": x})
    assert np.allclose(got, want, atol=1e-2) and got.argmax() == want.argmax()
    engines = {p["op"]: p["engine"] for p in program.placement}
    assert engines["Conv"] == "array" and engines["Softmax"] == "host"
    assert all(p["reason"] for p in program.placement)
    assert {p["node"] for p in program.placement} == {n.name for n in model.graph.node}
    assert program.host_pre and program.host_post


@pytest.mark.parametrize("first", [True, False])
def test_quantized_weights_of_the_host(first: bool) -> None:
    """The host has a product of its own, in front of the machine or behind it, and the machine
    one with the same weights."""
    rng, net = np.random.default_rng(2), Net()
    w = net.weights(rng.integers(-99, 99, (8, 8)).astype(np.int8), 0.01)
    x = net.input("x", "float32", (1, 8))

    def machine(y: str) -> str:
        y = net.dq(net.q(y, 0.02, 0, "int8"), 0.02, 0, "int8")
        return net.dq(net.q(net.op("MatMul", y, w), 0.05, 0, "int8"), 0.05, 0, "int8")

    y = net.op("MatMul", net.op("Softmax", x), w) if first else machine(x)
    y = machine(y) if first else net.op("MatMul", net.op("Softmax", y), w)
    model = net.model(y, kind="float32")
    program = compile_model(model, CORE, allow_host=["all"])
    assert b"MatMul" in (program.host_pre if first else program.host_post)
    assert {p["engine"] for p in program.placement if p["op"] == "MatMul"} == {"array", "host"}
    given = {"x": rng.normal(0, 1, (1, 8)).astype(np.float32)}
    (got,), (want,) = whole(program, given), onnxruntime(model, given)
    assert np.allclose(got, want, atol=0.06)


def test_an_output_of_the_machine_passes_by_the_host() -> None:
    """One output is the machine's own, another comes from the host."""
    net = Net()
    q = net.op("MaxPool", net.input("x", "int8", (1, 6, 4, 4)), kernel_shape=[2, 2])
    real = net.dq(q, 0.5, 1, "int8")
    model = net.model(q)
    model.graph.output.append(onnx.helper.make_tensor_value_info(real, 1, [1, 6, 3, 3]))
    program = compile_model(model, CORE, allow_host={"DequantizeLinear"})
    x = np.random.default_rng(1).integers(-128, 128, (1, 6, 4, 4)).astype(np.int8)
    for mine, want in zip(whole(program, {"x": x}), onnxruntime(model, {"x": x}), strict=True):
        assert np.array_equal(mine, want)


def test_an_operator_in_the_middle_is_refused() -> None:
    """Products in front of it and behind it, of which the host may run neither."""
    net, weight = Net(), np.ones((4, 4, 1, 1), np.int8)
    x = net.dq(net.input("x", "int8", (1, 4, 4, 4)), 0.5, 0, "int8")
    y = net.dq(net.q(net.op("Conv", x, net.weights(weight, 0.5)), 0.5, 0, "int8"), 0.5, 0, "int8")
    s = net.dq(net.q(net.op("Sigmoid", y), 0.5, 0, "int8"), 0.5, 0, "int8")
    y = net.q(net.op("Conv", s, net.weights(weight, 0.5)), 0.5, 0, "int8")
    with pytest.raises(CompileError, match="conv_.*values that the host computes .node 'sigmoid.*"
                                           "--host Sigmoid,Conv, or --host all"):
        compile_model(net.model(y), CORE, allow_host={"Sigmoid"})


def test_fp32_models_need_calibration() -> None:
    rng = np.random.default_rng(3)
    net = Net()
    net.input("x", "float32", ("batch", 3, 12, 12))
    w = net.constant(rng.normal(0, .3, (8, 3, 3, 3)).astype(np.float32))
    y = net.op("Relu", net.op("Conv", "x", w, net.constant(np.ones(8, np.float32)), pads=[1] * 4))
    y = net.op("Flatten", net.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2]))
    v = net.constant(rng.normal(0, .1, (288, 10)).astype(np.float32))
    y = net.op("Gemm", y, v, net.constant(rng.normal(0, 1, 10).astype(np.float32)))
    model = net.model(y, kind="float32")
    with pytest.raises(CompileError, match="FP32 model.*calibrat"):
        compile_model(model, CORE)
    data = rng.normal(0, 1, (8, 3, 12, 12)).astype(np.float32)
    edges = {"QuantizeLinear", "DequantizeLinear"}
    program = compile_model(model, CORE, calibration={"x": data}, allow_host=edges)
    again = compile_model(model, CORE, calibration=[{"x": d[None]} for d in data],
                          allow_host=edges)
    assert program.to_bytes() == again.to_bytes()
    got, = whole(program, {"x": data[:1]})
    want, = onnxruntime(model, {"x": data[:1]})
    assert np.abs(got - want).max() < 0.05 * np.abs(want).max()
    with pytest.raises(CompileError, match="none of its arrays"):
        compile_model(model, CORE, calibration={"y": data})


def test_fp32_models_with_integer_weights_need_calibration() -> None:
    """Quantized weights do not make a quantized network, whatever the host may run."""
    rng = np.random.default_rng(3)
    net = Net()
    net.input("x", "float32", (1, 3, 6, 6))
    w = net.weights(rng.integers(-99, 99, (8, 3, 3, 3)).astype(np.int8), 0.02)
    y = net.op("Softmax", net.op("Flatten", net.op("Conv", "x", w)))
    model = net.model(y, kind="float32")
    with pytest.raises(CompileError, match="it is an FP32 model.*--calibration FILE.npz"):
        compile_model(model, CORE, allow_host={"all"})
    data = rng.normal(0, 1, (8, 3, 6, 6)).astype(np.float32)
    program = compile_model(model, CORE, calibration={"x": data}, allow_host={"all"})
    got, = whole(program, {"x": data[:1]})
    want, = onnxruntime(model, {"x": data[:1]})
    assert np.abs(got - want).max() < 0.05


def test_dynamic_batch() -> None:
    rng = np.random.default_rng(4)
    net = Net()
    x = net.dq(net.input("x", "int8", ("n", 20, 6, 6)), 0.5, 0, "int8")
    a = net.dq(net.q(net.op("Conv", x, net.weights(rng.integers(-9, 9, (18, 20, 3, 3)).astype(
        np.int8), 0.25)), 2.0, 0, "int8"), 2.0, 0, "int8")
    flat = net.op("Flatten", a)
    y = net.q(net.op("Gemm", flat, net.weights(rng.integers(-9, 9, (288, 7)).astype(np.int8),
                                               0.25)), 8.0, 0, "int8")
    model = net.model(y)
    for batch in (None, 1, 3):
        data = rng.integers(-128, 128, (batch or 1, 20, 6, 6)).astype(np.int8)
        for machine in INTEGER:
            got, = run(model, machine, {"x": data}, batch=batch)
            assert np.array_equal(got, onnxruntime(model, {"x": data})[0])


def test_old_opset_and_optional_attributes() -> None:
    """Opset 10 has its Clip bounds and Squeeze axes as attributes."""
    rng = np.random.default_rng(5)
    net = Net(opset=10)
    x = net.dq(net.input("x", "uint8", (1, 4, 5, 5)), 0.5, 7, "uint8")
    y = net.op("Conv", x, net.weights(rng.integers(0, 255, (3, 4, 5, 5)).astype(np.uint8), 0.5,
                                      128))
    y = net.q(net.op("Clip", y, min=0.0, max=6.0), 0.03125, 2, "uint8")
    model = net.model(net.op("Squeeze", net.dq(y, 0.03125, 2, "uint8"), axes=[2, 3]),
                      kind="float32")
    data = rng.integers(0, 255, (1, 4, 5, 5)).astype(np.uint8)
    program = compile_model(model, CORE, allow_host={"Squeeze"})
    assert np.array_equal(whole(program, {"x": data})[0], onnxruntime(model, {"x": data})[0])


@pytest.mark.parametrize(("break_it", "message"), [
    (lambda m: m.graph.input[0].type.tensor_type.shape.dim[2].__setattr__("dim_param", "h"),
     "dimension 2.*not fixed"),
    (lambda m: m.graph.node[0].__setattr__("op_type", "Nonsense"), "not a valid ONNX model"),
    (lambda m: m.opset_import[0].__setattr__("version", 5), "not a valid|too old|cannot be"),
])
def test_bad_models(break_it, message: str) -> None:
    net = float_edges()
    model = net.model(net.nodes[-1].output[0], kind="float32")
    break_it(model)
    with pytest.raises(CompileError, match=message):
        compile_model(model, CORE, allow_host=["all"])


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="no such file"):
        compile_model(tmp_path / "none.onnx", CORE)
    (tmp_path / "bad.onnx").write_bytes(b"\x99hello")
    with pytest.raises(CompileError, match="not an ONNX model|not a valid"):
        compile_model(tmp_path / "bad.onnx", CORE)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    net = float_edges()
    model = net.model(net.nodes[-1].output[0], kind="float32")
    onnx.save(model, tmp_path / "net.onnx")
    options = {"allow_host": ["all"], "name": "net"}
    first = compile_model(tmp_path / "net.onnx", CORE, **options).to_bytes()
    assert first == compile_model(model, CORE, **options).to_bytes()
    assert Program.from_bytes(first).to_bytes() == first


def test_affine_operators() -> None:
    rng = np.random.default_rng(6)
    x = rng.integers(-128, 128, (1, 5, 4, 4)).astype(np.int8)
    net = Net()
    xf = net.dq(net.input("x", "int8", x.shape), 0.5, 4, "int8")
    c = net.constant
    bn = net.op("BatchNormalization", xf, *(c(rng.uniform(0.5, 2, 5).astype(np.float32))
                                            for _ in range(4)))
    a = net.q(bn, 0.7, 3, "int8")
    m = net.q(net.op("Mul", xf, c(np.array([-2, 1, 0, 0.5, -0.25], np.float32).reshape(5, 1, 1))),
              0.5, 3, "int8")
    for out, slack in ((a, 1), (m, 0)):
        model = net.model(out)
        error = np.abs(run(model, CORE, {"x": x})[0].astype(int)
                       - onnxruntime(model, {"x": x})[0].astype(int))
        assert error.max() <= slack


def test_constants_behind_a_bias() -> None:
    """A factor takes the bias along, with its sign; a term comes to it. Powers of two: exact."""
    rng = np.random.default_rng(8)
    x = rng.integers(-128, 128, (1, 5, 4, 4)).astype(np.int8)
    net = Net()
    c = net.constant
    w = net.weights(rng.integers(-9, 10, (5, 5, 1, 1)).astype(np.int8), 0.25)
    bias = net.dq(c(rng.integers(-500, 500, 5).astype(np.int32)), 0.125, 0, "int32")
    y = net.op("Conv", net.dq(net.input("x", "int8", x.shape), 0.5, 4, "int8"), w, bias)
    factor, term = (c(np.array(v, np.float32).reshape(5, 1, 1))
                    for v in ([-2, 1, 0, 0.5, -0.25], [8, -4, 2, 0.25, 1]))
    scaled = net.op("Mul", y, factor)
    moved = net.op("Mul", net.op("Sub", y, term), factor)
    for out in (scaled, moved):
        model = net.model(net.q(out, 2.0, 3, "int8"))
        assert np.array_equal(run(model, CORE, {"x": x})[0], onnxruntime(model, {"x": x})[0])


def test_what_the_host_computes_alone_names_the_input() -> None:
    net = Net()
    table = net.constant(np.ones((10, 8), np.float32))
    model = net.model(net.op("Gather", table, net.input("ids", "int64", (1, 4))), kind="float32")
    with pytest.raises(CompileError, match=r"from input 'ids' \(INT64\) on; cut the model"):
        compile_model(model, PRESETS["tiny_fp"], precision="fp16", allow_host={"all"})


def test_weights_that_are_not_numbers() -> None:
    for value, words in ((np.nan, "holds NaN; export the model again"),
                         (np.inf, "NaN or infinite; export the model again"),
                         (1e6, "no float16; scale the weights, or use bf16")):
        net = Net()
        weight = net.constant(np.full((4, 3, 1, 1), value, np.float32))
        model = net.model(net.op("Conv", net.input("x", "float32", (1, 3, 4, 4)), weight),
                          kind="float32")
        with pytest.raises(CompileError, match=words):
            compile_model(model, PRESETS["tiny_fp"], precision="fp16")


def test_operators_for_the_host_that_do_not_exist() -> None:
    net = Net()
    model = net.model(net.op("Relu", net.input("x", "float32", (1, 3))), kind="float32")
    with pytest.raises(CompileError, match="--host Softmx: there is no such operator.*Softmax"):
        compile_model(model, PRESETS["tiny_fp"], precision="fp16", allow_host={"Softmx"})
