# SPDX-License-Identifier: Apache-2.0
"""Rewrites for windows that a VECTOR instruction cannot take in one piece.

A window with more than 255 rows or columns, or one whose inputs for a single output word would
fill half the scratchpad, becomes

* a depthwise convolution with ones for a sum: the array can cut a reduction, the vector engine
  cannot;
* a row maximum followed by a column maximum for a maximum.
"""

import numpy as np

from compiler.ir.errors import CompileError
from compiler.ir.floats import patterns
from compiler.ir.graph import RANGE, Clip, Conv, Graph, Op, Part, Pool, Tensor
from compiler.ir.passes import Pass
from isa.config import Config

KERNEL_MAX = 255


def prepare(graph: Graph, config: Config) -> Graph:
    """The graph with oversized pools rewritten.

    Raises
    ------
    CompileError
        If a mean with several divisors has too large a window.
    """
    ops: list[Op] = []
    for op in graph.ops:
        if isinstance(op, Pool) and _too_large(op, config):
            ops += _rewritten(graph, op)
        else:
            ops.append(op)
    graph.ops = ops
    return graph


def _too_large(op: Pool, config: Config) -> bool:
    span = [min(n, (k - 1) * d + 1) for n, k, d in
            zip(op.x.nchw[2:], op.kernel, op.dilation)]
    return max(op.kernel) > KERNEL_MAX or span[0] * span[1] > config.spm_words // 2


def _rewritten(graph: Graph, op: Pool) -> list[Op]:
    c = op.x.nchw[1]
    if not op.maximum:
        if len(op.parts) > 1:
            raise CompileError(graph.where(op.node),
                               "its window is too large for a mean with different divisors",
                               "use padding that divides evenly, or a smaller window")
        ones = np.ones((c, 1, *op.kernel), np.int16)
        return [Conv(node=op.node, x=op.x, y=op.y,
                     weight=patterns(ones, op.x.dtype) if op.x.floating else ones,
                     bias=np.zeros(c, np.float32 if op.x.floating else np.int32),
                     scale=np.full(c, op.parts[0].scale, np.float32), a_zp=op.a_zp, clip=op.clip,
                     stride=op.stride, dilation=op.dilation, pad=op.pad, groups=c,
                     counted=False)]
    lo, hi = RANGE[op.x.dtype]
    n, _, _, w = op.y.nchw
    middle = Tensor(op.y.name + ":columns", (n, c, op.x.nchw[2], w), op.x.dtype)
    one = (Part(0, op.x.nchw[2], 0, w, np.float32(1)),)
    return [
        Pool(node=op.node, x=op.x, y=middle, maximum=True, a_zp=0, clip=Clip(0, lo, hi), parts=one,
             kernel=(1, op.kernel[1]), stride=(1, op.stride[1]), dilation=(1, op.dilation[1]),
             pad=(0, op.pad[1])),
        Pool(node=op.node, x=middle, y=op.y, maximum=True, a_zp=op.a_zp, clip=op.clip,
             parts=op.parts, kernel=(op.kernel[0], 1), stride=(op.stride[0], 1),
             dilation=(op.dilation[0], 1), pad=(op.pad[0], 0))]


def _left(graph: Graph, config: Config) -> list[Op]:
    return [op for op in graph.ops if isinstance(op, Pool) and _too_large(op, config)]


PREPARE = Pass("prepare", prepare, _left, "a VECTOR instruction takes its window")
