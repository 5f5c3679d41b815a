# SPDX-License-Identifier: Apache-2.0
"""Files as network inputs: ``.npy``, ``.npz`` and pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from runtime.session import InputError, Port

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def read_inputs(arguments: Sequence[str], ports: Sequence[Port]) -> dict[str, np.ndarray]:
    """Arrays by input name.

    Parameters
    ----------
    arguments : sequence of str
        Files: one ``.npz`` with arrays named like the inputs (others are ignored), a ``.npy`` for
        the only input, ``NAME=FILE.npy`` for one of several, or pictures, which together are a
        batch of the only input: resized to its height and width, float inputs from 0 to 1.
    ports : sequence of Port
        The program's inputs.

    Raises
    ------
    InputError
        If a file cannot be read or does not fit.
    """
    values: dict[str, np.ndarray] = {}
    pictures: list[np.ndarray] = []
    for argument in arguments:
        name, equals, rest = argument.partition("=")
        named = bool(equals) and name in {p.name for p in ports}
        path = Path(rest if named else argument)
        if not path.is_file():
            raise InputError(f"there is no input file {str(path)!r}: give a .npy, a .npz or a "
                             "picture")
        if path.suffix == ".npz":
            values |= _read_npz(path, ports)
        elif path.suffix in (".npy", *PICTURES):
            port = next(p for p in ports if p.name == name) if named else _only(ports, path)
            if path.suffix == ".npy":
                values[port.name] = _numpy(path)
            else:
                pictures.append(picture(path, port))
                values[port.name] = np.concatenate(pictures)
        else:
            raise InputError(f"{path}: no input of the kind {path.suffix or 'without a suffix'!r}:"
                             f" give a .npy, a .npz or a picture ({', '.join(PICTURES)})")
    return values


def _only(ports: Sequence[Port], path: Path) -> Port:
    if len(ports) != 1:
        names = ", ".join(p.name for p in ports)
        raise InputError(f"{path}: the network has the inputs {names}; say which one with "
                         f"NAME={path}")
    return ports[0]


def _numpy(path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path))
    except (OSError, ValueError) as e:
        raise InputError(f"{path}: not a numpy file ({e})") from None


def _read_npz(path: Path, ports: Sequence[Port]) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as data:
            found = {p.name: data[p.name] for p in ports if p.name in data}
            names = ", ".join(data)
    except (OSError, ValueError) as e:
        raise InputError(f"{path}: not a numpy archive ({e})") from None
    if not found:
        raise InputError(f"{path} holds {names}, but the network's inputs are "
                         f"{'; '.join(map(str, ports))}")
    return found


def picture(path: Path, port: Port, crop: float = 0) -> np.ndarray:
    """A picture as a batch of one.

    Parameters
    ----------
    path : Path
        The file.
    port : Port
        Its layout is NCHW, or NHWC when the last dimension is the one that can be channels.
    crop : float
        Cut the port's height and width out of the middle of a picture scaled to cover ``crop``
        times them; 0: squeeze the whole picture into them.

    Raises
    ------
    InputError
        If the file is no picture, or the port takes none.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise InputError(f"{path}: reading pictures needs Pillow: pip install pillow") from None
    if len(port.shape) != 4:
        raise InputError(f"{path}: input {port} takes no picture; give a .npy file")
    last = port.shape[1] not in (1, 3) and port.shape[3] in (1, 3)
    channels = port.shape[3] if last else port.shape[1]
    height, width = port.shape[1:3] if last else port.shape[2:]
    if channels not in (1, 3) or port.dtype not in (np.uint8, np.float32):
        raise InputError(f"{path}: input {port} takes no picture; give a .npy file")
    try:
        with Image.open(path) as image:
            small = image.convert("L" if channels == 1 else "RGB")
            if crop:
                scale = crop * max(width / small.width, height / small.height)
                wide, high = round(small.width * scale), round(small.height * scale)
                left, top = (wide - width) // 2, (high - height) // 2
                small = small.resize((wide, high)).crop((left, top, left + width, top + height))
            else:
                small = small.resize((width, height))
    except (OSError, UnidentifiedImageError) as e:
        raise InputError(f"{path}: not a picture ({e})") from None
    x = np.asarray(small).reshape(height, width, channels)
    x = x if last else x.transpose(2, 0, 1)
    return (x[None] / np.float32(255)).astype(np.float32) if port.dtype == np.float32 else x[None]
