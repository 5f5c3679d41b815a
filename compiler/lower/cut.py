# SPDX-License-Identifier: Apache-2.0
"""Where a network is cut: what the host computes in front of the machine, and what behind it.

Data flow from the host to the machine and back once. So every node is early, the machine's or late,
and along the edges of the graph it never goes back. A *blocked* node is not the machine's. Of all
cuts that allow this the one is taken with the most weight on the machine.

Two sets say it: ``P``, what is early, and ``R``, what is early or the machine's. Both hold with a
node all that it depends on; P lies in R; a blocked node is in both or in neither. The weight of the
machine's nodes is that of R less that of P. Sets with conditions "if a is in, b is in" and weights
of both signs are a closure problem, whose best solution is a minimum cut (Picard, 1976). Of several
that are best the one with the smallest sets is taken.
"""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cut:
    """Positions of the nodes that the host runs; all others are the machine's."""

    early: frozenset[int] = frozenset()
    late: frozenset[int] = frozenset()


@dataclass
class Constraints:
    """What a cut has to keep to.

    Members
    -------
    weight : list of int
        What each node is worth on the machine.
    edges : list of (int, int)
        Who makes a value, and who reads it.
    no_entry, no_exit : list of (int, int)
        Edges whose value does not pass from the host to the machine, or from there to the host.
    bound : set of int
        Nodes that the host may not run.
    late : set of int
        Nodes that have to be late.
    """

    weight: list[int]
    edges: list[tuple[int, int]] = field(default_factory=list)
    no_entry: list[tuple[int, int]] = field(default_factory=list)
    no_exit: list[tuple[int, int]] = field(default_factory=list)
    bound: set[int] = field(default_factory=set)
    late: set[int] = field(default_factory=set)

    def best(self, blocked: Collection[int]) -> Cut | None:
        """The cut with the most weight on the machine, or None if there is none at all."""
        count = len(self.weight)

        def behind(node: int) -> int:
            """The variable of R; that of P has the node's own number."""
            return count + node

        implied = [(node, behind(node)) for node in range(count)]
        for made, read in self.edges:
            implied += [(read, made), (behind(read), behind(made))]
        implied += self.no_entry
        implied += [(behind(made), behind(read)) for made, read in self.no_exit]
        weight = [0] * (2 * count)
        for node, w in enumerate(self.weight):
            if node in blocked:
                implied.append((behind(node), node))
            else:
                weight[node], weight[behind(node)] = -w, w
        inside = closure(weight, implied, {behind(n) for n in self.bound},
                         {*self.bound, *map(behind, self.late)})
        if inside is None:
            return None
        return Cut(frozenset(n for n in range(count) if n in inside),
                   frozenset(n for n in range(count) if behind(n) not in inside))

    def conflict(self, blocked: Collection[int]) -> tuple[int, int]:
        """Of constraints without a cut: a node that has to be late, and the first one that has to
        be with it but may not."""
        before: dict[int, set[int]] = {}
        behind: dict[int, set[int]] = {}
        for made, read in self.edges:
            before.setdefault(read, set()).add(made)
            behind.setdefault(made, set()).add(read)
        for made, read in self.no_entry:
            before.setdefault(made, set()).add(read)
        for made, read in self.no_exit:
            behind.setdefault(read, set()).add(made)
        late = self.late | {n for n in blocked if reached(n, before) & (self.bound | self.late)}
        found = [(min(wrong), n) for n in late if (wrong := reached(n, behind) & self.bound)]
        node, origin = min(found)
        return origin, node


def reached(start: int, following: dict[int, set[int]]) -> set[int]:
    """All that follows a node, itself included."""
    seen, left = {start}, [start]
    while left:
        for other in following.get(left.pop(), ()):
            if other not in seen:
                seen.add(other)
                left.append(other)
    return seen


def closure(weight: Sequence[int], implied: Sequence[tuple[int, int]], inside: Collection[int],
            outside: Collection[int]) -> set[int] | None:
    """The smallest set of the largest weight in which with ``a`` of a pair of ``implied`` is ``b``.

    Parameters
    ----------
    weight : sequence of int
        Of each element.
    implied : sequence of (int, int)
    inside, outside : collection of int
        Elements that have to be in the set, or may not.

    Returns
    -------
    set of int, or None if there is no such set.
    """
    source, sink = len(weight), len(weight) + 1
    infinite = sum(map(abs, weight)) + 1
    room: list[dict[int, int]] = [{} for _ in range(len(weight) + 2)]

    def edge(a: int, b: int, capacity: int) -> None:
        room[a][b] = room[a].get(b, 0) + capacity
        room[b].setdefault(a, 0)

    for element, w in enumerate(weight):
        if w > 0:
            edge(source, element, w)
        elif w < 0:
            edge(element, sink, -w)
    for a, b in implied:
        edge(a, b, infinite)
    for element in inside:
        edge(source, element, infinite)
    for element in outside:
        edge(element, sink, infinite)
    flow = 0
    while sink in (level := _levels(room, source)):
        left = [list(edges) for edges in room]
        while path := _path(room, level, left, source, sink):
            pairs = list(zip(path, path[1:]))
            amount = min(room[a][b] for a, b in pairs)
            for a, b in pairs:
                room[a][b] -= amount
                room[b][a] += amount
            flow += amount
            if flow >= infinite:
                return None
    return set(level) - {source}


def _levels(room: list[dict[int, int]], source: int) -> dict[int, int]:
    """How many edges with room each node that can be reached is away (Dinic's levels)."""
    level = {source: 0}
    queue = deque([source])
    while queue:
        a = queue.popleft()
        for b, capacity in room[a].items():
            if capacity and b not in level:
                level[b] = level[a] + 1
                queue.append(b)
    return level


def _path(room: list[dict[int, int]], level: dict[int, int], left: list[list[int]], source: int,
          sink: int) -> list[int]:
    """A path with room that goes up a level with each edge; ``left`` are the edges of each node
    that were not in vain so far."""
    path = [source]
    while path and path[-1] != sink:
        a = path[-1]
        while left[a] and not (room[a][left[a][-1]]
                               and level.get(left[a][-1]) == level[a] + 1):
            left[a].pop()
        if left[a]:
            path.append(left[a][-1])
        else:
            path.pop()
            if path:
                left[path[-1]].pop()
    return path
