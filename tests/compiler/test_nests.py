# SPDX-License-Identifier: Apache-2.0
"""Nests of a permutation: they cover every word once, read what they have to, and are as few as the
phases of an interleaving."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.emit.nests import Words, lag, nests


def covered(word: np.ndarray, lane: np.ndarray, most: int) -> int:
    """The number of nests of a map ([lanes, rows, columns]), after a check of what each reads and
    writes; rows of the output are three words longer than the map's."""
    lanes, h, w = word.shape
    place = np.arange(h * w)
    out = place // w * (w + 3) + place % w
    flags = np.ones(h * w, bool)
    words = Words((h, w), place, out, word.reshape(lanes, -1).T, lane.reshape(lanes, -1).T,
                  flags, flags)
    seen, count = np.zeros((h, w), int), 0
    for pattern, found in words.patterns():
        for n in (part for whole in found for part in whole.cut(most)):
            assert n.columns * n.rows <= most
            count += 1
            for i, j in np.ndindex(n.rows, n.columns):
                y, x = divmod(n.out + i * n.out_y + j * n.out_x, w + 3)
                seen[y, x] += 1
                first = n.source + i * n.source_y + j * n.source_x
                for k, (at, place_in) in enumerate(zip(pattern.words, pattern.lanes)):
                    assert place_in == lane[k, y, x]
                    assert place_in < 0 or first + pattern.offsets[at] == word[k, y, x]
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
    assert covered(word, lane, 5) == stride * stride * 4


def test_repeated_pixels() -> None:
    """Nearest neighbors by two: a nest for each phase, not for each row."""
    word = np.arange(20).reshape(1, 4, 5).repeat(2, 1).repeat(2, 2)
    assert covered(word, np.zeros_like(word), 64) == 4


def test_lag_of_a_few_bends() -> None:
    """The phases of most words are those of all, though the sources jump once."""
    place = np.arange(60)
    source = place // 3 + place % 3 * 100 + 7 * (place >= 30)
    assert lag(place, source, 1) == 3


@pytest.mark.parametrize("seed", range(20))
def test_any_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 5)), int(rng.integers(1, 9)), int(rng.integers(1, 9)))
    word, lane = rng.integers(0, 6, shape), rng.integers(-1, 2, shape)
    if seed % 2:
        lane = np.broadcast_to(lane[:, :1, :1], shape)
    covered(word, lane, int(rng.integers(1, 20)))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(-2, 2)), max_size=40),
       st.integers(1, 50))
def test_nests_are_the_pairs(steps: list[tuple[int, int]], most: int) -> None:
    out, source = np.cumsum([(0, 0), *steps], 0).T
    found = [(n.out + y * n.out_y + x * n.out_x, n.source + y * n.source_y + x * n.source_x)
             for whole in nests(out, source) for n in whole.cut(most)
             for y in range(n.rows) for x in range(n.columns)]
    assert sorted(found) == list(zip(out, source, strict=True))


def test_a_grid_is_one_nest() -> None:
    y, x = np.divmod(np.arange(60), 12)
    assert len(list(nests(100 * y + 3 * x, 7 * y - x))) == 1
