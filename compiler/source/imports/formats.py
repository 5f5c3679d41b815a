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


MARKED = {".keras", ".h5", ".tflite", ".pt2"}
"""Endings whose files have a mark in them."""

NAMED = {Format.GRAPH_DEF}
"""Formats whose inputs and outputs can be named."""

SET = {Format.GRAPH_DEF}
"""Formats whose placeholders may be given as numbers."""

SIGNED = {Format.SAVED_MODEL}
"""Formats that may have several signatures."""

TORCH = ("it holds PyTorch weights or a module as Python code, and no network",
         "export it: torch.export.save(torch.export.export(module, (example,)), 'net.pt2')")
WEIGHTS = ("it holds weights, and no network", "export the network with them, as ONNX for instance")
NO_NETWORK = {".pt": TORCH, ".pth": TORCH, ".ckpt": WEIGHTS, ".index": WEIGHTS,
              ".safetensors": WEIGHTS}
"""Endings of files that hold no network: what is wrong, and the cure."""

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
    if path.suffix in NO_NETWORK:
        raise CompileError(where, *NO_NETWORK[path.suffix])
    if found is None:
        raise CompileError(where, f"no model has the ending {path.suffix!r}", f"give {KNOWN}")
    ending = _ending(path)
    if ending == ".pt":
        raise CompileError(where, *TORCH)
    wanted = {".hdf5": ".h5"}.get(path.suffix, path.suffix)
    if ending != (wanted if wanted in MARKED else ""):
        raise CompileError(where,
                           f"its contents are not those of a {path.suffix} file ({found.value})",
                           f"name it net{ending}, which is what it holds" if ending else
                           "check the file, or whether its name has the right ending")
    return found


def _ending(path: Path) -> str:
    """The ending that the contents of a file ask for; none if they have no mark."""
    with path.open("rb") as file:
        head = file.read(8)
    if head[4:8] == b"TFL3":
        return ".tflite"
    if head == b"\x89HDF\r\n\x1a\n":
        return ".h5"
    if not zipfile.is_zipfile(path):
        return ""
    with zipfile.ZipFile(path) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()}
    if "archive_format" in names or "serialized_exported_program.json" in names:
        return ".pt2"
    return ".keras" if "config.json" in names else ".pt" if "data.pkl" in names else ""
