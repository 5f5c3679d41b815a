# SPDX-License-Identifier: Apache-2.0
"""How a box of the output is cut for the accumulators: rectangles that a PSUM bank holds, and bands
of rows, one instruction each."""

import functools
from dataclasses import dataclass

from compiler.machine.timing import block_cycles
from isa.config import Config

BAND_COST = 1.06
"""What a box may take in bands, of what it takes in one instruction."""


@dataclass(frozen=True)
class Rect:
    """Accumulator rectangles of a box: sizes, counts, sizes of the last ones."""

    nx: int
    ny: int
    ntx: int
    nty: int
    nx_last: int
    ny_last: int


@functools.lru_cache(maxsize=4096)
def rectangles(config: Config, rows: int, columns: int, passes: int, gn: int) -> tuple[Rect, int]:
    """The cheapest rectangles for ``rows`` x ``columns`` accumulator entries, and the cycles of
    one output group."""
    best = None
    depth = config.psum_depth
    first = -(-columns // min(depth, columns))
    for count in range(first, min(columns, first + 4) + 1):
        nx = -(-columns // count)
        ntx = -(-columns // nx)
        most = min(depth // nx, rows)
        for nty in sorted({-(-rows // most), -(-rows // max(1, most // 2))}):
            ny = -(-rows // nty)
            nty = -(-rows // ny)
            rect = Rect(nx, ny, ntx, nty, columns - nx * (ntx - 1), rows - ny * (nty - 1))
            cycles = 0
            for cx, wx in ((ntx - 1, nx), (1, rect.nx_last)):
                for cy, wy in ((nty - 1, ny), (1, rect.ny_last)):
                    cycles += cx * cy * max(block_cycles(config, wx * wy, passes, gn))
            if best is None or cycles < best[1]:
                best = (rect, cycles)
    assert best is not None
    return best


@functools.lru_cache(maxsize=4096)
def bands(config: Config, rows: int, columns: int, passes: int, gn: int, groups: int, grain: int
          ) -> tuple[int, int]:
    """Rows of the bands into which a box is cut, one instruction each, and the cycles of all.

    A band takes about ``grain`` cycles; fewer and larger ones are made where the short passes of
    small ones would cost more than :data:`BAND_COST`.
    """
    def cost(count: int) -> tuple[int, int]:
        size = -(-rows // count)
        full, rest = divmod(rows, size)
        sizes = [size] * full + [rest] * (rest > 0)
        return size, sum(rectangles(config, n, columns, passes, gn)[1] * groups for n in sizes)

    whole = cost(1)
    count = min(rows, max(1, round(whole[1] / grain)))
    while count > 1 and cost(count)[1] > BAND_COST * whole[1]:
        count -= 1
    return cost(count)
