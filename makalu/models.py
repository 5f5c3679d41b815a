# SPDX-License-Identifier: Apache-2.0
"""What a user has, as an ONNX file: models of other formats are converted once and kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from compiler.ir.errors import CompileError
from compiler.source.imports.caffe2 import files
from compiler.source.imports.caffe2.load import load
from compiler.source.imports.formats import NAMED, SET, SHAPED, SIGNED, Format, format_of
from compiler.source.imports.foreign import Edges, Taken, take
from sim.cache import digest, kept


def onnx_file(path: str | Path, edges: Edges | None = None, verify: bool = True,
              say: Callable[[str], None] = lambda text: None) -> Path:
    """The ONNX file of a model.

    Parameters
    ----------
    path : str or Path
        Any of :class:`compiler.source.imports.formats.Format`; an ONNX file is given back as it is.
    edges : Edges, optional
        What the file does not say of its inputs and outputs.
    verify : bool
        Whether the original is run for comparison.
    say : function of str
        Called with what was taken, and how it was checked.

    Raises
    ------
    compiler.ir.errors.CompileError
        If the format does not take what ``edges`` says; and as
        :func:`compiler.source.imports.foreign.take`.
    """
    path, edges = Path(path), edges or Edges()
    kind = Format.ONNX if path.suffix == ".onnx" else format_of(path)
    for given, takers, option in ((edges.inputs, NAMED, "--model-input"),
                                  (edges.outputs, NAMED, "--model-output"),
                                  (edges.shapes, SHAPED, "--shape"), (edges.values, SET, "--set"),
                                  (edges.signature, SIGNED, "--signature")):
        if given and kind not in takers:
            raise CompileError(str(path), f"{option} is not for {kind.value}: the file says what "
                               "its inputs and outputs are", "leave it out")
    if kind is Format.ONNX:
        return path

    def make(file: Path) -> dict[str, Any]:
        say(f"{path.name}: converting, once; this takes some seconds")
        taken = caffe2_net(path, edges) if kind is Format.CAFFE2 else take(
            path, kind, edges, verify)
        onnx.save(taken.model, file)
        return {"said": taken.said}

    key = digest(kind.name, repr(edges), str(verify), *_contents(
        path.parent if kind is Format.CAFFE2 and path.is_file() else path))
    file, found = kept("imports", f"{path.stem}-{key}.onnx", make)
    say(found["said"])
    return file


def caffe2_net(path: Path, edges: Edges) -> Taken:
    """A Caffe2 net by Makalu's own importer, whose operators are compared with Caffe2 in its tests:
    Caffe2 itself runs on no Python of today."""
    found = files.find(path)
    assert found is not None, "the format is known"
    model = load(*found, dict(edges.shapes) or None)
    return Taken(model, f"{path.name}: Caffe2, inputs "
                 f"{', '.join(i.name for i in model.graph.input)}, outputs "
                 f"{', '.join(o.name for o in model.graph.output)}; there is no Caffe2 to compare "
                 "it with here")


def _contents(path: Path) -> list[bytes]:
    """All bytes of a file, or of a folder's files in a fixed order, with their names."""
    if path.is_file():
        return [path.read_bytes()]
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return [part for p in files for part in (str(p.relative_to(path)).encode(), p.read_bytes())]
