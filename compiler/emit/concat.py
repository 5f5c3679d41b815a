# SPDX-License-Identifier: Apache-2.0
"""A concatenation along the channels, part by part into the blocks of the output.

Nothing is left to do for a part that was made in its place (:mod:`compiler.emit.join`). Another one
that begins and ends on a word boundary is requantized into its place by the vector engine. All
others go through the array with one-hot weights, which shift their channels inside the words;
in the word that it shares with the part before, the residual adds what is there already: every
lane gets a value from one side and an exact zero from the other.
"""

import numpy as np

from compiler.emit.conv import emit_conv
from compiler.emit.pool import emit_pool
from compiler.emit.schedule import Schedule
from compiler.ir.floats import one_hot
from compiler.ir.graph import RANGE, Clip, Concat, Conv, Joint, Part, Pool, Residual, Tensor


def emit_concat(s: Schedule, op: Concat) -> None:
    """Append the instructions of a concatenation.

    Raises
    ------
    CompileError
        If not even the smallest tile fits.
    """
    s.begin(op.y)
    per = s.lanes // op.y.size
    for part in op.parts:
        if part.x in s.dram.joined:
            continue
        s.partial[op.y] += 1
        end = part.channel + part.x.nchw[1]
        if part.channel % per == 0 and (end % per == 0 or end == op.y.nchw[1]):
            _copy(s, op, part)
        else:
            _shift(s, op, part)
    del s.partial[op.y]


def _slice(s: Schedule, y: Tensor, first: int, last: int) -> Tensor:
    """Blocks ``first … last - 1`` of the output as a tensor."""
    n, _, h, w = y.nchw
    channels = (last - first) * (s.lanes // y.size)
    return Tensor(f"{y.name}[{first}]", (n, channels, h, w), y.dtype, y.scale, y.zero_point, y,
                  first)


def _copy(s: Schedule, op: Concat, part: Joint) -> None:
    n, c, h, w = part.x.nchw
    y = Tensor(op.y.name, (n, c, h, w), op.y.dtype, op.y.scale, op.y.zero_point, op.y,
               part.channel * op.y.size // s.lanes)
    emit_pool(s, Pool(node=op.node, x=part.x, y=y, maximum=False, a_zp=part.zp, clip=op.clip,
                      parts=(Part(0, h, 0, w, part.scale),)))


def _shift(s: Schedule, op: Concat, part: Joint) -> None:
    per, c, start = s.lanes // op.y.size, part.x.nchw[1], part.channel
    end = start + c
    first, last = start // per, -(-end // per)
    full = Clip(op.clip.z, *RANGE[op.y.dtype])
    # blocks with a part before them or behind them in the same word, and all others
    kinds = [(b * per < start, end < min((b + 1) * per, op.y.nchw[1]))
             for b in range(first, last)]
    at = 0
    while at < len(kinds):
        to = at + 1
        while to < len(kinds) and kinds[to] == kinds[at]:
            to += 1
        before, behind = kinds[at]
        y = _slice(s, op.y, first + at, first + to)
        k = (to - at) * per
        rows = np.arange(k) + (first + at) * per - start
        used = (rows >= 0) & (rows < c)
        weight = one_hot(np.flatnonzero(used), rows[used], (k, c), op.y.dtype)
        bias = np.zeros(k, np.float32 if op.y.floating else np.int32)
        clip = full if behind else op.clip  # a word is clipped when it is complete
        one = np.float32(1)
        residual = Residual(x=y, zp=clip.z, scale_a=one, scale_b=one, clip=clip) if before else None
        emit_conv(s, Conv(node=op.node, x=part.x, y=y, weight=weight, bias=bias,
                          scale=np.full(k, part.scale, np.float32), a_zp=part.zp,
                          clip=full if before else clip, residual=residual, counted=False))
        at = to
