# SPDX-License-Identifier: Apache-2.0
"""What a cut of a convolution takes, by the model of :mod:`compiler.machine.timing`: cycles of the
array, and of the DRAM traffic that the cut causes; with room for two of everything the two overlap.
"""

import functools
import math
from dataclasses import dataclass

from compiler.emit.rectangles import bands, rectangles
from compiler.ir.graph import Tensor
from compiler.machine.loops import Shape
from compiler.machine.place import Layout
from compiler.machine.spm import ALIGN
from compiler.machine.timing import TENSOR_LATENCY, TENSOR_PIPE
from isa.config import PARAM_WORDS, Config

INPUT_SLACK = 2 * ALIGN
"""Words that the allocation of an input box may take beyond its pixels: rounding, and a guard word
on either side of a packed one."""

OUTPUT_SLACK = ALIGN
"""The same for an output box: rounding."""

MARGIN = 64
"""Words that the hole must have beyond weights and boxes: their allocations are rounded one by one
and leave gaps."""

NOT_HIDDEN = 0.05
"""Part of the shorter one of computing and loading that does not hide behind the longer: the two
wait for each other now and then even with room for two of everything."""

TURN = 40
"""Cycles that a chunk of weights of a gang takes for each tile beside those of the array: what it
waits for comes from other ranks."""

PAIR_BYTES = 160
"""Of the instructions LOAD and TENSOR: a unit of 32 and mostly four."""


@dataclass(frozen=True)
class Task:
    """A convolution that is to be cut, and where.

    ``room``: words of the hole; ``x_here``, ``y_here``, ``r_here``: input, output and residual are
    resident (``r_here`` None: there is no residual); ``stored``: what goes to DRAM, the output or
    the integers that become of it; ``grain``: cycles of an instruction; ``tail``: cycles that the
    only reader still takes for each channel block when the last group is complete;
    ``exposed``: part of the first weights' load that the layer before does not hide; ``after``:
    cycles that the readers of whole pixels take, for all of them; ``price``: cycles that a byte of
    DRAM traffic is worth beside those that it takes; ``by_rows``, ``by_groups``: ranks that share
    the rows of a box, or the output groups.
    """

    shape: Shape
    config: Config
    room: int
    x_here: bool
    y_here: bool
    r_here: bool | None
    stored: Tensor | None
    grain: int
    tail: int
    exposed: float
    after: int
    price: float
    by_rows: int = 1
    by_groups: int = 1


@dataclass(frozen=True)
class Cut:
    """``groups`` output groups a chunk, boxes of ``rows`` x ``columns`` outputs; the whole
    reduction (``reduction`` None) or pieces of (blocks, kernel rows, kernel steps)."""

    m_split: int
    groups: int
    rows: int
    columns: int
    reduction: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Plan:
    """A cut that fits. ``weights_outer``: a chunk of weights stays while the map goes by;
    ``weight_words``, ``tile_words``: scratchpad words of a chunk's weights and of a tile's boxes;
    ``overlaps``: there is room for two of everything, so that loading and computing overlap;
    ``compute``: cycles of the array; ``cost``: cycles, and what the traffic is worth."""

    cut: Cut
    weights_outer: bool
    weight_words: int
    tile_words: int
    overlaps: bool
    compute: int
    cost: float


@dataclass(frozen=True)
class Words:
    """Scratchpad words of a chunk's weights and of the boxes of a tile at its largest; boxes of
    resident tensors take none."""

    weights: int
    x: int
    y: int
    r: int

    @property
    def tile(self) -> int:
        """Words of all boxes."""
        return self.x + self.y + self.r


