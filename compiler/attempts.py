# SPDX-License-Identifier: Apache-2.0
"""Attempts to schedule and to order a graph, one choice after another.

They are tried with bands of several sizes; the one with the fewest predicted cycles is taken, of
cycles and DRAM bytes the cheapest where these have a price.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

from compiler.emit.depth import depth_first
from compiler.emit.join import joined
from compiler.emit.operators import emit_all
from compiler.emit.schedule import RESIDENT_SHARE, Schedule
from compiler.emit.sharing import Grid
from compiler.ir.errors import CompileError
from compiler.ir.graph import Graph, Place, Rows, Tensor
from compiler.machine.shared import gang, gang_cycles
from compiler.machine.steps import Step
from compiler.order.dependencies import dependencies
from compiler.order.hazards import waits
from compiler.order.order import best_order
from compiler.split.branches import branches
from compiler.split.signals import streams
from compiler.split.spread import Common, spread
from compiler.split.ways import Ways
from isa.config import Config

GRAINS = (60, 150, 300, 600, 1200, 2400, 10**9)
"""Cycles of an instruction that are tried."""

PIECES = 400
"""Instructions of the array that a program may have for the first grain; smaller ones than half of
it are not tried."""

GANG_PIECES = 2
"""By how much more instructions the array of a gang's core may have for each core: others go on
with what one has made."""

MAPS = (64, 256)
"""Pixels of the largest map that is cut by channels that are tried."""

SHARED_MAPS = (3200, 800, 200, 0)
"""Pixels of the largest map that ranks share by channels that are tried."""

CHAINS, GANG_CHAINS = (12, 5, 0), (7,)
"""Operators of a chain that are tried, and those that are tried beside in a gang."""

EXPOSED = (1.0, 0.25)
"""Parts of a layer's first weights that are loaded only when the layer before is through, as the
choice of chunks counts with."""

LESS = 0.5
"""Another share of the scratchpad for tensors that stay, that is tried where there are tokens, for
a core alone."""

GANG_PRICE = 0.25
"""A price of DRAM bytes that is tried for a gang, whose cores share the memory."""

MANY = 20_000
"""Instructions of a gang's program from which on its choices are gone through once, not twice."""

SHARES, BETWEEN = (0.85, 0.95), (8, 3)
"""Further such shares, and further lengths of chains, that are tried where DRAM has a price."""

_Found = tuple[Schedule, list[list[Step]], float]
"""What an attempt comes to: the instructions of each rank in their order, and the cost."""


def _key(steps: list[Step], common: Common) -> int:
    """Differs for other instructions than these; the constants are no part of it."""
    return hash((common, *((step.opcode, *step.fields.values(), *step.reads, *step.writes)
                           for step in steps)))


