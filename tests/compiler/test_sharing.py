# SPDX-License-Identifier: Apache-2.0
"""How ranks share operators, the rows that each has of a slab, and the dynamic program's choice."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler import backend as backend_module
from compiler import compile_model
from compiler.attempts import Attempts
from compiler.emit.schedule import Schedule
from compiler.emit.sharing import ALONE, Grid, Sharing, portions
from compiler.ir.graph import Graph, Op
from compiler.machine.place import Box, View
from compiler.machine.slabs import Slabs
from compiler.machine.steps import SPM
from compiler.split.ways import Ways
from isa.config import Config
from isa.presets import PRESETS
from tests.compiler.test_split import NETWORKS

QUICK = settings(max_examples=100, deadline=None)


@QUICK
@given(st.integers(1, 16), st.integers(0, 9), st.integers(0, 40))
def test_portions_are_the_range(parts: int, low: int, size: int) -> None:
    found = portions(parts, low, low + size)
    assert [k for _, a, b in found for k in range(a, b)] == list(range(low, low + size))
    sizes = [b - a for _, a, b in found]
    assert not sizes or max(sizes) - min(sizes) <= 1


BOX = st.tuples(*[st.integers(0, 4)] * 3, *[st.integers(1, 4)] * 3).map(
    lambda b: Box(0, 1, b[0], b[0] + b[3], b[1], b[1] + b[4], b[2], b[2] + b[5]))


@QUICK
@given(BOX, st.integers(0, 1), st.integers(0, 2), st.data())
def test_extents_where_the_blocks_of_a_row_follow_one_another(
        box: Box, gap: int, more: int, data: st.DataObject) -> None:
    """Each word of a box inside, and of others no more than what is between its own."""
    block = box.x1 - box.x0 + gap
    row = block * (box.b1 - box.b0) + more
    if row == block:
        return      # a block and a row are the same, as elsewhere
    view = View(100, row, block, row * (box.y1 - box.y0), box, exact=True, skips=(60, 80))

    def some(low: int, high: int) -> tuple[int, int]:
        a = data.draw(st.integers(low, high - 1))
        return a, data.draw(st.integers(a + 1, high))
    inside = Box(0, 1, *some(box.b0, box.b1), *some(box.y0, box.y1), *some(box.x0, box.x1))

    def words(of: Box) -> set[int]:
        return {100 + (y - box.y0) * row + (b - box.b0) * block + x - box.x0
                for b in range(of.b0, of.b1) for y in range(of.y0, of.y1)
                for x in range(of.x0, of.x1)}
    extents = view.extents(inside)
    covered = [w for space, a, b in extents if space == SPM for w in range(a, b)]
    assert len(covered) == len(set(covered)) and set(covered) >= words(inside)
    assert not set(covered) & (words(box) - words(inside))
    mine = view.of(1)
    assert mine.extents(inside) == extents
    at = (inside.b0, inside.y0, inside.x0)
    assert mine.at(0, *at) == view.at(0, *at) - 80 == min(words(inside)) - 80


def test_names_are_addresses_of_the_rank() -> None:
    slabs = Slabs(64)
    name, skips = slabs.name(at=8, size=40, part=14, first=[0, 10, 26])
    assert name > 64 and slabs.at(name) == 8 and slabs.at(30) == 30
    assert [slabs.skip(name + first, rank) for rank, first in enumerate((0, 10, 26))] == list(skips)
    assert slabs.addresses([(SPM, name + 10, name + 24), (0, 5, 6), (SPM, 1, 2)], 1) == [
        (SPM, 8, 22), (0, 5, 6), (SPM, 1, 2)]
    other, _ = slabs.name(at=30, size=5, part=5, first=[0, 0, 0])
    assert other > name + 40 and slabs.at(other) == 30
    with pytest.raises(AssertionError, match="no more than its part"):
        slabs.addresses([(SPM, name, name + 15)], 0)


def graph_of(name: str, config: Config, monkeypatch: pytest.MonkeyPatch) -> tuple[Graph, set]:
    """That of a network of several convolutions, additions and pools."""
    found: list[tuple[Graph, set]] = []

    class Seen(Attempts):
        def best(self):
            found.append((self.graph, self.packed))
            return super().best()
    monkeypatch.setattr(backend_module, "Attempts", Seen)
    for changes in ("_changes", "_once_more"):
        monkeypatch.setattr(Attempts, changes, lambda self, first: [])
    make, precision = NETWORKS[name]
    compile_model(make(), config, precision=precision)
    return found[0]


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_have_all_rows_that_they_read(ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, _ = graph_of("integers", PRESETS["tiny"], monkeypatch)
    sharing = Sharing(graph, PRESETS["tiny"].lanes, ranks, 0, {}, True)
    slabs = 0
    for t in {x for op in graph.ops for x in (*op.inputs, op.y)}:
        if (part := sharing.part(t)) is None:
            continue
        first, most = part
        slabs += 1
        assert most < t.nchw[2]
        for op in graph.ops:
            if op.y is t:
                rows = portions(sharing.grid(op, t.nchw[2]).rows, 0, t.nchw[2])
                assert all(first[k] <= a and b <= first[k] + most for k, a, b in rows)
    assert slabs


@pytest.mark.parametrize("ranks", [2, 4])
def test_the_dynamic_program_is_the_best_of_all(ranks: int, monkeypatch: pytest.MonkeyPatch
                                                ) -> None:
    """Of the first operators of a network, each of which reads the one before."""
    config = PRESETS["tiny_fp"]
    graph, packed = graph_of("separable", config, monkeypatch)
    chain = list(itertools.takewhile(lambda pair: pair[0].y in pair[1].inputs,
                                     zip(graph.ops, graph.ops[1:])))
    ops = [op for op, _ in chain][:5]
    graph.ops = ops
    ways = Ways(Schedule(graph, config, packed, 60, True, 0, 1.0, False, 0.75, 0, ranks), 16, {})

    def cost(grids: tuple[Grid, ...]) -> float:
        made, total = {}, 0.0
        for op, grid in zip(ops, grids):
            total += ways.cost(op, grid, made)
            made[op.y] = grid
        return total
    choices = [ALONE, *(Grid(r, ranks // r) for r in (1, 2, 4) if ranks % r == 0)]
    best = ways.best()
    assert len(ops) >= 3 and set(best.values()) != {ALONE}
    allowed = [grids for grids in itertools.product(choices, repeat=len(ops)) if all(
        grid.rows <= op.y.nchw[2] and grid.channels <= op.y.blocks(config.lanes)
        for op, grid in zip(ops, grids))]
    assert tuple(best[op.y] for op in ops) in allowed
    assert cost(tuple(best[op.y] for op in ops)) <= min(
        cost(grids) for grids in allowed if ALONE not in grids) + 1e-6


def test_halves_of_neighbouring_parts_are_in_different_places(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows once; of two parts of a map the first half of one and the last half of the other go
    first."""
    make, precision = NETWORKS["heads"]
    found: list[list[tuple[int, int]]] = []
    halves = Sharing.halves

    def noted(self: Sharing, op: Op, y0: int, y1: int) -> list[tuple[int, int]]:
        rows = halves(self, op, y0, y1)
        if self.grid(op, y1 - y0).rows == 2 and len(rows) == 4:
            found.append(rows)
        assert sorted(y for a, b in rows for y in range(a, b)) == list(range(y0, y1))
        return rows
    monkeypatch.setattr(Sharing, "halves", noted)
    monkeypatch.setattr(Ways, "best", lambda self: {
        op.y: Grid(2, self.s.ranks // 2) for op in self.s.graph.ops})
    compile_model(make(), PRESETS["core1024_fp"], precision=precision, cores=4)
    assert found
    for (a, _), (_, d), (_, b), (c, _) in found:
        assert a < b <= c < d