def pieces(size: int, piece: int) -> int:
    """Pieces of up to ``piece`` in which ``size`` is cut."""
    return -(-size // piece)


class Price:
    """What a cut of a task takes: words of the scratchpad, words of DRAM traffic, cycles."""

    def __init__(self, task: Task, cut: Cut):
        self.task, self.cut = task, cut
        shape = task.shape
        height, width = shape.out
        self.gn = task.config.tiles >> cut.m_split
        self.runs = shape.runs(cut.m_split)
        self.chunks = [chunk for run in self.runs for chunk in run.cut(cut.groups)]
        self.whole = (max(run.ncb for run in self.runs), *shape.kernel)
        self.part = cut.reduction or self.whole
        self.tiles = pieces(height, cut.rows) * pieces(width, cut.columns) * shape.images
        self.parts = math.prod(map(pieces, self.whole, self.part))

    def plan(self) -> Plan | None:
        """The plan, weights outside or inside; None if it does not fit."""
        words = self.words()
        found = [self._plan(words, words.tile, True)]
        if len(self.chunks) > 1 and self.tiles > 1 and self.cut.reduction is None and (
                self.task.after or self.traffic(words, False) < self.traffic(words, True)):
            inner = self._plan(words, self.all_blocks() + words.y + words.r, False)
            found = [*found, inner] if self.task.after else [inner or found[0]]
        return min((plan for plan in found if plan), key=lambda plan: plan.cost, default=None)

    def _plan(self, words: Words, tile: int, weights_outer: bool) -> Plan | None:
        task, shape, steps = self.task, self.task.shape, len(self.chunks) * self.parts
        if words.weights + tile + MARGIN > task.room:
            return None
        overlaps = (words.weights * min(2, steps) + tile * min(2, self.tiles * steps) + MARGIN
                    <= task.room)
        traffic = self.traffic(words, weights_outer)
        cost = self.cycles(words, traffic, overlaps)
        if not overlaps and not weights_outer and 2 * words.weights + tile + MARGIN <= task.room:
            # weights are loaded ahead, the boxes of a tile are not
            boxes = self.tiles * tile * shape.lanes / task.config.bus_bytes
            cost = min(cost, boxes + self.cycles(words, traffic - self.tiles * tile, True))
        return Plan(self.cut, weights_outer, words.weights, tile, overlaps, self.compute(),
                    cost + self.exposed(weights_outer) + traffic * shape.lanes * task.price)

    def words(self) -> Words:
        """Weights and boxes in the scratchpad."""
        task, cut, op = self.task, self.cut, self.task.shape.op
        _, width = task.shape.out
        weights = cut.groups * self.gn * (
            math.prod(self.part) * task.shape.tile_words + PARAM_WORDS)
        blocks = (cut.groups - 1) * max(run.step for run in self.runs) + self.part[0]
        x = 0 if task.x_here else blocks * self.input_pixels + INPUT_SLACK
        row_words = cut.groups * self.gn * op.y.size * cut.rows
        # output and residual have the same pitch: the whole map's where either is resident
        y_columns = width if task.r_here else cut.columns
        y = 0 if task.y_here else row_words * y_columns + OUTPUT_SLACK
        if task.stored is not None and task.stored is not op.y:
            y += row_words // op.y.size * y_columns + OUTPUT_SLACK
        r_columns = width if task.y_here else cut.columns
        return Words(weights, x, y, row_words * r_columns if task.r_here is False else 0)

    @functools.cached_property
    def input_pixels(self) -> int:
        """Pixels of a block that a tile reads at most."""
        shape, op, cut = self.task.shape, self.task.shape.op, self.cut
        _, cr, cs = self.part
        height, width = op.x.nchw[2:]
        kernel_rows, kernel_columns = (cr - 1) * op.dilation[0] + 1, (cs - 1) * op.dilation[1] + 1
        if shape.folded:
            return min(height, kernel_rows) * min(width, kernel_columns) * cut.columns
        rows = min(height, (cut.rows - 1) * op.stride[0] + kernel_rows)
        if shape.packed:
            return rows * Layout.of(op.x, shape.lanes, True).width
        return rows * min(width, (cut.columns - 1) * op.stride[1] + kernel_columns)

    def all_blocks(self) -> int:
        """Words of an input box with the blocks of all chunks."""
        if self.task.x_here:
            return 0
        return max(run.blocks[1] for run in self.runs) * self.input_pixels + INPUT_SLACK

    def traffic(self, words: Words, weights_outer: bool) -> int:
        """Words between DRAM and scratchpad."""
        task, shape = self.task, self.task.shape
        height, width = shape.out
        weights = self.groups * self.gn * (math.prod(self.whole) * shape.tile_words + PARAM_WORDS)
        blocks = max(run.blocks[1] for run in self.runs)
        x = 0 if task.x_here else self.tiles * blocks * self.input_pixels
        if self.cut.reduction is not None:
            read = self.tiles * len(self.chunks) * self.parts * (words.weights + words.x)
        elif weights_outer:
            read = weights + x * len(self.chunks)
        else:
            read = weights * self.tiles + x
        return read + (0 if task.stored is None else (
            shape.images * task.stored.blocks(shape.lanes) * height * width))

    @property
    def groups(self) -> int:
        """Output groups of all chunks."""
        return sum(run.last - run.first for run in self.runs)

    def cycles(self, words: Words, traffic: int, overlaps: bool) -> float:
        """Computing, loading and the instructions for it, the first load, and the reader's tail."""
        task, lanes, bus = self.task, self.task.shape.lanes, self.task.config.bus_bytes
        pairs = len(self.chunks) * self.tiles * self.parts  # a LOAD and a TENSOR
        compute, dram = self.compute(), (traffic * lanes + pairs * PAIR_BYTES) / bus
        cost = (max(compute, dram) + NOT_HIDDEN * min(compute, dram) if overlaps
                else compute + dram)
        first = (task.exposed * words.weights + words.x + words.r) * lanes / bus
        return cost + first + self.gn * task.tail

    def exposed(self, weights_outer: bool) -> float:
        """Cycles that the readers of whole pixels still take at the end. With the weights outside,
        pixels are complete one after another only while the last chunk goes by."""
        task = self.task
        if not task.after:
            return 0
        chunks = pieces(len(self.chunks), task.by_groups)
        compute = self.compute() / (chunks if weights_outer else 1)
        count = max(self.tiles, min(task.shape.out[0], compute / task.grain))
        return max(task.after / count, task.after - compute * (1 - 1 / count))

    def compute(self) -> int:
        """Cycles of the array, of the rank that has most."""
        task, cut, passes = self.task, self.cut, math.prod(self.whole)
        if cut.reduction is None:
            units = pieces(pieces(cut.rows, task.by_rows), 1 << cut.m_split)
            every = sum(self.tiles * bands(task.config, units, cut.columns, passes, self.gn,
                                           chunk.last - chunk.first, task.grain)[1]
                        for chunk in self.chunks)
            mine = every * pieces(self.groups, task.by_groups) // self.groups
            turns = self.tiles * pieces(len(self.chunks), task.by_groups)
            return mine + TURN * turns * (task.by_rows * task.by_groups > 1)
        _, block = rectangles(task.config, pieces(cut.rows, 1 << cut.m_split), cut.columns, passes,
                              self.gn)
        tiles = pieces(self.tiles * self.groups, task.by_rows * task.by_groups)
        return tiles * (block + TENSOR_PIPE + TENSOR_LATENCY)
