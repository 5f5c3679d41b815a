# SPDX-License-Identifier: Apache-2.0
"""A permutation as few loops as possible.

An output word takes its elements from some input words, of each lane one. Words that take them in
the same way, only from words further on, are of one :class:`Pattern`: the same one-hot weights make
them all. Their addresses and those of their sources, in the order of the outputs, are cut into
nests of two loops with constant steps, one instruction each. A transposition has as many patterns
as it takes words until lanes and words are in step again, however large the tensor is. Of an
interleaving, whose sources are in step only from a phase to its next word, each phase has nests of
its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

LAGS = 8
"""Most rows and columns from a word of a phase to its next."""


@dataclass(frozen=True)
class Nest:
    """``rows`` x ``columns`` output words: addresses of the first one and of its first source word,
    and the steps of both along columns and rows."""

    out: int
    source: int
    columns: int
    rows: int
    out_x: int
    out_y: int
    source_x: int
    source_y: int

    def cut(self, words: int) -> Iterator["Nest"]:
        """Nests of up to so many words."""
        columns = min(self.columns, words)
        rows = max(1, words // columns)
        for y in range(0, self.rows, rows):
            for x in range(0, self.columns, columns):
                yield Nest(self.out + y * self.out_y + x * self.out_x,
                           self.source + y * self.source_y + x * self.source_x,
                           min(columns, self.columns - x), min(rows, self.rows - y),
                           self.out_x, self.out_y, self.source_x, self.source_y)


@dataclass(frozen=True)
class Pattern:
    """How some output words are made: offsets of their source words from the first one, ascending,
    and for each lane which of these it comes from and its element there (-1: from none).

    ``first``, ``last``: no other source has written a part of these words before; none will."""

    offsets: tuple[int, ...]
    words: tuple[int, ...]
    lanes: tuple[int, ...]
    first: bool
    last: bool


@dataclass(frozen=True)
class Words:
    """Some output words, in the order of their addresses.

    Parameters
    ----------
    place, out : int64 [words]
        Their positions among the words of a map of ``size`` rows and columns, images and channel
        blocks outermost, and their addresses.
    word, lane : int64 [words, lanes]
        Source word of each lane and the element there (-1: none).
    first, last : bool [words]
        As in :class:`Pattern`.
    """

    size: tuple[int, int]
    place: np.ndarray
    out: np.ndarray
    word: np.ndarray
    lane: np.ndarray
    first: np.ndarray
    last: np.ndarray

    def patterns(self) -> Iterator[tuple[Pattern, list[Nest]]]:
        """Their patterns, each with the nests of its words."""
        if not len(self.out):
            return
        used = self.lane >= 0
        none = np.iinfo(np.int64).max
        start = np.where(used, self.word, none).min(1)
        start[start == none] = 0
        offset = np.where(used, self.word - start[:, None], 0)
        rows = np.concatenate([offset, self.lane, self.first[:, None], self.last[:, None]], 1)
        _, heads, kinds = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        kinds = kinds.ravel()
        order = np.argsort(kinds, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(kinds[order])) + 1):
            head = heads[kinds[members[0]]]
            offsets = tuple(np.unique(offset[head][used[head]]).tolist()) or (0,)
            yield (Pattern(offsets, tuple(np.searchsorted(offsets, offset[head]).tolist()),
                           tuple(self.lane[head].tolist()), bool(self.first[head]),
                           bool(self.last[head])),
                   self._nests(members, start[members]))

    def within(self, start: int, stop: int) -> "Words":
        """Those with addresses from ``start`` to before ``stop``."""
        part = slice(*np.searchsorted(self.out, (start, stop)))
        return Words(self.size, self.place[part], self.out[part], self.word[part],
                     self.lane[part], self.first[part], self.last[part])

    def _nests(self, members: np.ndarray, source: np.ndarray) -> list[Nest]:
        """The nests of a pattern's words: of all together or phase by phase, whatever is fewer."""
        out, place = self.out[members], self.place[members]
        whole = list(nests(out, source))
        if len(whole) == 1:
            return whole
        height, width = self.size
        dy, dx = lag(place, source, width), lag(place, source, 1)
        phase = place // width % height % dy * dx + place % width % dx
        cut = [nest for p in np.unique(phase) for nest in nests(out[phase == p],
                                                                source[phase == p])]
        return min(whole, cut, key=len)


def lag(place: np.ndarray, source: np.ndarray, step: int) -> int:
    """How many times ``step`` apart words have to be for their sources to advance evenly, if not
    everywhere, then in most places."""
    best, most = 1, 0.0
    for found in range(1, LAGS + 1):
        near, far = (np.searchsorted(place, place + k * found * step) for k in (1, 2))
        here = np.flatnonzero(far < len(place))
        here = here[(place[near[here]] == place[here] + found * step)
                    & (place[far[here]] == place[here] + 2 * found * step)]
        bend = source[far[here]] - 2 * source[near[here]] + source[here]
        share = float((bend == 0).mean()) if len(here) else 0.0
        if share > most:
            best, most = found, share
    return best


def nests(out: np.ndarray, source: np.ndarray) -> Iterator[Nest]:
    """The pairs of addresses as nests, greedily from the front."""
    steps = np.stack([np.diff(out), np.diff(source)], 1)
    ends = np.append(np.flatnonzero((steps[1:] != steps[:-1]).any(1)) + 1, len(steps))
    alike = np.arange(len(steps))
    alike = ends[np.searchsorted(ends, alike, "right")] - alike  # steps until another one
    at = 0
    while at < len(out):
        columns = 1 + (int(alike[at]) if at < len(steps) else 0)
        x = steps[at] if columns > 1 else np.zeros(2, np.int64)
        rows, y = 1, np.zeros(2, np.int64)
        while (low := at + rows * columns) + columns <= len(out):
            step = np.array([out[low] - out[low - columns], source[low] - source[low - columns]])
            if (rows > 1 and (step != y).any()) or (steps[low:low + columns - 1] != x).any():
                break
            rows, y = rows + 1, step
        yield Nest(int(out[at]), int(source[at]), columns, rows, int(x[0]), int(y[0]), int(x[1]),
                   int(y[1]))
        at += rows * columns
