# SPDX-License-Identifier: Apache-2.0
"""The scratchpad's allocator."""

from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.machine.spm import ALIGN, Scratchpad

QUICK = settings(max_examples=100, deadline=None)


@QUICK
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 200), st.integers(0, 1000)),
                max_size=60))
def test_allocations_never_overlap(steps: list[tuple[int, int, int]]) -> None:
    """Nor does one that goes around take the room that it was to leave."""
    spm = Scratchpad(1024)
    live: dict[int, int] = {}
    for kind, size, then in steps:
        if kind == 2 and live:
            at = sorted(live)[size % len(live)]
            spm.release(at)
            del live[at]
            continue
        rest = spm.rounded(then) if kind else 0
        at = spm.rotating(size, then, kind == 3) if kind else spm.lowest(size)
        if at is None:
            assert spm.largest < spm.rounded(size) + rest
            continue
        assert spm.largest >= rest
        assert at % ALIGN == 0 and at + size <= 1024
        assert all(at + size <= a or a + s <= at for a, s in live.items())
        live[at] = size
    assert spm.available == 1024 - sum(spm.rounded(s) for s in live.values())
    ends = [0, *(at + spm.rounded(s) for at, s in sorted(live.items()))]
    assert spm.largest == max(b - a for a, b in zip(ends, [*sorted(live), 1024], strict=True))


def test_large_boxes_take_turns() -> None:
    """Each goes where words were given back longest ago, whatever small ones lie between."""
    spm, places = Scratchpad(256), []
    for _ in range(4):
        at = spm.rotating(96, oldest=True)
        assert at is not None
        places.append(at)
        for _ in range(3):
            small = spm.rotating(16)
            assert small is not None
            spm.release(small)
        spm.release(at)
    assert all(abs(a - b) >= 96 for a, b in zip(places, places[1:]))


def test_rotation_leaves_room_for_what_follows() -> None:
    spm = Scratchpad(256)
    first = spm.rotating(96)
    assert first == 0
    assert spm.rotating(64, then=96) is not None
    assert spm.largest >= 96
    spm.release(first)
    again = spm.rotating(32)
    assert again is not None and again >= 160  # not where something was just freed
