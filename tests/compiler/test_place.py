# SPDX-License-Identifier: Apache-2.0
"""Views of boxes in the scratchpad, and DMA loops."""

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from compiler.machine.place import LOOP_LIMIT, RUN_LIMIT, Box, View, transfers

QUICK = settings(max_examples=100, deadline=None)


LOOP = st.tuples(st.integers(1, 6), st.integers(-40, 40), st.integers(-40, 40))


@QUICK
@given(st.integers(1, 9), st.lists(LOOP, min_size=0, max_size=3))
@example(1, [(3, 5, 1)])
@example(1, [(3, 1, 5)])
@example(1, [(3, 1, 1)])
def test_transfers_move_every_word_once(run: int, outer: list[tuple[int, int, int]]) -> None:
    def words(loops: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
        out = [(0, 0)]
        for n, d, s in loops:
            out = [(a + i * d, b + i * s) for a, b in out for i in range(n)]
        return out
    dims = [(run, 1, 1), *outer]
    got: list[tuple[int, int]] = []
    for d, s, loops in transfers(dims):
        assert len(loops) == 4 and loops[0][1:] in ((1, 1), (0, 0))
        got += [(a + d, b + s) for a, b in words(loops)]
    assert sorted(got) == sorted(words(dims))


def test_long_transfers_are_cut() -> None:
    found = transfers([(200_000, 1, 1), (5000, 300_000, 200_000)])
    assert sum(loops[0][0] * loops[1][0] * loops[2][0] for _, _, loops in found) == 10**9
    assert all(loops[0][0] <= RUN_LIMIT and max(n for n, _, _ in loops[1:]) <= LOOP_LIMIT
               for _, _, loops in found)


BOX = st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 8), st.integers(0, 4),
                st.integers(1, 2), st.integers(1, 3), st.integers(1, 5), st.integers(1, 4)).map(
    lambda b: Box(b[0], b[0] + b[4], b[1], b[1] + b[5], b[2], b[2] + b[6], b[3], b[3] + b[7]))


@QUICK
@given(BOX, st.integers(0, 6), st.integers(0, 3))
def test_extents_are_the_words_of_the_box(box: Box, ring: int, gap: int) -> None:
    """Each word once, on a ring as well; with a row pitch wider than the box also what is between
    rows that lie one after another."""
    row = box.x1 - box.x0 + gap
    rows = ring or box.y1 - box.y0
    assume(not ring or box.y1 - box.y0 <= ring)
    block = row * rows
    view = View(1000, row, block, block * (box.b1 - box.b0), box, ring)

    def word(n: int, b: int, y: int, x: int) -> int:
        place = y % ring if ring else y - box.y0
        return (1000 + (n - box.n0) * view.image + (b - box.b0) * block + place * row + x - box.x0)

    words = {word(n, b, y, x) for n in range(box.n0, box.n1) for b in range(box.b0, box.b1)
             for y in range(box.y0, box.y1) for x in range(box.x0, box.x1)}
    covered = [w for _, a, b in view.extents(box) for w in range(a, b)]
    assert len(covered) == len(set(covered)) and words <= set(covered)
    if not gap:
        assert words == set(covered)
    assert {a for _, a, _ in view.extents(box)} <= words
    assert {b - 1 for _, _, b in view.extents(box)} <= words
    n, b, y, x = box.n1 - 1, box.b1 - 1, box.y1 - 1, box.x1 - 1
    base, at = view.origin(n, b, y, x)
    assert base + at == view.at(n, b, y, x) == word(n, b, y, x)
    assert not ring or 0 <= at < view.wrap
    for rows in (1, ring, box.y1 - box.y0 + ring + 1):
        step, below = view.step(rows), view.at(n, b, box.y0 + rows, x)
        first = view.at(n, b, box.y0, x)
        assert (below - first - step) % (view.wrap or 1 << 20) == 0
        assert not ring or 0 <= step < view.wrap
