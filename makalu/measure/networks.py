# SPDX-License-Identifier: Apache-2.0
"""Which networks there are to measure: files, folders of them, and the light models of ``onnx``."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx

from makalu.measure import light
from makalu.shipped import EXAMPLES

SHIPPED = EXAMPLES / "digits_int8.onnx"
SHIPPED_FP32 = SHIPPED.with_name("digits_fp32.onnx")
MODELS = "MAKALU_MODELS"
"""Environment variable that names a folder with more networks."""

LIGHT = ("squeezenet", "shufflenet", "resnet50", "vgg19")
"""The light models that are measured. Inception v2 and DenseNet-121 run, too; the others normalize
across channels (LRN) in their middle, which the machine does not do."""

LIGHT_FP32 = ("squeezenet", "resnet50")
"""Those that are measured in FP16."""

HALVES = "vgg19"
"""The light model whose convolutions and fully connected layers are measured apart as well."""


@dataclass(frozen=True)
class Network:
    """A network to measure.

    Parameters
    ----------
    label : str
        What to call it.
    source : callable
        Gives the model, or the file with it.
    large : bool
        Whether its simulation takes minutes.
    """

    label: str
    source: Callable[[], Path | onnx.ModelProto]
    large: bool = False


def networks(folder: str | Path | None = None, precision: str = "int8"
             ) -> tuple[list[Network], dict[str, str]]:
    """All that ``makalu bench`` measures by itself: the shipped network, those of a folder if one
    is named, and the light models, quantized or in FP32 for another precision; and why files of the
    folder are left out."""
    files = networks_in(folder) if folder or os.environ.get(MODELS) else []
    if precision != "int8":
        real = [p for p in (SHIPPED_FP32, *files) if p not in quantized([p])[0]]
        rest = {label: "it is quantized" for p, label in labels(files).items() if p not in real}
        return [*of_files(real), *(Network(name, partial(light.model, name), large=True)
                                   for name in LIGHT_FP32)], rest
    given, left = quantized([SHIPPED, *files])
    whole = [Network(name, partial(light.quantized, name), large=name != LIGHT[0])
             for name in LIGHT]
    parts = [Network(f"{HALVES}_{part}", partial(light.half, HALVES, part), large=True)
             for part in light.HALVES]
    return [*of_files(given), *whole[:-1], *parts, whole[-1]], left


def of_files(paths: Sequence[Path]) -> list[Network]:
    """The networks in files."""
    return [Network(label, partial(Path, path)) for path, label in labels(paths).items()]


def networks_in(folder: str | Path | None = None) -> list[Path]:
    """The ``.onnx`` files in and below ``folder``, or the folder that ``MAKALU_MODELS`` names.

    Raises
    ------
    FileNotFoundError
        If no folder is named, there is no such folder, or it has no networks.
    """
    where = folder or os.environ.get(MODELS)
    if not where:
        raise FileNotFoundError("no folder of networks is named; give one, or set "
                                f"{MODELS}=FOLDER")
    if not Path(where).is_dir():
        raise FileNotFoundError(f"there is no folder {str(where)!r} with networks; name one with "
                                f"{MODELS}=FOLDER")
    found = sorted(Path(where).rglob("*.onnx"))
    if not found:
        raise FileNotFoundError(f"there is no .onnx file in or below {str(where)!r}; name another "
                                f"folder with {MODELS}=FOLDER")
    return found


def labels(paths: Iterable[Path]) -> dict[Path, str]:
    """What to call each network: its file's name, with its folder's where two are called alike."""
    paths = list(paths)
    stems = Counter(p.stem for p in paths)
    return {p: p.stem if stems[p.stem] == 1 else f"{p.parent.name}/{p.stem}" for p in paths}


def quantized(paths: Sequence[Path]) -> tuple[list[Path], dict[str, str]]:
    """The files that are quantized, or no models at all (the compiler says so), and of the FP32
    ones by label why they are left out."""
    from compiler.source.quantize import is_quantized

    real = [p for p in paths if (m := _model(p)) is not None and not is_quantized(m)]
    rest = [p for p in paths if p not in real]
    beside = {p: [q.stem for q in rest if q.parent == p.parent] for p in real}
    return rest, {label: f"FP32; {beside[p][0]} is beside it" if beside[p]
                  else "FP32 without calibration data"
                  for p, label in labels(paths).items() if p in real}


def _model(path: Path) -> onnx.ModelProto | None:
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # protobuf's errors have no common class
        return None
    return model if model.graph.node else None
