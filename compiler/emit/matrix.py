# SPDX-License-Identifier: Apache-2.0
"""LOADs of weights that are a tensor.

A tensor has the words of a weight stream: that of pixel ``k`` in channel block ``cb`` is column
``k`` of the tile of block ``cb``. Only their order is another one, which LOADs bring about on the
way from DRAM: for each group of output channels a run of its pixels for each block, with room
behind them for the parameters, which are constant.
"""

from functools import partial

import numpy as np

from compiler.emit.schedule import Schedule
from compiler.ir.graph import Conv
from compiler.machine.constants import Stream
from compiler.machine.loops import Run
from compiler.machine.weights import parameters
from isa.config import PARAM_WORDS
from isa.instructions import ABSENT, Opcode, Region


def load_matrix(s: Schedule, op: Conv, gn: int, chunk: Run, at: int,
                blocks: tuple[int, int] | None, params: bool) -> None:
    """LOAD the weights of a chunk to ``at``: of input blocks ``blocks``, or all of them, and with
    parameters or without."""
    assert op.matrix is not None
    home, y = s.dram.home(op.matrix.x), s.dram.layout(op.matrix.x)
    assert home is not None
    low, high = blocks or (0, chunk.ncb)
    width, count = gn * s.lanes, chunk.last - chunk.first
    tile = (high - low) * width
    group = tile + (gn * PARAM_WORDS if params else 0)
    start = home.offset + (low * y.block + chunk.first * width) * s.lanes
    pixels = max(0, int(np.prod(op.matrix.x.nchw[2:])) - chunk.first * width)
    full = min(count, pixels // width)

    def load(first: int, columns: int, groups: int) -> None:
        s.dma(Opcode.LOAD, home.region, start + first * width * s.lanes, at + first * group,
              [(columns, 1, 1), (high - low, y.block, width), (groups, width, group)], home.stream)

    if full:
        load(0, width, full)
    for last in range(full, count):
        s.load_weights(_absent(s, op, tile), at + last * group)
        if pixels > last * width:
            load(last, pixels - last * width, 1)
    if params:
        words = gn * PARAM_WORDS
        stream = s.streams.setdefault((op, gn, chunk), Stream(
            count * words, partial(_parameters, op, s.lanes, gn, chunk)))
        s.dma(Opcode.LOAD, Region.PROGRAM, 0, at + tile,
              [(words, 1, 1), (count, words, group)], stream)


def _absent(s: Schedule, op: Conv, words: int) -> Stream:
    """Columns behind the last output channel, which give nothing."""
    assert op.matrix is not None
    size = words * s.lanes
    data = (np.full(size // 2, ABSENT, "<u2").tobytes() if op.x.floating
            else bytes([op.matrix.zp & 0xFF]) * size)
    return s.streams.setdefault(("absent", data[:2], words), Stream(words, lambda: data))


def _parameters(op: Conv, lanes: int, gn: int, chunk: Run) -> bytes:
    return parameters(op, lanes, gn, chunk.first, chunk.last - chunk.first).tobytes()
