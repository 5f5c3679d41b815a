# SPDX-License-Identifier: Apache-2.0
"""The cut with the most weight on the machine, against all cuts of small graphs."""

import itertools
import random

from compiler.lower.cut import Constraints, Cut


def allowed(c: Constraints, blocked: set[int], place: tuple[int, ...]) -> bool:
    """Whether a choice of 0 (early), 1 (machine) or 2 (late) for each node keeps to them."""
    return (all(place[a] <= place[b] for a, b in c.edges)
            and not any(place[a] == 0 < place[b] for a, b in c.no_entry)
            and not any(place[a] < 2 == place[b] for a, b in c.no_exit)
            and all(place[n] != 1 for n in blocked) and all(place[n] == 1 for n in c.bound)
            and all(place[n] == 2 for n in c.late))


def test_all_cuts_of_small_graphs() -> None:
    rng, none = random.Random(1), 0
    for _ in range(400):
        n = rng.randint(1, 7)
        nodes = range(n)
        edges = [(a, b) for a in nodes for b in range(a + 1, n) if rng.random() < 0.35]
        c = Constraints([rng.randint(0, 9) for _ in nodes], edges,
                        [e for e in edges if rng.random() < 0.15],
                        [e for e in edges if rng.random() < 0.15],
                        {i for i in nodes if rng.random() < 0.1})
        c.late = {i for i in nodes if rng.random() < 0.05} - c.bound
        blocked = {i for i in nodes if rng.random() < 0.3} - c.bound
        weights = {p: sum(w for w, at in zip(c.weight, p) if at == 1)
                   for p in itertools.product((0, 1, 2), repeat=n) if allowed(c, blocked, p)}
        cut = c.best(blocked)
        if cut is None:
            none += 1
            assert not weights
            origin, node = c.conflict(blocked)
            assert origin in blocked | c.late and node in c.bound
        else:
            place = tuple(0 if i in cut.early else 2 if i in cut.late else 1 for i in nodes)
            assert weights[place] == max(weights.values())
    assert 10 < none < 390


def test_nothing_is_early_without_need() -> None:
    """Of two blocked nodes that gain nothing in front, none is."""
    chain = Constraints([5, 1, 1], [(0, 1), (1, 2)])
    assert chain.best({1, 2}) == Cut(frozenset(), frozenset({1, 2}))


def test_a_long_chain_is_cut_in_two() -> None:
    n = 3000
    c = Constraints([1] * n, [(i, i + 1) for i in range(n - 1)])
    cut = c.best({*range(0, 1000, 10), *range(2500, n, 10)})
    assert cut == Cut(frozenset(range(991)), frozenset(range(2500, n)))
