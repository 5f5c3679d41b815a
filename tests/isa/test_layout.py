# SPDX-License-Identifier: Apache-2.0
"""Packing: the byte of every element is where the layout's definition puts it."""

import numpy as np
import pytest

from isa.layout import Buffer, pack, unpack


def buffer(kind: str, lanes: int, nchw: tuple[int, int, int, int], **more: object) -> Buffer:
    n, c, h, w = nchw
    pixel = lanes if kind == "blocked" else 4
    row = -(-w * pixel // lanes) * lanes + lanes
    block = row * h
    image = block * (-(-c // lanes) if kind == "blocked" else 1)
    return Buffer(**{**dict(
        name="x", region=2, offset=0, size=n * image, dtype="int8", shape=nchw, view=nchw,
        perm=(0, 1, 2, 3), nchw=nchw, kind=kind, n_pitch=image, block_pitch=block, row_pitch=row,
        fill=-3), **more})


@pytest.mark.parametrize("kind,lanes,nchw", [
    ("blocked", 16, (2, 37, 3, 5)), ("blocked", 4, (1, 4, 2, 2)), ("packed", 16, (2, 3, 4, 7)),
    ("packed", 8, (1, 1, 3, 3))])
def test_every_byte(kind: str, lanes: int, nchw: tuple[int, int, int, int]) -> None:
    b = buffer(kind, lanes, nchw)
    x = np.random.default_rng(0).integers(-128, 128, nchw).astype(np.int8)
    memory = pack(b, x, lanes)
    seen = np.zeros(b.size, bool)
    for n, c, h, w in np.ndindex(*nchw):
        block, lane = divmod(c, lanes) if kind == "blocked" else (0, c)
        at = (n * b.n_pitch + block * b.block_pitch + h * b.row_pitch
              + w * (lanes if kind == "blocked" else 4) + lane)
        assert memory[at] == x[n, c, h, w].view(np.uint8)
        seen[at] = True
    assert (memory[~seen] == (-3 & 0xFF)).all()
    assert np.array_equal(unpack(b, memory, lanes), x)


def test_a_view_of_the_host_array() -> None:
    """NHWC on the host, NCHW in the machine."""
    b = buffer("blocked", 8, (2, 5, 3, 4), shape=(2, 3, 4, 5), view=(2, 3, 4, 5),
               perm=(0, 3, 1, 2))
    x = np.random.default_rng(1).integers(-128, 128, (2, 3, 4, 5)).astype(np.int8)
    plain = buffer("blocked", 8, (2, 5, 3, 4))
    assert np.array_equal(pack(b, x, 8), pack(plain, x.transpose(0, 3, 1, 2), 8))
    assert np.array_equal(unpack(b, pack(b, x, 8), 8), x)


def test_mistakes() -> None:
    b = buffer("packed", 16, (1, 3, 2, 2))
    with pytest.raises(ValueError, match=r"input 'x': expected int8 \[1, 3, 2, 2\], got uint8"):
        pack(b, np.zeros((1, 3, 2, 2), np.uint8), 16)
    with pytest.raises(ValueError, match="no layout 'packed' of 9 channels"):
        pack(buffer("packed", 16, (1, 9, 2, 2)), np.zeros((1, 9, 2, 2), np.int8), 16)
