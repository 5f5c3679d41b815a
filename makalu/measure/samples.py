# SPDX-License-Identifier: Apache-2.0
"""The inputs that lie beside a model: arrays with labels, photos, or, failing both, random numbers.

What is looked for, in the folder of the model: every ``.npz`` with an array that fits the input,
whatever it is called (for a network with several inputs: arrays named like them), with labels if
there is an array ``label`` or ``labels`` of as many elements; and the pictures in ``photos/``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from makalu.inputs import arrays, fits
from makalu.pictures import SUFFIXES, Pictures
from runtime.ports import InputError, Port

PHOTOS = Pictures(crop=128 / 146)
"""The middle of a photo whose shorter side is 146 pixels for a network of 128."""

LABELS = ("label", "labels")


@dataclass(frozen=True)
class Samples:
    """Inputs of a network.

    Parameters
    ----------
    inputs : dict of arrays
        By name, with one length along their first axes.
    labels : np.ndarray, optional
        The right answers.
    source : str
        Where they come from, for people.
    given : bool
        Whether they were found; otherwise they are random.
    """

    inputs: dict[str, np.ndarray]
    labels: np.ndarray | None
    source: str
    given: bool

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


def random_inputs(ports: Sequence[Port], seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs of one execution: floats from -1 to 1, integers over their whole range."""
    rng = np.random.default_rng(seed)
    values = {}
    for p in ports:
        if p.dtype.kind == "f":
            values[p.name] = rng.uniform(-1, 1, p.shape).astype(p.dtype)
        else:
            info = np.iinfo(p.dtype)
            values[p.name] = rng.integers(info.min, info.max, p.shape, p.dtype, endpoint=True)
    return values


def samples(model: Path, ports: Sequence[Port], count: int) -> Samples:
    """All inputs that are given beside a model, or ``count`` random executions."""
    found = [s for path in sorted(model.parent.glob("*.npz"))
             if (s := _archive(path, ports)) is not None]
    photos = _photos(model.parent / "photos", ports)
    if photos is not None:
        found.append(photos)
    if found:
        labels = [s.labels for s in found if s.labels is not None]
        return Samples({p.name: np.concatenate([s.inputs[p.name] for s in found]) for p in ports},
                       np.concatenate(labels) if len(labels) == len(found) else None,
                       ", ".join(s.source for s in found), True)
    made = [random_inputs(ports, seed) for seed in range(count)]
    return Samples({p.name: np.concatenate([m[p.name] for m in made]) for p in ports}, None,
                   "random, since none are given beside the model", False)


def _archive(path: Path, ports: Sequence[Port]) -> Samples | None:
    try:
        data = arrays(path)
    except InputError:
        return None
    if len(ports) == 1:
        alike = [k for k, v in data.items() if fits(v, ports[0])]
        names = {ports[0].name: alike[0]} if alike else {}
    else:
        names = {p.name: p.name for p in ports if p.name in data and fits(data[p.name], p)}
    if len(names) < len(ports) or len({len(data[k]) for k in names.values()}) != 1:
        return None
    inputs = {p.name: data[names[p.name]].astype(p.dtype) for p in ports}
    count = len(next(iter(inputs.values())))
    labels = next((data[k] for k in LABELS if k in data and data[k].shape == (count,)), None)
    return Samples(inputs, labels, path.name, True)


def _photos(folder: Path, ports: Sequence[Port]) -> Samples | None:
    files = sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES)
    if len(ports) != 1 or not files:
        return None
    try:
        pictures = [PHOTOS.read(path, ports[0]) for path in files]
    except InputError:  # the network takes no pictures
        return None
    return Samples({ports[0].name: np.concatenate(pictures)}, None, "photos/", True)
