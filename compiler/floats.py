# SPDX-License-Identifier: Apache-2.0
"""Numbers in the compiler: weights as patterns, and operators that the array computes with floats.

The vector and the window engine take integers alone. With floats, sums over windows and additions
are convolutions, too: exact products with one, rounded once.
"""

from dataclasses import replace

import ml_dtypes
import numpy as np

from compiler.errors import CompileError, Unsupported
from compiler.ir import Add, Conv, Graph, Op, Pool, Residual, Tensor
from isa.instructions import ABSENT

FLOATS = {"fp16": "float16", "bf16": "bfloat16"}
"""Element types by the precision's name."""

_NUMPY = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def patterns(values: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers rounded to ``dtype`` as uint16 patterns, -0 as +0.

    Raises
    ------
    Unsupported
        If one is NaN, or too large for the type.
    """
    with np.errstate(over="ignore"):
        rounded = np.asarray(values, np.float32).astype(_NUMPY[dtype])
    if not np.isfinite(rounded.astype(np.float32)).all():
        raise Unsupported(f"one of its weights, {np.abs(values).max():g}, is no {dtype}",
                          "use bf16, or scale the weights")
    bits = rounded.view(np.uint16)
    return np.where(bits == ABSENT, np.uint16(0), bits)


def on_the_array(graph: Graph) -> Graph:
    """The graph with every operator on floats a convolution.

    Raises
    ------
    CompileError
        If one has no such form.
    """
    graph.ops = [new for op in graph.ops for new in (
        _convolution(graph, op) if any(t.floating for t in (op.y, *op.inputs)) else [op])]
    return graph


def _convolution(graph: Graph, op: Op) -> list[Op]:
    where = f"node {graph.nodes[op.node]!r}"
    if isinstance(op, Conv):
        return [op]
    if isinstance(op, Add) and op.b.nchw == op.a.nchw:
        residual = Residual(x=op.b, zp=0, scale_a=np.float32(1), scale_b=op.scale_b, clip=op.clip)
        return [replace(_depthwise(op, op.a, (1, 1)), residual=residual,
                        scale=np.full(op.y.nchw[1], op.scale_a, np.float32))]
    if isinstance(op, Pool) and not op.maximum and len(op.parts) == 1:
        return [replace(_depthwise(op, op.x, op.kernel), stride=op.stride, dilation=op.dilation,
                        pad=op.pad, scale=np.full(op.y.nchw[1], op.parts[0].scale, np.float32))]
    what = ("a maximum" if isinstance(op, Pool) and op.maximum else
            "a mean with different divisors" if isinstance(op, Pool) else type(op).__name__)
    raise CompileError(where, f"the machine does not compute {what} with floats",
                       "use --precision int8")


def _depthwise(op: Pool | Add, x: Tensor, kernel: tuple[int, int]) -> Conv:
    """Each channel by itself, with weights of one."""
    c = op.y.nchw[1]
    return Conv(node=op.node, x=x, y=op.y, a_zp=0, clip=op.clip, groups=c, counted=False,
                weight=patterns(np.ones((c, 1, *kernel)), x.dtype), bias=np.zeros(c, np.float32),
                scale=np.ones(c, np.float32))
