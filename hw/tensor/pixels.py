# SPDX-License-Identifier: Apache-2.0
"""The part of a loop nest that feeder and drain have in common: rectangles of output pixels."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data

from hw.parts.nest import Nest


def pixel_nest(m: Module, levels: Sequence[str], i: data.View, following: data.View,
               counts: Mapping[str, Value], singles: Mapping[str, Value]
               ) -> tuple[Nest, list[object]]:
    """A nest with the levels x and y of a rectangle, tx and ty of rectangles, whose last ones may
    be smaller, and nb of output groups; and the statements that start it.

    Parameters
    ----------
    levels : sequence of str
        All levels, inner to outer.
    i, following : TENSOR
        The instruction under way, and the one that the statements start.
    counts, singles : mapping
        Counts of the other levels, and whether those of ``following`` are 1.
    """
    nx, ny = Signal.like(i.nx, name="nx"), Signal.like(i.ny, name="ny")
    every = {"x": nx, "y": ny, "nb": i.nnb, "tx": i.ntx, "ty": i.nty, **counts}
    nest = Nest(m, [(name, every[name]) for name in levels])
    m.d.comb += [nx.eq(Mux(nest.last("tx"), i.nx_last, i.nx)),
                 ny.eq(Mux(nest.last("ty"), i.ny_last, i.ny))]
    ones = {n: Signal(name=f"{n}_is_1", reset_less=True)
            for n in ("nx", "nx_last", "ny", "ny_last")}
    nest.varies("x", Mux(nest.next_last("tx"), ones["nx_last"], ones["nx"]))
    nest.varies("y", Mux(nest.next_last("ty"), ones["ny_last"], ones["ny"]))
    n = following
    return nest, [*(one.eq(n[f] == 1) for f, one in ones.items()),
                  *nest.start(x=Mux(n.ntx == 1, n.nx_last, n.nx) == 1,
                              y=Mux(n.nty == 1, n.ny_last, n.ny) == 1,
                              nb=n.nnb == 1, tx=n.ntx == 1, ty=n.nty == 1, **singles)]
