# SPDX-License-Identifier: Apache-2.0
"""What a file or folder is taken for."""

import zipfile
from pathlib import Path

import pytest

from compiler.ir.errors import CompileError
from compiler.source.imports.formats import Format, format_of, is_model

HDF5 = b"\x89HDF\r\n\x1a\n"


def archive(path: Path, entry: str = "") -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(entry or {".pt2": "net/archive_format"}.get(path.suffix, "config.json"), "{}")


@pytest.mark.parametrize("name, contents, kind", [
    ("net.onnx", b"x", Format.ONNX), ("net.pb", b"x", Format.GRAPH_DEF),
    ("net.tflite", b"\x1c\0\0\0TFL3rest", Format.TFLITE), ("net.h5", HDF5, Format.KERAS),
    ("net.keras", None, Format.KERAS), ("net.pt2", None, Format.TORCH)])
def test_files(tmp_path: Path, name: str, contents: bytes | None, kind: Format) -> None:
    path = tmp_path / name
    if contents is None:
        archive(path)
    else:
        path.write_bytes(contents)
    assert format_of(path) is kind and is_model(path)


def test_a_saved_model_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="neither saved_model.pb nor predict_net; give an .onnx"):
        format_of(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    assert format_of(tmp_path) is Format.SAVED_MODEL


def test_caffe2_is_a_folder_or_its_predict_net(tmp_path: Path) -> None:
    for name in ("predict_net.pb", "init_net.pb"):
        (tmp_path / name).write_bytes(b"x")
    assert format_of(tmp_path) is format_of(tmp_path / "predict_net.pb") is Format.CAFFE2


@pytest.mark.parametrize("name", ["net.tflite", "net.keras", "net.h5", "net.pt2"])
def test_a_wrong_ending(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(CompileError, match="its contents are not "):
        format_of(tmp_path / name)


def test_another_ending_is_named(tmp_path: Path) -> None:
    """By what is in the file, where that has a mark."""
    for name, entry, ending in (("a.keras", "net/archive_format", ".pt2"),
                                ("b.pt2", "config.json", ".keras"),
                                ("c.pb", "config.json", ".keras")):
        archive(tmp_path / name, entry)
        with pytest.raises(CompileError, match=f"its contents are not .*; name it net{ending}"):
            format_of(tmp_path / name)
    (tmp_path / "d.keras").write_bytes(HDF5)
    with pytest.raises(CompileError, match="name it net.h5"):
        format_of(tmp_path / "d.keras")


@pytest.mark.parametrize("name,words", [
    ("net.pt2", "PyTorch weights or a module as Python code, and no network; export it: torch"),
    ("net.pth", "PyTorch weights or a module"), ("net.ckpt", "it holds weights, and no network")])
def test_weights_are_no_network(tmp_path: Path, name: str, words: str) -> None:
    archive(tmp_path / name, "state/data.pkl")
    with pytest.raises(CompileError, match=words):
        format_of(tmp_path / name)


def test_what_is_none(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="no such file or folder"):
        format_of(tmp_path / "net.tflite")
    (tmp_path / "net.txt").write_bytes(b"x")
    with pytest.raises(CompileError, match="no model has the ending '.txt'"):
        format_of(tmp_path / "net.txt")
    assert not is_model("net.mkl")
