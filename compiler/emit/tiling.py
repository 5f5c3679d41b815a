# SPDX-License-Identifier: Apache-2.0
"""How a convolution is cut: pixel streams, weight chunks, boxes of the map, accumulator rectangles.

Every candidate that fits is priced with the model of :mod:`compiler.machine.timing`: cycles of the
array, and of the DRAM traffic that the cut causes; with room for two of everything the two overlap.
The cheapest one wins.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from compiler.machine.loops import Shape
from compiler.machine.place import Layout
from compiler.machine.timing import TENSOR_LATENCY, TENSOR_PIPE, block_cycles
from compiler.machine.weights import addends
from isa.config import PARAM_WORDS, Config

BAND_COST = 1.06
"""What a box may take in bands, of what it takes in one instruction."""

MARGIN = 64
"""Words that rounding costs the allocations of a tile."""

FIELD_MAX = 255
"""Largest kernel and stride that a TENSOR instruction can count."""


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


@dataclass(frozen=True)
class Plan:
    """A cut: ``groups`` output groups a chunk, boxes of ``rows`` x ``columns`` outputs, the whole
    reduction (``cut`` None) or pieces of (blocks, kernel rows, kernel steps); ``weights_outer``:
    a chunk of weights stays while the map goes by."""

    m_split: int
    groups: int
    rows: int
    columns: int
    cut: tuple[int, int, int] | None
    weights_outer: bool
    weight_words: int
    tile_words: int
    overlaps: bool
    """There is room for two of everything, so that loading and computing overlap."""
    cost: float


def _halves(n: int, low: int = 1) -> list[int]:
    out = []
    while n > low:
        out.append(n)
        n = -(-n // 2)
    return [*out, low]


def _pieces(size: int, piece: int) -> int:
    return -(-size // piece)


def plans(shape: Shape, config: Config, room: int, x_here: bool, y_here: bool,
          r_here: bool | None, grain: int, tail: int) -> list[Plan]:
    """Cuts that fit in a hole of ``room`` words, cheapest first.

    ``x_here``, ``y_here``, ``r_here`` tell whether input, output and residual are resident
    (``r_here`` None: there is no residual). ``grain``: cycles of an instruction; ``tail``: cycles
    that the only reader still takes for each channel block when the last group is complete.
    """
    return sorted(_candidates(shape, config, room, x_here, y_here, r_here, grain, tail),
                  key=lambda p: p.cost)[:8]


def _candidates(shape: Shape, config: Config, room: int, x_here: bool, y_here: bool,
                r_here: bool | None, grain: int, tail: int) -> Iterator[Plan]:
    op = shape.op
    height, width = shape.out
    whole = len(addends(op.weight)) == 1 and max(shape.kernel) <= FIELD_MAX
    overlaps = False
    for m_split in range(config.tiles.bit_length()):
        if not whole:
            break
        runs = shape.runs(m_split)
        for groups in _halves(max(r.last - r.first for r in runs)):
            for rows in _halves(height):
                for columns in _halves(width) if rows <= 1 << m_split else (width,):
                    plan = _priced(shape, config, room, x_here, y_here, r_here, m_split, groups,
                                   rows, columns, None, grain, tail)
                    if plan:
                        overlaps |= plan.overlaps
                        yield plan
                        break
    if overlaps:
        return
    r, s = shape.kernel
    ncb = max(run.ncb for run in shape.runs(0))
    for m_split in sorted({0, config.tiles.bit_length() - 1}):
        for rows in _halves(min(height, config.psum_depth << m_split)):
            for columns in _halves(min(width, config.psum_depth)):
                if -(-rows // (1 << m_split)) * columns > config.psum_depth:
                    continue
                for cut in _cuts(ncb, r, s):
                    plan = _priced(shape, config, room, x_here, y_here, r_here, m_split, 1,
                                   rows, columns, cut, grain, tail)
                    if plan:
                        yield plan
                        if plan.overlaps:
                            break


def _cuts(ncb: int, r: int, s: int) -> Iterator[tuple[int, int, int]]:
    r, s = min(r, FIELD_MAX), min(s, FIELD_MAX)
    for blocks in _halves(min(ncb, 4095)):
        yield blocks, r, s
    for rows in _halves(r)[1:]:
        yield 1, rows, s
    for steps in _halves(s)[1:]:
        yield 1, 1, steps


def _priced(shape: Shape, config: Config, room: int, x_here: bool, y_here: bool,
            r_here: bool | None, m_split: int, groups: int, rows: int, columns: int,
            cut: tuple[int, int, int] | None, grain: int, tail: int) -> Plan | None:
    op, lanes = shape.op, shape.lanes
    height, width = shape.out
    gn = config.tiles >> m_split
    runs = shape.runs(m_split)
    r, s = shape.kernel
    ncb = max(run.ncb for run in runs)
    cb, cr, cs = cut or (ncb, r, s)
    chunks = [c for run in runs for c in run.cut(groups)]
    passes = cb * cr * cs
    weight = groups * gn * (passes * lanes + PARAM_WORDS)
    # boxes at their largest
    step = max(run.step for run in runs)
    in_blocks = (groups - 1) * step + cb
    d = op.dilation
    in_rows = min(op.x.nchw[2], (rows - 1) * op.stride[0] + (cr - 1) * d[0] + 1)
    if shape.packed:
        in_cols = Layout.of(op.x, lanes, True).width
    elif shape.folded:
        in_cols = min(op.x.nchw[3], (cs - 1) * d[1] + 1) * columns
        in_rows = min(op.x.nchw[2], (cr - 1) * d[0] + 1)
    else:
        in_cols = min(op.x.nchw[3], (columns - 1) * op.stride[1] + (cs - 1) * d[1] + 1)
    x_words = 0 if x_here else in_blocks * in_rows * in_cols + 16
    out_words = groups * gn * op.y.size * rows * columns + 8
    if r_here and columns < width and not y_here:
        out_words = groups * gn * op.y.size * rows * width + 8
    y_words = 0 if y_here else out_words
    r_words = 0 if r_here in (True, None) else (
        groups * gn * op.y.size * rows * (width if y_here else columns))
    tiles = _pieces(height, rows) * _pieces(width, columns) * shape.images
    all_weights = sum(run.last - run.first for run in runs) * gn * (ncb * r * s * lanes
                                                                    + PARAM_WORDS)
    n_chunks = len(chunks)
    reductions = _pieces(ncb, cb) * _pieces(r, cr) * _pieces(s, cs)
    tile = x_words + y_words + r_words
    in_traffic = 0 if x_here else tiles * (max(run.blocks[1] for run in runs) * in_rows * in_cols)
    weights_outer = True
    if n_chunks > 1 and tiles > 1 and cut is None:
        wide = 0 if x_here else max(run.blocks[1] for run in runs) * in_rows * in_cols + 16
        other = wide + y_words + r_words
        if all_weights * tiles + in_traffic < all_weights + in_traffic * n_chunks and \
                weight + other + MARGIN <= room:
            weights_outer, tile = False, other
    if weight + tile + MARGIN > room:
        return None
    if cut is None:
        traffic = (all_weights + in_traffic * n_chunks if weights_outer
                   else all_weights * tiles + in_traffic)
    else:
        traffic = tiles * n_chunks * reductions * (weight + x_words)
    if not y_here:
        traffic += shape.images * op.y.blocks(lanes) * height * width
    dram = traffic * lanes / config.bus_bytes
    units = -(-rows // (1 << m_split))
    group_count = sum(run.last - run.first for run in runs)
    compute: float = 0
    if cut is None:
        for chunk in chunks:
            compute += tiles * bands(config, units, columns, ncb * r * s, gn,
                                     chunk.last - chunk.first, grain)[1]
    else:
        _, cycles = rectangles(config, units, columns, ncb * r * s, gn)
        compute = tiles * group_count * (cycles + TENSOR_PIPE + TENSOR_LATENCY)
    overlaps = (weight * min(2, n_chunks * reductions) +
                tile * min(2, tiles * n_chunks * reductions) + MARGIN <= room)
    cost = max(compute, dram) + 0.05 * min(compute, dram) if overlaps else compute + dram
    cost += (weight + x_words + r_words) * lanes / config.bus_bytes  # the first of them
    cost += gn * tail
    return Plan(m_split, groups, rows, columns, cut, weights_outer, weight, tile,
                overlaps, cost)
