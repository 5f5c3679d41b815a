# SPDX-License-Identifier: Apache-2.0
"""Caffe2 nets against what Caffe2 computed (tests/fixtures/caffe2/make.py), and what is refused."""

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format

from compiler.ir.errors import CompileError
from compiler.source.imports.caffe2.files import find
from compiler.source.imports.caffe2.load import load
from compiler.source.imports.caffe2.schema import NetDef
from tests.fixtures.caffe2.networks import NETWORKS, SHAPE, image

FIXTURES = np.load(Path(__file__).parents[3] / "fixtures/caffe2/operators.npz")
CASES = sorted({name.partition("/")[0] for name in FIXTURES.files})
MODELS = os.environ.get("MAKALU_MODELS", "")

OFF = {"int8_Conv": 0.005, "int8_ConvRelu": 0.005, "int8_ConvTranspose": 0.01,
       "int8_AveragePool_even": 0.15,
       **{f"int8_{kind}": 0.02 for kind in ("Sum", "SumRelu", "Add", "AddRelu")}}
"""Share of elements that may be one step off: Caffe2's kernels round sums otherwise,
and halves away from zero, of which the mean of 2 x 2 elements has many."""


def infer(model: onnx.ModelProto | Path, *inputs: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    data = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, {i.name: x for i, x in zip(session.get_inputs(), inputs)})[0]


def write(folder: Path, name: str) -> tuple[Path, Path | None]:
    """A case's nets as files; an init net without operators is none."""
    for part in ("predict", "init"):
        (folder / f"{part}_net.pb").write_bytes(FIXTURES[f"{name}/{part}"].tobytes())
    init = NetDef.FromString(FIXTURES[f"{name}/init"].tobytes())
    return folder / "predict_net.pb", folder / "init_net.pb" if init.op else None


@pytest.mark.parametrize("name", CASES)
def test_case_equals_caffe2(name: str, tmp_path: Path) -> None:
    x, want = FIXTURES[f"{name}/x"], FIXTURES[f"{name}/y"]
    model = load(*write(tmp_path, name), shapes={"x": x.shape})
    assert [o.name for o in model.graph.output] == ["y"]
    got = infer(model, x)
    assert got.shape == want.shape
    if name.startswith("int8_"):
        step = min(d for d in np.diff(np.unique(want)) if d > 1e-6)
        steps = np.rint((got - want) / step)
        assert np.abs(steps).max() <= 1
        assert np.count_nonzero(steps) <= OFF.get(name, 0) * steps.size
    else:
        np.testing.assert_allclose(got, want, atol=1e-5 * max(1, np.abs(want).max()), rtol=0)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_network_equals_caffe2(name: str, tmp_path: Path) -> None:
    """Logits, which no softmax saturates, with weights made anew from the seed."""
    made = np.load(Path(__file__).parents[3] / "fixtures/caffe2/networks.npz")
    network, _ = NETWORKS[name]()
    init = NetDef()
    for blob, value in network.weights.items():
        op = init.op.add(type="GivenTensorFill", output=[blob])
        op.arg.add(name="shape", ints=value.shape)
        op.arg.add(name="values", floats=value.ravel())
    (tmp_path / "predict_net.pb").write_bytes(made[f"{name}/predict"].tobytes())
    (tmp_path / "init_net.pb").write_bytes(init.SerializeToString())
    model = load(tmp_path / "predict_net.pb", tmp_path / "init_net.pb", {"data": SHAPE})
    want = made[f"{name}/y"]
    assert want.std() > 0.05
    np.testing.assert_allclose(infer(model, image()), want, rtol=0,
                               atol=1e-5 * max(1, np.abs(want).max()))


def net(*ops: tuple[str, str, str, dict[str, float | list[int]]]) -> object:
    made = NetDef(external_input=["x"], external_output=["y"])
    for kind, inputs, output, arguments in ops:
        op = made.op.add(type=kind, input=inputs.split(), output=[output])
        for key, value in arguments.items():
            if isinstance(value, list):
                op.arg.add(name=key, ints=value)
            else:
                op.arg.add(name=key, **{"i" if isinstance(value, int) else "f": value})
    return made


