# SPDX-License-Identifier: Apache-2.0
"""Which branches of a graph ranks of a gang have to themselves; in which turns weights go by."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.emit.sharing import Grid
from compiler.emit.turns import turns_of
from compiler.ir.graph import Concat, Graph, Rows, Tensor
from compiler.ir.passes import run as run_passes
from compiler.lower.legalize import legalize
from compiler.machine.loops import Run
from compiler.rewrite.grid import GRID
from compiler.rewrite.matrices import MATRICES
from compiler.source.frontend import load
from compiler.split.branches import branches
from isa.presets import PRESETS
from tests.compiler.test_tokens import layer


def graph_of(heads: int) -> Graph:
    legal = legalize(load(layer(32, heads, 32)[0]), (), "float16")
    return run_passes((MATRICES, GRID), legal.graph, PRESETS["core256_fp"])


def readers_in(graph: Graph, t: Tensor, found: dict[Tensor, Grid]) -> set[int | None]:
    return {found[op.y].whole if op.y in found else None
            for op in graph.ops if any(x is t for x in op.inputs)}


@pytest.mark.parametrize("heads,ranks", [(4, 2), (4, 4), (2, 2), (8, 4)])
def test_each_rank_has_as_many_heads(heads: int, ranks: int) -> None:
    graph = graph_of(heads)
    found = branches(graph, ranks)
    softmax = [found[op.y].whole for op in graph.ops if isinstance(op, Rows) and not op.norm]
    assert sorted(softmax) == sorted(list(range(ranks)) * (heads // ranks))
    concat, = (op for op in graph.ops if isinstance(op, Concat))
    assert [found[part.x].whole for part in concat.parts] == [
        k * ranks // heads for k in range(heads)]
    for op in graph.ops:    # what a rank makes alone only it reads, or the concatenation
        if op.y in found and all(part.x is not op.y for part in concat.parts):
            assert readers_in(graph, op.y, found) == {found[op.y].whole}
    assert concat.y not in found and all(
        op.y not in found for op in graph.ops if isinstance(op, Rows) and op.norm)


@pytest.mark.parametrize("heads,ranks", [(2, 4), (4, 3)])
def test_heads_that_cannot_be_dealt_out_are_shared(heads: int, ranks: int) -> None:
    assert branches(graph_of(heads), ranks) == {}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 4), st.integers(1, 4))
def test_turns_are_all_groups_each_once(sizes: list[int], size: int, parts: int) -> None:
    ends = [0, *itertools.accumulate(sizes)]
    runs = [Run(a, b, 7, 2, 3) for a, b in zip(ends, ends[1:])]
    found = turns_of(runs, size, parts)
    groups = [k for part in range(parts) for turn in found for mine, chunk in turn if mine == part
              for k in range(chunk.first, chunk.last)]
    assert groups == list(range(ends[-1]))
    for turn in found:
        assert len(dict(turn)) == len(turn)
        assert all(chunk.last - chunk.first <= size for _, chunk in turn)
