# SPDX-License-Identifier: Apache-2.0
"""How tensors lie in memory: the table entry that describes a buffer, packing and unpacking.

Two layouts, both with rows that start on a scratchpad word (``L`` bytes); an element of two bytes
counts as two channels of one:

* ``blocked`` ``[N][ceil(C/L)][H][W][L]``: channel ``c`` of a pixel is byte ``c % L`` of the word in
  block ``c // L``;
* ``packed`` ``[N][H][W][4]``: up to four channels a pixel, four bytes each, rows padded to a word;
  for inputs with few channels, which the feeder reads at 4-byte alignment.
"""

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from isa.config import GRANULE
from isa.instructions import Region

KINDS = ("blocked", "packed")


@dataclass(frozen=True, kw_only=True)
class Buffer:
    """A tensor in DRAM.

    Parameters
    ----------
    name : str
        Name of the graph's input or output.
    region, offset, size : int
        Where it lies: a :class:`isa.instructions.Region` and bytes in it.
    dtype : str
        ``"int8"``, ``"uint8"``, ``"float16"`` or ``"bfloat16"``; of the last two the host's array
        is float32, rounded to nearest even on the way in.
    shape : tuple[int, ...]
        Shape of the host's array.
    view, perm, nchw : tuple[int, ...]
        ``host.reshape(view).transpose(perm).reshape(nchw)`` is the tensor as the network sees it.
    cell : tuple[int, int]
        Rows and columns of the tensor that are one pixel of the machine's: channel ``c`` of
        position ``(i, j)`` in the cell is its channel ``(i * cell[1] + j) * C + c``.
    kind : str
        ``"blocked"`` or ``"packed"``.
    n_pitch, block_pitch, row_pitch : int
        Bytes from an image, a channel block and a row to the next; multiples of the word.
    fill : int
        Value of the bytes that hold no element.
    scale, zero_point : float, int
        Quantization of the tensor.
    """

    name: str
    region: int
    offset: int
    size: int
    dtype: str
    shape: tuple[int, ...]
    view: tuple[int, ...]
    perm: tuple[int, ...]
    nchw: tuple[int, int, int, int]
    kind: str
    n_pitch: int
    block_pitch: int
    row_pitch: int
    fill: int = 0
    scale: float = 1.0
    zero_point: int = 0
    cell: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        for name in ("shape", "view", "perm", "nchw", "cell"):
            object.__setattr__(self, name, tuple(int(v) for v in getattr(self, name)))

    def __repr__(self) -> str:
        return (f"<Buffer {self.name}: {self.dtype} {list(self.shape)}, {self.kind}, "
                f"{self.size:,} bytes at {self.offset:#x} of region {Region(self.region).name}>")


_FLOATS = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}

RANGE = {"int8": (-128, 127), "uint8": (0, 255), "float16": (0, 0), "bfloat16": (0, 0)}
"""The types of elements, and the zero points that they may have."""


def host_dtype(buffer: Buffer) -> np.dtype:
    """Type of the host's array."""
    return np.dtype(np.float32 if buffer.dtype in _FLOATS else buffer.dtype)


