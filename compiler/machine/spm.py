# SPDX-License-Identifier: Apache-2.0
"""Who owns which scratchpad words.

Tensors that stay are placed first-fit from the bottom; buffers of one tile and weight chunks go
around in what is left (next-fit), so that a buffer which was just freed is reused as late as
possible and its next LOAD need not wait for the engine that still reads it.
"""

ALIGN = 8
"""Words: weight streams start at a multiple of it, and so does everything else."""


class Scratchpad:
    """A list of free extents of ``words`` words."""

    def __init__(self, words: int):
        self.words = words
        self.free: list[tuple[int, int]] = [(0, words)]
        self.sizes: dict[int, int] = {}
        self.pointer = 0
        self.clock = 0      # counts what was given back
        self.past: list[tuple[int, int, int]] = []  # extents and when they were, unless covered

    @property
    def largest(self) -> int:
        """Words of the largest hole."""
        return max((b - a for a, b in self.free), default=0)

    @property
    def available(self) -> int:
        """Free words."""
        return sum(b - a for a, b in self.free)

    @staticmethod
    def rounded(words: int) -> int:
        """What an allocation of ``words`` takes."""
        return -(-words // ALIGN) * ALIGN

    def _take(self, at: int, size: int) -> int:
        for i, (a, b) in enumerate(self.free):
            if a <= at and at + size <= b:
                self.free[i:i + 1] = [e for e in ((a, at), (at + size, b)) if e[0] < e[1]]
                self.sizes[at] = size
                return at
        raise AssertionError("not free")

    def lowest(self, words: int) -> int | None:
        """Allocate in the first hole that is large enough."""
        size = self.rounded(words)
        for a, b in self.free:
            if b - a >= size:
                return self._take(a, size)
        return None

    def rotating(self, words: int, then: int = 0, oldest: bool = False) -> int | None:
        """Allocate behind the last allocation of this kind, or with ``oldest`` where the words were
        given back longest ago, such that a hole of ``then`` words remains."""
        size, rest = self.rounded(words), self.rounded(then)
        candidates = [max(a, self.pointer) for a, b in self.free if b > self.pointer]
        candidates += [a for a, _ in self.free]
        if oldest:
            candidates += [at for a, b, _ in self.past for at in (b, a - size) if at >= 0]
        fits = [(at, hole) for at in candidates for hole in self.free
                if hole[0] <= at and at + size <= hole[1]]
        if oldest:
            fits.sort(key=lambda fit: self._freed(fit[0], fit[0] + size))
        for at, hole in fits:
            others = [b - a for a, b in self.free if (a, b) != hole]
            if max([at - hole[0], hole[1] - at - size, *others]) >= rest:
                self.pointer = at + size
                return self._take(at, size)
        return None

    def _freed(self, a: int, b: int) -> int:
        """When the last of some words was given back."""
        return max((when for low, high, when in self.past if low < b and a < high), default=0)

    def release(self, at: int) -> None:
        """Give an allocation back."""
        size = self.sizes.pop(at)
        self.clock += 1
        self.past = [e for e in self.past if not (at <= e[0] and e[1] <= at + size)]
        self.past.append((at, at + size, self.clock))
        merged: list[tuple[int, int]] = []
        for a, b in sorted([*self.free, (at, at + size)]):
            if merged and merged[-1][1] == a:
                merged[-1] = (merged[-1][0], b)
            else:
                merged.append((a, b))
        self.free = merged