@pytest.mark.parametrize("ops, words", [
    ([("Unheard", "x", "y", {})], "operator Unheard of blob 'y': the operator is not known"),
    ([("Relu", "x", "y", {"slope": 1})], "Relu of blob 'y': its argument slope is not understood"),
    ([("LeakyRelu", "x", "y", {"alpha": [1]})], r"argument alpha is \[1\] and not of type float"),
    ([("Dropout", "x", "y", {})], "is_test is not set"),
    ([("Add", "x w", "y", {})], "nothing gives its input 'w'"),
    ([("Int8Relu", "x", "y", {})], "its input is no Int8 blob"),
    ([("Int8Quantize", "x", "q", {}), ("Relu", "q", "y", {})], "put an Int8Dequantize before it"),
    ([("XavierFill", "", "w", {"shape": [2]}), ("Relu", "x", "y", {})], "random numbers"),
    ([("ChannelShuffle", "x", "y", {"group": 5})], "6 channels do not form 5 groups"),
    ([("MaxPool", "x", "y", {"kernel": 3, "pad_t": 1})], "it has pad_t alone; give pad_t, pad_l"),
    ([("MaxPool", "x", "y", {"kernel": 2, "dilation": 2})], "a pool with dilation"),
    ([("MaxPool", "x", "y", {"kernel": 1, "stride": 3, "legacy_pad": 2})], "SAME cuts the input"),
])
def test_refused(ops: list, words: str, tmp_path: Path) -> None:
    path = tmp_path / "predict_net.pb"
    path.write_bytes(net(*ops).SerializeToString())  # type: ignore[attr-defined]
    with pytest.raises(CompileError, match=words):
        load(path, shapes={"x": (1, 6, 9, 8)})


def test_shape_of_an_input(tmp_path: Path) -> None:
    predict, init = write(tmp_path, "FC")
    assert [d.dim_value for d in
            load(predict, init).graph.input[0].type.tensor_type.shape.dim] == [1, 8]
    with pytest.raises(CompileError, match="Conv reads 6 channels of it; give it, such as shapes="):
        load(*write(tmp_path, "conv_group"))
    with pytest.raises(CompileError, match="the net has no weights; give the init net"):
        load(predict)
    with pytest.raises(CompileError, match="the net has no such input"):
        load(predict, init, {"z": (1, 8)})


def test_inputs_that_the_net_does_not_name(tmp_path: Path) -> None:
    predict, init = write(tmp_path, "FC")
    named = load(predict, init)
    nameless = NetDef.FromString(predict.read_bytes())
    nameless.ClearField("external_input")
    predict.write_bytes(nameless.SerializeToString())
    assert load(predict, init) == named


def test_text_and_files(tmp_path: Path) -> None:
    predict, init = write(tmp_path, "FC")
    assert find(tmp_path) == find(predict) == (predict, init)
    text = tmp_path / "text"
    text.mkdir()
    (text / "predict_net.pbtxt").write_text(
        text_format.MessageToString(NetDef.FromString(predict.read_bytes())))
    found = find(text)
    assert found == (text / "predict_net.pbtxt", None)
    assert load(found[0], init) == load(predict, init)
    assert find(tmp_path / "nothing") is None
    (text / "predict_net.pbtxt").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(CompileError, match="not a Caffe2 net"):
        load(found[0], init)


@pytest.mark.skipif(not MODELS, reason="MAKALU_MODELS names no folder of models")
@pytest.mark.parametrize("folder, twin", [("ic_resnet8", "ic_resnet8_fp32.onnx"),
                                          ("super_resolution", "model.onnx")])
def test_network_equals_its_onnx_twin(folder: str, twin: str) -> None:
    found = find(Path(MODELS) / folder / "caffe2")
    assert found
    model = load(*found)
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
    if folder == "ic_resnet8":  # trained on bytes; its twin is channels last
        x *= 255
    want = infer(Path(MODELS) / folder / twin,
                 x.transpose(0, 2, 3, 1) if folder == "ic_resnet8" else x)
    np.testing.assert_allclose(infer(model, x), want, atol=1e-5, rtol=0)