def machine_shape(buffer: Buffer) -> tuple[int, int, int, int]:
    """``[N, C, H, W]`` of the machine's pixels, channels of bytes."""
    n, c, h, w = buffer.nchw
    sy, sx = buffer.cell
    return n, c * sy * sx * _size(buffer), -(-h // sy), -(-w // sx)


def pixel_bytes(buffer: Buffer, lanes: int) -> int:
    """Bytes of a pixel in a channel block."""
    return GRANULE * _size(buffer) if buffer.kind == "packed" else lanes


def _size(buffer: Buffer) -> int:
    return 2 if buffer.dtype in _FLOATS else 1


def _pixels(memory: np.ndarray, buffer: Buffer, lanes: int) -> np.ndarray:
    """The buffer as a view ``[N, blocks, H, W, bytes of a pixel]`` of ``memory`` (uint8): of each
    pitch its first bytes, cut as slices, which cannot leave the memory.

    Raises
    ------
    ValueError
        If the memory is not that large, or the pitches are too small for what they span.
    """
    n, c, h, w = machine_shape(buffer)
    pixel = pixel_bytes(buffer, lanes)
    blocks = -(-c // pixel)
    if buffer.kind not in KINDS or (buffer.kind == "packed" and blocks > 1):
        raise ValueError(f"buffer {buffer.name!r}: no layout {buffer.kind!r} of {c} channels")
    images = memory[:n * buffer.n_pitch].reshape(n, buffer.n_pitch)
    planes = images[:, :blocks * buffer.block_pitch].reshape(n, blocks, buffer.block_pitch)
    rows = planes[..., :h * buffer.row_pitch].reshape(n, blocks, h, buffer.row_pitch)
    return rows[..., :w * pixel].reshape(n, blocks, h, w, pixel)


def pack(buffer: Buffer, array: np.ndarray, lanes: int) -> np.ndarray:
    """``array`` (host shape and dtype) as the ``buffer.size`` bytes that the machine reads.

    Raises
    ------
    ValueError
        If shape or dtype differ from the buffer's.
    """
    if tuple(array.shape) != buffer.shape or array.dtype != host_dtype(buffer):
        raise ValueError(f"input {buffer.name!r}: expected {host_dtype(buffer)} "
                         f"{list(buffer.shape)}, got {array.dtype} {list(array.shape)}")
    if buffer.dtype in _FLOATS:
        with np.errstate(over="ignore"):
            array = array.astype(_FLOATS[buffer.dtype])
    x = array.reshape(buffer.view).transpose(buffer.perm).reshape(buffer.nchw)
    # the bytes of an element are neighboring channels
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).view(np.uint8).transpose(0, 3, 1, 2)
    n, c, h, w = machine_shape(buffer)
    if buffer.cell != (1, 1):
        sy, sx = buffer.cell
        whole = np.full((n, x.shape[1], h * sy, w * sx), buffer.fill & 0xFF, np.uint8)
        whole[:, :, :buffer.nchw[2], :buffer.nchw[3]] = x
        x = (whole.reshape(n, -1, h, sy, w, sx).transpose(0, 3, 5, 1, 2, 4)
             .reshape(n, c, h, w))
    memory = np.full(buffer.size, buffer.fill & 0xFF, np.uint8)
    target = _pixels(memory, buffer, lanes)
    blocks, pixel = target.shape[1], target.shape[4]
    padded = np.full((n, blocks * pixel, h, w), buffer.fill & 0xFF, np.uint8)
    padded[:, :c] = x
    target[:] = padded.reshape(n, blocks, pixel, h, w).transpose(0, 1, 3, 4, 2)
    return memory


def unpack(buffer: Buffer, memory: np.ndarray, lanes: int) -> np.ndarray:
    """The array (host shape and dtype) in the buffer's bytes."""
    source = _pixels(np.ascontiguousarray(memory[:buffer.size]), buffer, lanes)
    n, c, h, w = machine_shape(buffer)
    x = source.transpose(0, 1, 4, 2, 3).reshape(n, -1, h, w)[:, :c]
    if buffer.cell != (1, 1):
        sy, sx = buffer.cell
        x = (x.reshape(n, sy, sx, -1, h, w).transpose(0, 3, 4, 1, 5, 2)
             .reshape(n, -1, h * sy, w * sx))[:, :, :buffer.nchw[2], :buffer.nchw[3]]
    elements = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).view(
        _FLOATS.get(buffer.dtype, buffer.dtype)).transpose(0, 3, 1, 2)
    view = np.array(buffer.view)[list(buffer.perm)]
    x = elements.reshape(view).transpose(np.argsort(buffer.perm)).reshape(buffer.shape)
    return x.astype(host_dtype(buffer), order="C")
