# SPDX-License-Identifier: Apache-2.0
"""Files as network inputs: ``.npy``, ``.npz``, ``.pb`` and pictures."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import onnx
from onnx import numpy_helper

from makalu.pictures import SUFFIXES, Pictures
from runtime.ports import InputError, Port

KINDS = ".npy, .npz, .pb (an ONNX tensor) or a picture"

PLAIN = Pictures()

Say = Callable[[str], None]


def read_inputs(arguments: Sequence[str], ports: Sequence[Port], pictures: Pictures = PLAIN,
                say: Say = lambda text: None) -> dict[str, np.ndarray]:
    """Arrays by input name.

    Parameters
    ----------
    arguments : sequence of str
        Files: a ``.npz`` with arrays named like the inputs (others are ignored; of the only input
        any name will do if one array fits), a ``.npy`` or ``.pb`` for the only input, or pictures,
        which together are a batch of the only input. ``NAME=FILE`` names the input, and
        ``FILE.npz:KEY`` the array.
    ports : sequence of Port
        The program's inputs.
    pictures : Pictures
        How they become inputs.
    say : callable
        Called with a sentence for each array that was converted.

    Raises
    ------
    InputError
        If a file cannot be read or does not fit.
    """
    values: dict[str, np.ndarray] = {}
    batch: dict[str, list[np.ndarray]] = {}
    for argument in arguments:
        name, path, key = _parsed(argument, ports)
        if path.suffix == ".npz" and not (name or key):
            values |= _archive(path, ports)
        elif path.suffix in (".npz", ".npy", ".pb"):
            port = _port(name, ports, path)
            values[port.name] = (_member(path, key, port) if path.suffix == ".npz" else
                                 _tensor(path) if path.suffix == ".pb" else _numpy(path))
        elif path.suffix.lower() in SUFFIXES:
            port = _port(name, ports, path)
            batch.setdefault(port.name, []).append(pictures.read(path, port))
        else:
            raise InputError(f"{path}: no input of the kind {path.suffix or 'without a suffix'!r}:"
                             f" give a {KINDS} ({', '.join(SUFFIXES)})")
    values |= {name: np.concatenate(parts) for name, parts in batch.items()}
    return {p.name: _converted(values[p.name], p, say) for p in ports if p.name in values}


def _parsed(argument: str, ports: Sequence[Port]) -> tuple[str, Path, str]:
    """Input name, file and key; the first and the last may be empty."""
    name, equals, rest = argument.partition("=")
    if not equals or name not in {p.name for p in ports}:
        name, rest = "", argument
    path, key = Path(rest), ""
    if not path.is_file() and ".npz:" in rest:
        file, key = rest.rsplit(":", 1)
        path = Path(file)
    if not path.is_file():
        raise InputError(f"there is no input file {str(path)!r}: give a {KINDS}")
    return name, path, key


def _port(name: str, ports: Sequence[Port], path: Path) -> Port:
    if name:
        return next(p for p in ports if p.name == name)
    if len(ports) != 1:
        names = ", ".join(p.name for p in ports)
        raise InputError(f"{path}: the network has the inputs {names}; say which one with "
                         f"NAME={path}")
    return ports[0]


def _numpy(path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path))
    except (OSError, ValueError, EOFError, MemoryError) as e:
        raise InputError(f"{path}: not a numpy file ({e})") from None


def _tensor(path: Path) -> np.ndarray:
    """An ONNX tensor, as the ``test_data_set`` folders of models have them."""
    try:
        return numpy_helper.to_array(onnx.load_tensor(path))
    except Exception as e:  # protobuf's errors have no common class
        raise InputError(f"{path}: not an ONNX tensor ({e})") from None


def arrays(path: Path) -> dict[str, np.ndarray]:
    """All of a numpy archive.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        with open(path, "rb") as file, np.load(file) as data:
            return dict(data)
    except (OSError, ValueError, EOFError, TypeError, BadZipFile) as e:
        raise InputError(f"{path}: not a numpy archive ({e})") from None


def fits(value: np.ndarray, port: Port) -> bool:
    """Whether an array, once converted, is some elements of an input."""
    floats = value.dtype.kind == port.dtype.kind == "f"
    return bool((value.dtype == port.dtype or floats)
                and value.ndim == len(port.shape) > 0 and len(value) and all(
                    want in (0, have) for want, have in zip(port.shape[1:], value.shape[1:])))


def _archive(path: Path, ports: Sequence[Port]) -> dict[str, np.ndarray]:
    data = arrays(path)
    found = {p.name: data[p.name] for p in ports if p.name in data}
    if not found and len(ports) == 1:
        alike = [v for v in data.values() if fits(v, ports[0])]
        if len(alike) == 1:
            return {ports[0].name: alike[0]}
    if not found:
        held = ", ".join(f"{k} ({v.dtype} {list(v.shape)})" for k, v in data.items())
        raise InputError(f"{path} holds {held}, but the network's inputs are "
                         f"{'; '.join(map(str, ports))}: name an array with NAME={path}:KEY")
    return found


def _member(path: Path, key: str, port: Port) -> np.ndarray:
    data = arrays(path)
    if (key or port.name) not in data:
        raise InputError(f"{path} has no array {key or port.name!r}; it has {', '.join(data)}")
    return data[key or port.name]


def _converted(value: np.ndarray, port: Port, say: Say) -> np.ndarray:
    """Floats of another width in the input's; whatever else differs the session refuses."""
    if value.dtype == port.dtype or not value.dtype.kind == port.dtype.kind == "f":
        return value
    say(f"input {port.name!r}: {value.dtype} is converted to {port.dtype}")
    return value.astype(port.dtype)


def unusual(values: Mapping[str, np.ndarray]) -> list[str]:
    """A sentence for each input with elements that are not finite."""
    told = []
    for name, value in values.items():
        if value.dtype.kind != "f":
            continue
        counts = {"NaN": int(np.isnan(value).sum()), "infinite": int(np.isinf(value).sum())}
        if any(counts.values()):
            what = " and ".join(f"{n:,} {kind}" for kind, n in counts.items() if n)
            told.append(f"input {name!r} has {what} of {value.size:,} elements: what the network "
                        "makes of them means nothing")
    return told
