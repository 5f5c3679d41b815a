# SPDX-License-Identifier: Apache-2.0
"""The loops of a convolution on a machine: output rows and columns, kernel steps, and which input
blocks a group of output blocks reads."""

import functools
from dataclasses import dataclass

from compiler.ir.graph import Conv
from compiler.machine.place import Layout
from compiler.machine.weights import steps_along
from isa.config import GRANULE


@dataclass(frozen=True)
class Run:
    """Groups of output blocks ``first … last-1`` whose inputs are evenly spaced: group ``i`` reads
    ``ncb`` blocks from ``low + (i - first) * step``."""

    first: int
    last: int
    low: int
    step: int
    ncb: int

    def part(self, first: int, last: int) -> "Run":
        """The groups ``first … last-1`` of these."""
        return Run(first, last, self.low + (first - self.first) * self.step, self.step, self.ncb)

    def cut(self, size: int) -> list["Run"]:
        """Pieces of up to ``size`` groups."""
        return [self.part(i, min(i + size, self.last)) for i in range(self.first, self.last, size)]

    @property
    def blocks(self) -> tuple[int, int]:
        """Input blocks that the run reads."""
        return self.low, self.low + (self.last - self.first - 1) * self.step + self.ncb


@dataclass(frozen=True)
class Shape:
    """The loop bounds of a convolution on a machine.

    With ``folded`` the images of a batch are the pixels of one row: each has one output pixel.
    """

    op: Conv
    lanes: int
    tiles: int
    packed: bool

    @property
    def folded(self) -> bool:
        n, _, h, w = self.op.y.nchw
        return n > 1 and h == w == 1 and not self.packed and self.op.residual is None

    @property
    def images(self) -> int:
        return 1 if self.folded else self.op.y.nchw[0]

    @property
    def out(self) -> tuple[int, int]:
        """Rows and columns of the output."""
        n, _, h, w = self.op.y.nchw
        return (1, n) if self.folded else (h, w)

    @property
    def kernel(self) -> tuple[int, int]:
        """Rows and steps of the kernel."""
        _, _, r, s = self.op.weight.shape
        return r, steps_along(s, self.lanes, self.packed, self.op.x.size)

    @property
    def tile_words(self) -> int:
        """Words of the weights of a tile in a pass."""
        return self.lanes // 2 if self.op.narrow else self.lanes

    @property
    def granules(self) -> int:
        return self.lanes // GRANULE

    def runs(self, m_split: int) -> tuple[Run, ...]:
        """Groups of output blocks for a number of pixel streams."""
        return _runs(self.op, self.lanes, self.tiles >> m_split, self.packed)

    def span(self, rows: int, r0: int, r1: int, y0: int) -> tuple[int, int]:
        """Input rows inside the image for output rows ``y0 … y0+rows-1`` and kernel rows."""
        op = self.op
        a = y0 * op.stride[0] - op.pad[0] + r0 * op.dilation[0]
        b = (y0 + rows - 1) * op.stride[0] - op.pad[0] + (r1 - 1) * op.dilation[0] + 1
        return clamp(a, b, op.x.nchw[2])

    def reach(self, columns: int, s0: int, s1: int, x0: int) -> tuple[int, int]:
        """Input columns likewise; all of them when packed or folded."""
        op = self.op
        if self.packed:
            return 0, Layout.of(op.x, self.lanes, True).width
        if self.folded:
            return clamp(s0 * op.dilation[1] - op.pad[1],
                         (s1 - 1) * op.dilation[1] - op.pad[1] + 1, op.x.nchw[3])
        a = x0 * op.stride[1] - op.pad[1] + s0 * op.dilation[1]
        b = (x0 + columns - 1) * op.stride[1] - op.pad[1] + (s1 - 1) * op.dilation[1] + 1
        return clamp(a, b, op.x.nchw[3])


def clamp(a: int, b: int, size: int) -> tuple[int, int]:
    """The part of ``a … b-1`` inside ``0 … size-1``; one element if there is none, so that every
    box has a place."""
    a, b = max(a, 0), min(b, size)
    if a >= b:
        a = min(max(a, 0), size - 1)
        b = a + 1
    return a, b


@functools.lru_cache(maxsize=256)
def _runs(op: Conv, lanes: int, gn: int, packed: bool) -> tuple[Run, ...]:
    k, c, _, _ = op.weight.shape
    blocks = -(-k // lanes)
    groups = -(-blocks // gn)
    total, size = 1 if packed else op.x.blocks(lanes), op.x.size
    if op.groups == 1:
        return (Run(0, groups, 0, 0, total),)
    per = k // op.groups
    windows = []
    for g in range(groups):
        first, last = g * gn * lanes // per, (min(k, (g + 1) * gn * lanes) - 1) // per
        windows.append((first * c * size // lanes, -(-(last + 1) * c * size // lanes)))
    ncb = max(b - a for a, b in windows)
    lows = [min(a, total - ncb) for a, _ in windows]
    runs = []
    at = 0
    while at < groups:
        end = at + 1
        step = lows[end] - lows[at] if end < groups else 0
        while end < groups and lows[end] - lows[end - 1] == step:
            end += 1
        runs.append(Run(at, end, lows[at], step, ncb))
        at = end
    return tuple(runs)
