# SPDX-License-Identifier: Apache-2.0
"""Which networks are measured."""

from pathlib import Path

import onnx
import pytest
from onnx import helper

from makalu.measure.networks import (MODELS, SHIPPED, SHIPPED_FP32, labels, networks, networks_in,
                                     quantized)


def fp32(path: Path) -> Path:
    """A network without quantization."""
    value = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, (1, 4)) for n in "xy"]
    onnx.save(helper.make_model(helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "net", value[:1], value[1:])), path)
    return path


def test_networks_of_a_folder(tmp_path, monkeypatch):
    monkeypatch.delenv(MODELS, raising=False)
    always = [n.label for n in networks()[0]]
    assert always[0] == SHIPPED.stem and "resnet50" in always
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.onnx").touch()
    (tmp_path / "b.txt").touch()
    assert [n.label for n in networks(tmp_path)[0]] == [always[0], "a", *always[1:]]
    assert networks(tmp_path)[0][1].source() == tmp_path / "deep" / "a.onnx"
    monkeypatch.setenv(MODELS, str(tmp_path))
    assert len(networks()[0]) == len(always) + 1
    with pytest.raises(FileNotFoundError, match="nowhere.*MAKALU_MODELS=FOLDER"):
        networks(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match="no .onnx file"):
        networks(empty)
    monkeypatch.delenv(MODELS)
    with pytest.raises(FileNotFoundError, match="no folder of networks is named"):
        networks_in()


def test_fp32_files_are_left_out_with_a_reason(tmp_path):
    (tmp_path / "one").mkdir()
    alone = fp32(tmp_path / "one" / "alone.onnx")
    twin = fp32(tmp_path / "twin_fp32.onnx")
    int8 = tmp_path / "twin_int8.onnx"
    int8.write_bytes(SHIPPED.read_bytes())
    kept, left = quantized([alone, twin, int8])
    assert kept == [int8]
    assert left == {"alone": "FP32 without calibration data",
                    "twin_fp32": "FP32; twin_int8 is beside it"}


def test_fp32_networks_for_another_precision(tmp_path):
    fp32(tmp_path / "real.onnx")
    (tmp_path / "int8.onnx").write_bytes(SHIPPED.read_bytes())
    found, left = networks(tmp_path, "fp16")
    assert [n.label for n in found][:2] == [SHIPPED_FP32.stem, "real"]
    assert not found[0].large and found[-1].large and left == {"int8": "it is quantized"}


def test_labels_tell_networks_apart():
    paths = [Path("a/x.onnx"), Path("b/model.onnx"), Path("c/model.onnx")]
    assert list(labels(paths).values()) == ["x", "b/model", "c/model"]
