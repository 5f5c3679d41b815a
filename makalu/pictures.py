# SPDX-License-Identifier: Apache-2.0
"""Pictures as network inputs: size, layout, and what a pixel's value becomes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.ports import InputError, Port

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")

FITS = ("crop", "pad", "squeeze")
LAYOUTS = ("nchw", "nhwc")

COARSE = 0.5
"""Quantization step from which on an input's values are bytes' and not fractions of white: of one
from 0 to 1 it would leave three values."""


@dataclass(frozen=True)
class Pictures:
    """How pictures become inputs.

    Parameters
    ----------
    fit : str
        ``crop``: scale until the input's height and width are covered, and cut out the middle;
        ``pad``: until the whole picture is inside, with black around it; ``squeeze``: each side by
        itself.
    crop : float
        With ``crop``, the share of the covering part that is taken, of each side: 0.875 is the
        middle 224 pixels of 256.
    white : float, optional
        The value of a white pixel; black is 0. Unless given 1, and 255 for an integer input whose
        quantization step is :data:`COARSE` or more.
    mean, std : tuple of float
        Of one element or one a channel, in units of ``white``: ``(value - mean) / std``.
    layout : str
        ``nchw`` or ``nhwc``; unless given, NHWC if only its last dimension can be channels.

    An unsigned input takes the bytes as they are unless ``white``, ``mean`` or ``std`` is given.
    Integers are quantized with the input's own scale and zero point.
    """

    fit: str = "crop"
    crop: float = 1.0
    white: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: str = ""

    def read(self, path: Path, port: Port) -> np.ndarray:
        """A picture as a batch of one.

        Raises
        ------
        InputError
            If the file is no picture, or the port takes none.
        """
        channels, height, width, last = self._shape(path, port)
        x = self._pixels(path, channels, height, width)
        x = self._values(x, path, port, channels)
        return (x if last else x.transpose(2, 0, 1))[None]

    def _shape(self, path: Path, port: Port) -> tuple[int, int, int, bool]:
        """Channels, height, width of a port, and whether channels are last."""
        if len(port.shape) == 4:
            last = self.layout == "nhwc" if self.layout else (
                port.shape[1] not in (1, 3) and port.shape[3] in (1, 3))
            channels = port.shape[3] if last else port.shape[1]
            if channels in (1, 3):
                return channels, *(port.shape[1:3] if last else port.shape[2:]), last
        raise InputError(f"{path}: input {port} takes no picture, which has 1 or 3 channels in "
                         "NCHW or NHWC; give a .npy file")

    def _pixels(self, path: Path, channels: int, height: int, width: int) -> np.ndarray:
        """uint8 ``[height, width, channels]``."""
        try:
            from PIL import Image, ImageOps
        except ImportError:
            raise InputError(f"{path}: reading pictures needs Pillow: pip install pillow"
                             ) from None
        try:
            with Image.open(path) as image:
                whole = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
            raise InputError(f"{path}: not a picture ({e})") from None
        size = width, height
        small = (whole.resize(size) if self.fit == "squeeze" else
                 ImageOps.pad(whole, size) if self.fit == "pad" else
                 ImageOps.fit(whole, size, bleed=(1 - self.crop) / 2))
        return np.asarray(small).reshape(height, width, channels)

    def _values(self, pixels: np.ndarray, path: Path, port: Port, channels: int) -> np.ndarray:
        """Pixels in the port's type."""
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (0, 1, channels):
                raise InputError(f"{path}: {len(values)} values of {name} for {channels} channels; "
                                 "give one, or one a channel")
        if 0 in self.std:
            raise InputError(f"{path}: a standard deviation of 0 leaves nothing of a picture; give "
                             "what the network was trained with")
        plain = self.white is None and not self.mean and not self.std
        if port.dtype == np.uint8 and plain:
            return pixels
        integers = port.dtype.kind in "iu"
        if integers and not port.scale:
            raise InputError(f"{path}: the quantization of input {port} is not known; give a .npy "
                             "file")
        white = self.white or (255 if port.scale >= COARSE else 1)
        x: np.ndarray = pixels * np.float32(white / 255)
        x = ((x - np.array(self.mean or 0, np.float32)) / np.array(self.std or 1, np.float32))
        if not integers:
            return x.astype(port.dtype)
        info = np.iinfo(port.dtype)
        return np.clip(np.rint(x / np.float32(port.scale)) + port.zero_point, info.min, info.max
                       ).astype(port.dtype)
