# SPDX-License-Identifier: Apache-2.0
"""The parts of the back end by themselves: allocator, DMA loops, host views, weight coding, the
order of instructions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.emit.rectangles import BAND_COST, bands, rectangles
from compiler.lower.values import as_view
from compiler.machine.place import LOOP_LIMIT, RUN_LIMIT, transfers
from compiler.machine.spm import ALIGN, Scratchpad
from compiler.machine.steps import SPM, Step
from compiler.machine.weights import addends
from compiler.order.hazards import waits
from compiler.order.order import arrange, dependencies, ranks
from isa.instructions import Opcode, Region
from isa.presets import PRESETS

QUICK = settings(max_examples=100, deadline=None)


@QUICK
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 200)), max_size=60))
def test_allocations_never_overlap(steps: list[tuple[int, int]]) -> None:
    spm = Scratchpad(1024)
    live: dict[int, int] = {}
    for kind, size in steps:
        if kind == 2 and live:
            at = sorted(live)[size % len(live)]
            spm.release(at)
            del live[at]
            continue
        at = spm.lowest(size) if kind == 0 else spm.rotating(size)
        if at is None:
            assert spm.largest < spm.rounded(size)
            continue
        assert at % ALIGN == 0 and at + size <= 1024
        assert all(at + size <= a or a + s <= at for a, s in live.items())
        live[at] = size
    assert spm.available == 1024 - sum(spm.rounded(s) for s in live.values())


def test_rotation_leaves_room_for_what_follows() -> None:
    spm = Scratchpad(256)
    first = spm.rotating(96)
    assert first == 0
    assert spm.rotating(64, then=96) is not None
    assert spm.largest >= 96
    spm.release(first)
    again = spm.rotating(32)
    assert again is not None and again >= 160  # not where something was just freed


LOOP = st.tuples(st.integers(1, 6), st.integers(-40, 40), st.integers(-40, 40))


@QUICK
@given(st.integers(1, 9), st.lists(LOOP, min_size=0, max_size=3))
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


@QUICK
@given(st.permutations([0, 1, 2, 3]), st.tuples(*[st.integers(1, 5)] * 4))
def test_views_of_transposed_arrays(perm: list[int], shape: tuple[int, ...]) -> None:
    order = np.arange(np.prod(shape)).reshape(shape).transpose(perm)
    found = as_view(np.ascontiguousarray(order))
    assert found is not None
    view, axes = found
    again = np.arange(order.size).reshape(view).transpose(axes).reshape(order.shape)
    assert np.array_equal(again, order)


def test_no_view_of_a_shuffle() -> None:
    assert as_view(np.array([[[[0, 1, 3, 2, 4]]]])) is None


@pytest.mark.parametrize(("low", "high", "count"), [(-128, 127, 1), (-146, 109, 1), (0, 255, 1),
                                                    (-255, 255, 2)])
def test_weights_are_a_sum_of_what_a_byte_holds(low: int, high: int, count: int) -> None:
    weight = np.array([low, 0, high, low // 2], np.int16).reshape(4, 1, 1, 1)
    found = addends(weight)
    assert len(found) == count
    assert np.array_equal(sum(w for w, _ in found), weight)
    for w, coding in found:
        stored = w + coding.zp
        assert stored.min() >= (-128 if coding.signed else 0)
        assert stored.max() <= (127 if coding.signed else 255)


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


def step(opcode: Opcode, reads: list, writes: list, region: Region = Region.WORKSPACE) -> Step:
    return Step(opcode, {"region": int(region)}, 0, 1, 0, reads, writes)


EXTENT = st.tuples(st.just(SPM), st.integers(0, 60), st.integers(1, 12)).map(
    lambda e: (e[0], e[1], e[1] + e[2]))
STEP = st.builds(step, st.sampled_from([Opcode.LOAD, Opcode.WINDOW, Opcode.VECTOR, Opcode.STORE]),
                 st.lists(EXTENT, max_size=3), st.lists(EXTENT, max_size=3))


def conflict(a: Step, b: Step) -> bool:
    """Word by word."""
    def words(extents: list) -> set[int]:
        return {w for _, low, high in extents for w in range(low, high)}
    return bool(words(a.writes) & (words(b.reads) | words(b.writes))
                or words(a.reads) & words(b.writes))


@QUICK
@given(st.lists(STEP, max_size=25), st.booleans())
def test_no_order_changes_who_sees_what(steps: list[Step], deepest: bool) -> None:
    config = PRESETS["tiny"]
    before = dependencies(steps, config, {})
    priority = list(range(len(steps))) if deepest else ranks(steps, before)
    order, *_ = arrange(steps, before, config, priority)
    assert sorted(order) == list(range(len(steps)))
    place = {me: k for k, me in enumerate(order)}
    assert all(place[a] < place[b] for b in range(len(steps)) for a in range(b)
               if conflict(steps[a], steps[b]))


def test_what_is_needed_first_is_loaded_first() -> None:
    user = [step(Opcode.VECTOR, [(SPM, 100, 110)], [(SPM, 20 * k, 20 * k + 20)]) for k in (0, 1)]
    weights = step(Opcode.LOAD, [], [(SPM, 60, 70)])
    last = step(Opcode.VECTOR, [(SPM, 60, 70), (SPM, 0, 40)], [(SPM, 80, 90)])
    steps = [*user, weights, last]
    order, *_ = arrange(steps, dependencies(steps, PRESETS["tiny"], {}), PRESETS["tiny"],
                       [0, 0, 0, 0])
    assert order.index(2) < order.index(1)  # the load does not wait behind the vector engine


def test_waits_name_the_last_conflicting_instruction() -> None:
    steps = [step(Opcode.LOAD, [], [(SPM, 0, 8)]), step(Opcode.LOAD, [], [(SPM, 8, 16)]),
             step(Opcode.TENSOR, [(SPM, 0, 8)], [(SPM, 16, 24)]),
             step(Opcode.STORE, [(SPM, 16, 20)], [(Region.WORKSPACE, 0, 64)]),
             step(Opcode.LOAD, [(Region.WORKSPACE, 0, 64)], [(SPM, 0, 4)])]
    waits(steps, PRESETS["tiny"], {Region.WORKSPACE: 64, Region.OUTPUT: 0})
    assert [s.fields["wait_mask"] for s in steps] == [0, 0, 1, 2, 1 | 2 | 16]
    assert steps[2].fields["wait_load"] == 1  # not the second one
    assert steps[3].fields["wait_tensor"] == steps[4].fields["wait_store"] == 1
