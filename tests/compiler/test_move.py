# SPDX-License-Identifier: Apache-2.0
"""Pieces of a move: they cover every pixel once, read what they have to, and are as few as the
phases of an interleaving."""

import numpy as np
import pytest

from compiler.emit.move import pieces


def covered(word: np.ndarray, lane: np.ndarray, pixels: int) -> int:
    """The number of pieces, after a check of what each reads and writes."""
    seen = np.zeros(word.shape[1:], int)
    count = 0
    for p in pieces(word, lane, 3, 5, pixels):
        assert p.h * p.w <= pixels
        count += 1
        for i in range(p.h):
            for j in range(p.w):
                y, x = p.y - 3 + i * p.dy, p.x - 5 + j * p.dx
                seen[y, x] += 1
                for k, (at, place) in enumerate(zip(p.passes, p.lanes)):
                    assert place == lane[k, y, x]
                    if place >= 0:
                        assert p.words[at] + i * p.step_y + j * p.step_x == word[k, y, x]
    assert (seen == 1).all()
    return count


def interleaved(h: int, w: int, s: int) -> tuple[np.ndarray, np.ndarray]:
    """Words of the phases of an upsampled map, each phase a plane of its own."""
    y, x = np.mgrid[:h, :w]
    word = ((y % s * s + x % s) * 1000 + y // s * 40 + x // s)[None]
    return word, np.zeros_like(word)


@pytest.mark.parametrize("stride", [2, 3])
def test_phases(stride: int) -> None:
    word, lane = interleaved(4 * stride, 5 * stride, stride)
    assert covered(word, lane, 64) == stride * stride
    assert covered(word, lane, 8) == stride * stride * 4


def test_repeats() -> None:
    """A map side by side with itself is as many pieces."""
    word = np.tile(np.arange(20).reshape(1, 4, 5), (1, 3, 2))
    assert covered(word, np.zeros_like(word), 64) == 6


@pytest.mark.parametrize("seed", range(20))
def test_any_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 5)), int(rng.integers(1, 9)), int(rng.integers(1, 9)))
    word, lane = rng.integers(0, 6, shape), rng.integers(-1, 2, shape)
    if seed % 2:
        lane = np.broadcast_to(lane[:, :1, :1], shape)
    covered(word, lane, int(rng.integers(1, 20)))
