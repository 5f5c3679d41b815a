# SPDX-License-Identifier: Apache-2.0
"""Tensors in DRAM: the region that each lies in, where, and in which layout.

A tensor gets its place when it first goes there. One that is a part of another lies inside that
one, as some of its channel blocks: an operand of a concatenation, for example.
"""

from dataclasses import replace
from functools import partial

from compiler.ir.graph import Graph, Tensor
from compiler.machine.constants import Stream, aligned
from compiler.machine.place import Home, Layout
from isa.instructions import Region


class Dram:
    """The homes of a graph's tensors.

    Parameters
    ----------
    graph : Graph
    lanes : int
        Bytes of a word.
    packed : set of Tensor
        The input tensors that lie packed.
    joined : dict of Tensor to (Tensor, int)
        Operands that are written into a result (:mod:`compiler.emit.join`).

    Members
    -------
    homes : dict of Tensor to Home
        Of the tensors that are in DRAM and no part of another one.
    sizes : dict of int to int
        Bytes of each region that are taken.
    """

    def __init__(self, graph: Graph, lanes: int, packed: set[Tensor],
                 joined: dict[Tensor, tuple[Tensor, int]]):
        self.lanes, self.packed, self.joined = lanes, packed, joined
        self.sizes: dict[int, int] = {r: 0 for r in Region}
        self.homes: dict[Tensor, Home] = {}
        for port in graph.inputs:
            self._home(port.tensor, Region.INPUT)
        for port in graph.outputs:
            self._home(port.tensor, Region.OUTPUT)
        for t in graph.states:
            self._home(t, Region.WORKSPACE)
        for t, values in graph.constants.items():
            y = self.layout(t)
            self.homes[t] = Home(Region.PROGRAM, 0, Stream(
                y.words, partial(y.image_of, t, values, lanes)))

    def part_of(self, t: Tensor) -> tuple[Tensor | None, int]:
        """The tensor of which this one is a part, if it is, and its first channel block there."""
        return self.joined.get(t, (t.parent, t.block))

    def layout(self, t: Tensor) -> Layout:
        """The tensor's layout; a part of another one has that one's pitches between channel blocks
        and images."""
        whole, _ = self.part_of(t)
        if whole is not None:
            of = self.layout(whole)
            return replace(Layout.of(t, self.lanes), block=of.block, image=of.image)
        return Layout.of(t, self.lanes, t in self.packed)

    def home(self, t: Tensor) -> Home | None:
        """Where the tensor is in DRAM, if it is."""
        whole, first = self.part_of(t)
        if whole is None:
            return self.homes.get(t)
        home, skip = self.home(whole), first * self.layout(whole).block * self.lanes
        return None if home is None else replace(home, offset=home.offset + skip)

    def _home(self, t: Tensor, region: int) -> Home:
        whole, _ = self.part_of(t)
        if whole is not None:
            self._home(whole, region)
            found = self.home(t)
            assert found is not None
            return found
        if t not in self.homes:
            size = aligned(self.layout(t).words * self.lanes)
            self.homes[t] = Home(region, self.sizes[region])
            self.sizes[region] += size
        return self.homes[t]

    def made_home(self, t: Tensor) -> Home:
        """Where a tensor goes in DRAM: the WORKSPACE unless it is an output."""
        return self._home(t, Region.WORKSPACE)

    def every(self, t: Tensor, rows: int, columns: int) -> Tensor:
        """Of a tensor in DRAM every so many rows and columns, as one that is there already."""
        home, y, (n, c, h, w) = self.home(t), self.layout(t), t.nchw
        assert home is not None
        part = Tensor(f"{t.name}[::{rows},::{columns}]", (n, c, -(-h // rows), -(-w // columns)),
                      t.dtype, t.scale, t.zero_point)
        self.homes[part] = replace(home, pitches=(columns, rows * y.row, y.block, y.image))
        return part