class Attempts:
    """Those of one graph.

    Parameters
    ----------
    graph : Graph
    config : Config
    packed : set of Tensor
        The input tensors that lie packed.
    macs : int
    price : float
        Cycles that a byte between DRAM and the machine is worth beside those that it takes.
    ranks : int
        Cores that share the work.
    name : str
        Of the network, for errors.
    say : function of str
        Called with progress.
    """

    def __init__(self, graph: Graph, config: Config, packed: set[Tensor], macs: int, price: float,
                 ranks: int, name: str, say: Callable[[str], None] = lambda text: None):
        self.graph, self.config, self.packed = graph, config, packed
        self.macs, self.price, self.ranks, self.name = macs, price, ranks, name
        self._say = say
        self._ways: dict[bool, dict[Tensor, Grid]] = {}

    def best(self) -> tuple[Schedule, list[list[Step]]]:
        """The best of several attempts to schedule and to order. Where DRAM has a price, those that
        do not think of it are among them, so that it makes nothing dearer."""
        alone = self._may_go_deep() and self.ranks == 1
        shares = (RESIDENT_SHARE, LESS) if alone else (RESIDENT_SHARE,)
        searches = list(itertools.product(shares, dict.fromkeys((0, self.price))))
        found = (self._best_with(*which, f"search {k + 1} of {len(searches)}")
                 for k, which in enumerate(searches))
        return min(found, key=lambda found: found[2])[:2]

    def _best_with(self, share: float, price: float, label: str) -> _Found:
        """The same with a share of the scratchpad for tensors that stay and a price of DRAM that
        the emitters think of, one choice after another."""
        choice = self._first(share, price)
        once, again = [{}, *self._changes(choice)], self._once_more(choice)
        found: _Found | None = None
        tried = set[int]()
        for k, change in enumerate([*once, *again]):
            if found and k == len(once) and len(found[0].steps) > MANY:
                break
            self._say(f"{label}, attempt {k + 1} of {len(once) + len(again)}" + (
                f", the best takes {found[2]:,.0f} cycles{' and priced bytes' * bool(self.price)}"
                if found else ""))
            attempt = self._attempt({**choice, **change}, tried)
            if attempt and (found is None or attempt[2] < found[2]):
                found, choice = attempt, {**choice, **change}
        assert found is not None, "each list of changes has one without slabs"
        return found

    def _attempt(self, choice: dict[str, Any], tried: set[int]) -> _Found | None:
        """The one of a choice, unless its instructions have been tried."""
        how = dict(choice)
        common = how.pop("common")
        try:
            s = self._emitted(**how)
        except CompileError:
            if how["slabs"]:    # of which there may be less than of strips
                return None
            raise
        key = _key(s.steps, common)
        if key in tried:
            return None
        tried.add(key)
        return self._ordered(s, common)

    def _first(self, share: float, price: float) -> dict[str, Any]:
        """The choice that is tried first."""
        total = self.macs / (self.config.macs * self.ranks)
        pieces = PIECES * (1 if self.ranks == 1 else GANG_PIECES * self.ranks)
        start = next((g for g in GRAINS[:-1] if g * pieces >= total), GRAINS[-2])
        return {"grain": start, "longest": CHAINS[0], "spread": True, "channels": 0,
                "exposed": EXPOSED[0], "joins": self.ranks > 1 and self._may_join, "share": share,
                "depth": self._may_go_deep(), "price": price, "least": False,
                "maps": SHARED_MAPS[0], "planned": self.ranks > 1, "slabs": self.ranks > 1,
                "branches": bool(self._branches), "common": Common.EITHER}

    def _changes(self, first: dict[str, Any]) -> list[dict[str, Any]]:
        """What is tried in turn after a first choice."""
        start, price, gang = first["grain"], bool(first["price"]), self.ranks > 1
        sizes = [{"planned": False, "maps": v} for v in SHARED_MAPS * gang]
        return [
            *sizes, *({"slabs": False, "longest": v} for v in (CHAINS + GANG_CHAINS) * gang),
            *sizes,
            *({"longest": v} for v in CHAINS[1:] * (not gang) + BETWEEN * price),
            *({"common": v} for v in (Common.ONCE, Common.EACH) * gang),
            {"spread": False}, *({"price": v} for v in self._prices(first) if gang),
            *[{"longest": CHAINS[0], "least": True}] * price,
            *({"share": v} for v in SHARES * price),
            *({"channels": v} for v in MAPS), *({"exposed": v} for v in EXPOSED[1:]),
            *({"grain": g} for g in GRAINS if g != start and 2 * g >= start),
            *[{"joins": not first["joins"]}] * self._may_join,
            *[{"depth": False}] * first["depth"], *[{"branches": False}] * first["branches"]]

    def _once_more(self, first: dict[str, Any]) -> list[dict[str, Any]]:
        """What is tried for a gang behind that, with what was chosen for the others."""
        return [] if self.ranks == 1 else [
            *({"common": v} for v in Common), *({"price": v} for v in self._prices(first)),
            *({"spread": v} for v in (True, False)), *({"exposed": v} for v in EXPOSED),
            *({"channels": v} for v in (0, *MAPS)),
            *({"grain": g} for g in GRAINS if 2 * g >= first["grain"])]

    def _prices(self, first: dict[str, Any]) -> list[float]:
        """Those that are tried for a gang."""
        return [*dict.fromkeys((0, first["price"], GANG_PRICE / self.config.bus_bytes))]

    def _ordered(self, s: Schedule, common: Common) -> _Found:
        """An attempt with the instructions of each rank in their order, and its cost: cycles, and
        what its DRAM bytes are worth in cycles."""
        if self.ranks == 1:
            steps, cycles = best_order(s.steps, self.config)
            ranks = [steps]
        else:
            beats = self.memory / self.config.bus_bytes
            steps, _ = best_order(spread(s.steps, self.config, common, s.slabs, beats),
                                  self.config, beats)
            ranks = self._streams(steps)
            cycles = gang_cycles(gang(ranks, self.config, self.memory))
        moved = sum(step.moved_words * s.lanes + step.code_bytes for mine in ranks for step in mine)
        return s, ranks, cycles + self.price * moved

    @functools.cached_property
    def _may_join(self) -> bool:
        return bool(joined(self.graph, self.config))

    def _may_go_deep(self) -> bool:
        """Whether there are scores, and no cache."""
        kinds = {type(op) for op in self.graph.ops}
        return Rows in kinds and Place not in kinds

    def _emitted(self, grain: int, spread: bool, longest: int, channels: int,
                 exposed: float, joins: bool, depth: bool, share: float, price: float,
                 least: bool, maps: int, planned: bool, slabs: bool, branches: bool) -> Schedule:
        """All operators' instructions, in a legal order; ``depth``: depth first. With ``slabs``
        there are no strips, whose rows the ranks share one after another."""
        ways = self._planned(branches) if planned else self._branches if branches else {}
        s = Schedule(self.graph, self.config, self.packed, grain, spread, channels, exposed, joins,
                     share, price, self.ranks, maps, ways, slabs)
        emit_all(s, depth_first(self.graph) if depth else self.graph.ops,
                 0 if slabs else longest, least)
        return s

    @functools.cached_property
    def _branches(self) -> dict[Tensor, Grid]:
        """Operators of which one of a gang's ranks has the whole."""
        return branches(self.graph, self.ranks) if self.ranks > 1 else {}

    def _planned(self, branches: bool) -> dict[Tensor, Grid]:
        """How a gang's ranks share the operators, as a model of each by itself has it; with
        ``branches`` but for those that one has."""
        if branches not in self._ways:
            fresh = Schedule(self.graph, self.config, self.packed, GRAINS[0], True, 0, EXPOSED[0],
                             False, RESIDENT_SHARE, 0, self.ranks)
            self._ways[branches] = Ways(
                fresh, self.memory, self._branches if branches else {}).best()
        return self._ways[branches]

    def _streams(self, steps: list[Step]) -> list[list[Step]]:
        """The instructions of each rank, with waits, of all in their order."""
        before = [[steps[k] for k in need] for need in dependencies(steps)]
        found = streams(steps, before, self.config, self.ranks, self.name)
        for mine in found:
            waits(mine)
        return found

    @property
    def memory(self) -> int:
        """Bytes that the memory of the cores moves in a cycle, as of the chips that have a name: a
        channel as wide as the bus for each row of a square of them."""
        channels = 1 << ((self.ranks - 1).bit_length() + 1) // 2
        return channels * self.config.bus_bytes
