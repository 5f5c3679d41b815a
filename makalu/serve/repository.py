# SPDX-License-Identifier: Apache-2.0
"""A folder of models: ``NAME/VERSION/model.onnx``, as Triton and TensorFlow Serving have it.

A version is a number, and its folder has one model of any format that ``makalu compile`` takes, or
``.mkl`` programs of it, one for each batch; a model right in ``NAME`` is version 1.
``NAME/makalu.json``, which may be left out, says how
it is served::

    {"batches": [1, 4], "delay_ms": 2, "serve": "latest",
     "options": {"precision": "fp16", "host": "all", "calibration": "samples.npz"}}

``serve`` is ``latest``, ``all``, or a list of versions; ``options`` are those of ``makalu
compile``, with files relative to the folder.
"""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from compiler.source.imports.formats import is_model
from makalu.serve.requests import Failure, ServeError

SETTINGS = "makalu.json"
FILES = ("calibration",)
"""Options that name files."""


@dataclass(frozen=True)
class Settings:
    """How a model is served.

    Parameters
    ----------
    batches : tuple of int
        Sizes that it is compiled for.
    delay_ms : float
        For how long a request waits for others, unless the largest batch is full.
    serve : str or list of int
    options : dict of str to str
    """

    batches: tuple[int, ...] = (1,)
    delay_ms: float = 0.0
    serve: str | tuple[int, ...] = "latest"
    options: dict[str, Any] = field(default_factory=lambda: {"host": "all"})

    def wanted(self, versions: list[int]) -> list[int]:
        """Of a model's versions those that are served."""
        if isinstance(self.serve, tuple):
            return [v for v in versions if v in self.serve]
        return versions if self.serve == "all" else versions[-1:]


@dataclass(frozen=True)
class Source:
    """A version in the repository. ``stamp`` changes when a file of it does."""

    name: str
    version: int
    model: Path
    settings: Settings
    stamp: tuple[tuple[str, int, int], ...]


class Repository:
    """Models in a folder.

    Raises
    ------
    ServeError
        If there is no such folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._elsewhere: dict[str, Path] = {}
        if not folder.is_dir():
            raise ServeError(Failure.NOT_FOUND, f"there is no folder {str(folder)!r}: make one "
                             "with NAME/VERSION/model.onnx in it, as digits/1/model.onnx")

    def names(self) -> list[str]:
        """The models' names."""
        return sorted({*self._elsewhere, *(p.name for p in self.folder.iterdir()
                                           if p.is_dir() and not p.name.startswith("."))})

    def link(self, name: str, folder: Path) -> None:
        """Have a folder somewhere in the repository be the model of this name.

        Raises
        ------
        ServeError
            If it is not there.
        """
        inside = folder.resolve().is_relative_to(self.folder.resolve())
        if not inside or not folder.is_dir():
            raise ServeError(Failure.BAD, f"{str(folder)!r} is no folder of the repository: put "
                             "the model into it")
        self._elsewhere[name] = folder

    def unlink(self, name: str) -> None:
        """Undo :meth:`link`."""
        self._elsewhere.pop(name, None)

    def versions(self, name: str) -> list[Source]:
        """The versions of a model that are to be served, ascending.

        Raises
        ------
        ServeError
            If there is no such model, or its folder is not as it should be.
        """
        if name not in self.names():
            raise ServeError(Failure.NOT_FOUND, f"there is no model {name!r} in the repository")
        folder = self._elsewhere.get(name, self.folder / name)
        settings = _settings(folder)
        numbers = sorted(int(p.name) for p in folder.iterdir()
                         if p.is_dir() and p.name.isdecimal() and str(int(p.name)) == p.name)
        if not numbers and any(p.is_file() and p.name != SETTINGS for p in folder.iterdir()):
            return [Source(name, 1, _model(folder), settings, _stamp(folder, folder))]
        if not numbers:
            raise ServeError(Failure.BAD, f"model {name!r} has no version: put it into "
                             f"{name}/1/model.onnx")
        return [Source(name, n, _model(folder / str(n)), settings,
                       _stamp(folder, folder / str(n))) for n in settings.wanted(numbers)]


def _settings(folder: Path) -> Settings:
    path = folder / SETTINGS
    if not path.is_file():
        return Settings()
    try:
        given = json.loads(path.read_text())
        unknown = given.keys() - {f.name for f in fields(Settings)}
        if unknown:
            raise ValueError(f"there is no setting {', '.join(sorted(unknown))}")
        given = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        settings = Settings(**given)
        _check(settings)
    except (ValueError, TypeError, AttributeError) as e:
        raise ServeError(Failure.BAD, f"{folder.name}/{SETTINGS}: {e}") from None
    options = {k: str((folder / str(v)).resolve()) if k in FILES else str(v)
               for k, v in {"host": "all", **settings.options}.items()}
    return Settings(settings.batches, settings.delay_ms, settings.serve, options)


def _check(settings: Settings) -> None:
    def whole(v: Any) -> bool:
        return isinstance(v, int) and not isinstance(v, bool) and v > 0

    if not settings.batches or not all(map(whole, settings.batches)):
        raise ValueError("batches have to be whole numbers from 1")
    if not 0 <= settings.delay_ms <= 60_000:
        raise ValueError("delay_ms has to be from 0 to 60,000")
    if settings.serve not in ("latest", "all") and not (
            isinstance(settings.serve, tuple) and all(map(whole, settings.serve))):
        raise ValueError("serve has to be 'latest', 'all' or a list of versions")
    if not isinstance(settings.options, dict) or settings.options.keys() & {"config", "batch"}:
        raise ValueError("options are those of makalu compile, but for config and batch")


def _model(folder: Path) -> Path:
    """The model in a version's folder, or the folder itself if it is one."""
    where = f"{folder.parent.name}/{folder.name}"
    found = [p for p in sorted(folder.iterdir()) if p.suffix == ".mkl" or is_model(p)]
    names = {p.name for p in folder.iterdir()}
    if names & {"saved_model.pb", "predict_net.pb", "predict_net.pbtxt"}:
        return folder
    if not found or len(found) > 1 and any(p.suffix != ".mkl" for p in found):
        raise ServeError(Failure.BAD, f"{where} has {len(found)} models: put one there, as "
                         "model.onnx or model.tflite, or a .mkl program for each batch")
    return found[0]


def _stamp(folder: Path, version: Path) -> tuple[tuple[str, int, int], ...]:
    found = [(p, p.stat()) for p in {folder / SETTINGS, *version.rglob("*")} if p.is_file()]
    return tuple((str(p), s.st_mtime_ns, s.st_size) for p, s in sorted(found, key=lambda f: f[0]))
