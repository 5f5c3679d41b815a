# SPDX-License-Identifier: Apache-2.0
"""Models of other formats are converted once and kept; with the extra, real ones run."""

from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner

from compiler.ir.errors import CompileError
from compiler.source.imports.foreign import Edges, Taken
from makalu import models
from makalu.cli.main import cli
from tests.compiler.source.imports.test_foreign import MATMUL, model


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Edges]:
    """The conversions that are made, in a cache of their own."""
    monkeypatch.setenv("MAKALU_CACHE", str(tmp_path / "cache"))
    made: list[Edges] = []

    def take(path: Path, kind: object, edges: Edges, verify: bool) -> Taken:
        made.append(edges)
        return Taken(model(MATMUL, shape=(1, 4)), "what was taken")

    monkeypatch.setattr(models, "take", take)
    return made


def test_a_model_is_converted_once(conversions: list[Edges], tmp_path: Path) -> None:
    path, said = tmp_path / "net.pb", list[str]()
    path.write_bytes(b"graph")
    file = models.onnx_file(path, say=said.append)
    assert onnx.load(file).graph.node[0].name == "matmul" and file.suffix == ".onnx"
    assert models.onnx_file(path, say=said.append) == file and len(conversions) == 1
    assert said == ["net.pb: converting, once; this takes some seconds", "what was taken",
                    "what was taken"]
    assert models.onnx_file(path, Edges(("x",))) != file
    path.write_bytes(b"another graph")
    assert models.onnx_file(path) != file
    assert conversions == [Edges(), Edges(("x",)), Edges()]


def test_onnx_stays_as_it_is(conversions: list[Edges]) -> None:
    assert models.onnx_file("net.onnx") == Path("net.onnx") and not conversions


@pytest.mark.parametrize("name, edges, option", [
    ("net.onnx", Edges(shapes={"x": (1, 3)}), "--shape is not for ONNX"),
    ("net.onnx", Edges(("x",)), "--model-input is not for ONNX"),
    ("net.tflite", Edges(shapes={"x": (1, 3)}), "--shape is not for TensorFlow Lite"),
    ("net.tflite", Edges((), ("y",)), "--model-output is not for TensorFlow Lite"),
    ("net.tflite", Edges(values={"k": 1.0}), "--set is not for TensorFlow Lite"),
    ("net.onnx", Edges(signature="a"), "--signature is not for ONNX")])
def test_what_a_format_does_not_take_is_refused(
        conversions: list[Edges], tmp_path: Path, name: str, edges: Edges, option: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x1c\0\0\0TFL3rest")
    with pytest.raises(CompileError, match=option):
        models.onnx_file(path, edges)
    assert not conversions


def test_options_reach_the_import(conversions: list[Edges], tmp_path: Path) -> None:
    path = tmp_path / "net.pb"
    path.write_bytes(b"graph")
    result = CliRunner().invoke(cli, [
        "report", str(path), "--host", "all", "--config", "core256_fp", "--precision", "fp16",
        "--model-input", "x:0", "--model-output", "y:0", "--shape", "x:0=1,3", "--no-verify"])
    assert result.exit_code == 0, result.output
    assert conversions == [Edges(("x:0",), ("y:0",), {"x:0": (1, 3)})]
    assert "is not compared with the original" in result.output
    result = CliRunner().invoke(cli, ["report", str(path), "--shape", "x"])
    assert result.exit_code == 1 and "--shape x: not INPUT=N,…" in result.output


def test_caffe2_has_an_importer_of_its_own(conversions: list[Edges], tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []

    def load(*arguments: object) -> onnx.ModelProto:
        given.append(arguments)
        return model(MATMUL, shape=(1, 4))

    monkeypatch.setattr(models, "load", load)
    predict, init, said = tmp_path / "predict_net.pb", tmp_path / "init_net.pb", list[str]()
    predict.write_bytes(b"x")
    init.write_bytes(b"y")
    file = models.onnx_file(predict, Edges(shapes={"x": (1, 3)}), say=said.append)
    assert given == [(predict, init, {"x": (1, 3)})] and not conversions
    assert said[-1] == ("predict_net.pb: Caffe2, inputs x, outputs y; there is no Caffe2 to "
                        "compare it with here")
    init.write_bytes(b"other weights")
    assert models.onnx_file(predict, Edges(shapes={"x": (1, 3)})) != file
