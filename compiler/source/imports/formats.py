# SPDX-License-Identifier: Apache-2.0
"""Which format a model's file or folder has, by its name and its first bytes."""

import enum
import zipfile
from pathlib import Path

from compiler.ir.errors import CompileError
from compiler.source.imports.caffe2 import files as caffe2


class Format(enum.Enum):
    """A format that a model may come in; the value is what people call it."""

    ONNX = "ONNX"
    SAVED_MODEL = "TensorFlow SavedModel"
    GRAPH_DEF = "TensorFlow frozen GraphDef"
    KERAS = "Keras model"
    TFLITE = "TensorFlow Lite"
    TORCH = "PyTorch ExportedProgram"
    CAFFE2 = "Caffe2 net"


SUFFIXES = {".onnx": Format.ONNX, ".pb": Format.GRAPH_DEF, ".keras": Format.KERAS,
            ".h5": Format.KERAS, ".hdf5": Format.KERAS, ".tflite": Format.TFLITE,
            ".pt2": Format.TORCH}

KNOWN = ("an .onnx file, a TensorFlow SavedModel folder, a frozen GraphDef (.pb), Keras (.keras, "
         ".h5), TensorFlow Lite (.tflite), a PyTorch ExportedProgram (.pt2) or Caffe2 "
         "(predict_net.pb with init_net.pb beside it, or their folder)")


NAMED = {Format.GRAPH_DEF}
"""Formats whose inputs and outputs can be named."""

SHAPED = {Format.GRAPH_DEF, Format.SAVED_MODEL, Format.KERAS, Format.CAFFE2}
"""Formats that may leave shapes of inputs open, which can be given."""


def is_model(path: str | Path) -> bool:
    """Whether the path has the name of a model, and not that of a compiled program."""
    return Path(path).suffix in (*SUFFIXES, ".pbtxt") or Path(path).is_dir()


def format_of(path: Path) -> Format:
    """The format of a model.

    Raises
    ------
    CompileError
        If there is nothing at the path, or it is none of the formats.
    """
    where = str(path)
    if not path.exists():
        raise CompileError(where, "there is no such file or folder", "check the path")
    if caffe2.find(path):
        return Format.CAFFE2
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return Format.SAVED_MODEL
        raise CompileError(where, "the folder has neither saved_model.pb nor predict_net",
                           f"give {KNOWN}")
    found = SUFFIXES.get(path.suffix)
    if found is None:
        raise CompileError(where, f"no model has the ending {path.suffix!r}", f"give {KNOWN}")
    if not _looks_like(path, found):
        raise CompileError(where, f"its contents are not {found.value}",
                           "check the file, or whether its name has the right ending")
    return found


def _looks_like(path: Path, wanted: Format) -> bool:
    """Whether the file begins as the format does, as far as it has a mark."""
    with path.open("rb") as file:
        head = file.read(8)
    if wanted is Format.TFLITE:
        return head[4:8] == b"TFL3"
    if wanted is Format.TORCH or path.suffix == ".keras":
        return zipfile.is_zipfile(path)
    if wanted is Format.KERAS:
        return head == b"\x89HDF\r\n\x1a\n"
    return True
