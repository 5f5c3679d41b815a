# SPDX-License-Identifier: Apache-2.0
"""Accumulator rectangles and bands."""

from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.emit.rectangles import BAND_COST, bands, rectangles
from isa.presets import PRESETS

QUICK = settings(max_examples=100, deadline=None)


@QUICK
@given(st.integers(1, 60), st.integers(1, 300), st.integers(1, 40), st.sampled_from([1, 2, 4]),
       st.integers(1, 9))
def test_rectangles_cover_the_map_and_fit(rows: int, columns: int, passes: int, gn: int,
                                          groups: int) -> None:
    config = PRESETS["core1024"]
    r, cycles = rectangles(config, rows, columns, passes, gn)
    assert r.nx * r.ny <= config.psum_depth and min(r.nx_last, r.ny_last) >= 1
    assert r.nx * (r.ntx - 1) + r.nx_last == columns
    assert r.ny * (r.nty - 1) + r.ny_last == rows
    assert cycles >= rows * columns * passes
    whole = bands(config, rows, columns, passes, gn, groups, 10**9)
    assert whole[0] == rows
    size, total = bands(config, rows, columns, passes, gn, groups, 100)
    assert 1 <= size <= rows and total <= BAND_COST * whole[1]
