# SPDX-License-Identifier: Apache-2.0
"""Words of which each rank of a gang has a part.

Where all ranks have the same layout of the scratchpad, a word has the same address everywhere. Of a
*slab* a rank has no more than the words that it makes and reads, in as many words of its scratchpad
as the largest part takes, so that a tensor may be as large as those of all ranks together. Its
words have names, above all addresses; the word of a rank at a name lies the rank's ``skip`` below.
"""

from bisect import bisect_right
from collections.abc import Sequence

from compiler.machine.steps import SPM, Extent

GAP = 8
"""Names between slabs, so that no extent reaches from one into another."""


class Slabs:
    """The slabs of a schedule, whose scratchpad has ``words`` words.

    Attributes
    ----------
    end : int
        Above all addresses and names.
    """

    def __init__(self, words: int):
        self.end = words
        self._names: list[int] = [0]
        self._places: list[tuple[int, int, tuple[int, ...]]] = [(0, words, ())]

    def name(self, at: int, size: int, part: int, first: Sequence[int]
             ) -> tuple[int, tuple[int, ...]]:
        """Name a slab of ``size`` words, of which each rank's part, of up to ``part`` words, begins
        ``first`` words in and lies at address ``at``: the name of its first word, and each rank's
        skip."""
        name = self.end + GAP
        skips = tuple(name + one - at for one in first)
        self._names.append(name)
        self._places.append((at, at + part, skips))
        self.end = name + size
        return name, skips

    def at(self, name: int) -> int:
        """Where the parts of the slab whose first word has a name begin; an address itself."""
        at, _, skips = self._place(name)
        return at if skips else name

    def skip(self, name: int, rank: int) -> int:
        """By how much a rank's word lies below its name; 0 for an address."""
        _, _, skips = self._place(name)
        return skips[rank] if skips else 0

    def _place(self, name: int) -> tuple[int, int, tuple[int, ...]]:
        return self._places[bisect_right(self._names, name) - 1]

    def addresses(self, extents: list[Extent], rank: int) -> list[Extent]:
        """Extents of names as those of a rank's addresses, which are in its part."""
        found = []
        for space, a, b in extents:
            if space == SPM:
                low, high, skips = self._place(a)
                skip = skips[rank] if skips else 0
                a, b = a - skip, b - skip
                assert low <= a and b <= high, "a rank has no more than its part"
            found.append((space, a, b))
        return found
