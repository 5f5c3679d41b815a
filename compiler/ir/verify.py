# SPDX-License-Identifier: Apache-2.0
"""What has to hold of a graph, and holds after each pass."""

from typing import assert_never

import numpy as np

from compiler.ir.errors import CompileError
from compiler.ir.graph import (RANGE, Add, Append, Concat, Conv, Graph, Move, Op, Place, Pool,
                               Product, Rows)
from isa.numerics import SCALE_MAX, SCALE_MIN


def check(ok: bool, where: str, what: str) -> None:
    """Raise a CompileError that is the compiler's own fault unless it is ``ok``."""
    if not ok:
        raise CompileError(where, what, "this is an error of the compiler: please report it with "
                                        "the model")


def check_scale(values: np.ndarray, where: str) -> None:
    """Refuse factors that the post-processor cannot take.

    Raises
    ------
    CompileError
        If one of them, rounded to binary32, is not in [2**-100, 2**32).
    """
    v = np.asarray(values, np.float32)
    if (v < 0).any():
        raise CompileError(where, f"its requantization factor {v.min():g} is negative, and the "
                           "machine's are not: one of its activations has a negative scale",
                           "negate that scale, and what is quantized with it")
    if not (np.isfinite(v) & (v >= SCALE_MIN) & (v < SCALE_MAX)).all():
        raise CompileError(where, f"its requantization factor {v.min():g} is not in "
                                  "[2**-100, 2**32)", "check the scales of the quantized model")


def verify(graph: Graph) -> None:
    """Check every operator's shapes, types and order; each pass leaves a graph that passes.

    Raises
    ------
    CompileError
        If the graph is not legal: an error of the pass before, except for scales out of range.
    """
    known = {p.tensor for p in graph.inputs} | graph.constants.keys() | set(graph.states)
    for op in graph.ops:
        where = graph.where(op.node)
        for x in op.inputs:
            check(x in known, where, f"tensor {x.name!r} is used before it is made")
            check(x.dtype in RANGE and len(x.nchw) == 4 and min(x.nchw) > 0, where,
                  f"tensor {x.name!r} has shape {x.nchw}")
        last = op.residual.clip if isinstance(op, Conv) and op.residual else op.clip
        lo, hi = RANGE[op.y.dtype]
        check(lo <= last.lo <= last.hi <= hi, where, "clip")
        check(op.y not in known or isinstance(op, Append | Place), where,
              f"tensor {op.y.name!r} is made twice")
        _operator(op, where)
        known.add(op.y)
    for p in graph.outputs:
        check(p.tensor in known, p.name, "the output is never made")


def _operator(op: Op, where: str) -> None:
    """Shapes and factors of one."""
    match op:
        case Conv():
            _conv(op, where)
        case Rows():
            check(op.x.nchw == op.y.nchw and op.y.dtype in (op.x.dtype, "int8", "uint8")
                  and op.x.floating and op.y.nchw[0] == 1 and op.y.nchw[1] % op.pitch == 0
                  and float(op.scale) > 0 and op.depth <= op.pitch
                  and not (op.norm and op.depth < op.pitch), where, "rows")
            check_scale(np.array([op.factor]), where)
        case Product():
            _product(op, where)
        case Append():
            slots, pixels = op.y.nchw[1:4:2] if op.heads else op.y.nchw[3:0:-2]
            heads = op.heads or 1
            check(op.x.nchw == (1, heads * pixels, 1, op.x.nchw[3]) and op.x.dtype == op.y.dtype
                  and 0 <= op.slot <= slots // heads - op.x.nchw[3], where, "slots")
        case Place():
            check(op.x.dtype == op.y.dtype and min(op.blocks, op.pixels) > 0
                  and min(op.block, op.pixel) >= 0, where, "words of a state")
        case Pool():
            check(op.x.nchw[:2] == op.y.nchw[:2], where, "channels do not fit")
            check_scale(np.array([p.scale for p in op.parts]), where)
        case Concat():
            check(sum(p.x.nchw[1] for p in op.parts) == op.y.nchw[1], where, "channels")
            check_scale(np.array([p.scale for p in op.parts]), where)
        case Move():
            _move(op, where)
        case Add():
            check(op.a.nchw == op.y.nchw and op.b.nchw in (op.a.nchw, op.a.nchw[:2] + (1, 1)),
                  where, "shapes do not fit")
            factors = np.array([op.scale_a, op.scale_b])
            floating = any(t.floating for t in (op.a, op.b, op.y))
            check_scale(np.abs(factors) if floating else factors, where)
        case _:
            assert_never(op)


def _conv(op: Conv, where: str) -> None:
    k, c, _, _ = op.weight.shape
    check(op.y.nchw[1] == k and k % op.groups == 0 and op.x.nchw[1] == c * op.groups
          and op.y.nchw[0] == op.x.nchw[0], where, "channels do not fit")
    check(op.bias.shape == (k,) and op.scale.shape == (k,), where, "parameters")
    check_scale(op.scale, where)
    if op.residual:
        check(op.residual.x.nchw == op.y.nchw, where, "residual's shape")
        factor = op.residual.scale_b  # of floats it may be negative
        floating = op.x.floating or op.y.floating or op.residual.x.floating
        check_scale(np.array([op.residual.scale_a, abs(factor) if floating else factor]), where)
    if op.matrix:
        check(op.matrix.x.nchw[0] == 1 == op.y.nchw[0] and op.kernel == (1, 1)
              and op.matrix.x.nchw[1] == c and np.prod(op.matrix.x.nchw[2:]) <= k, where, "matrix")


def _product(op: Product, where: str) -> None:
    n, rows, columns = op.columns, op.w.nchw[1], int(np.prod(op.w.nchw[2:]))
    across, along = (columns, rows) if op.turned else (rows, columns)
    check(op.y.nchw == (1, op.outputs * len(op.first), *op.x.nchw[2:])
          and op.x.nchw[0] == 1 and n <= op.outputs
          and across % op.depth == 0 and along % n == 0
          and op.depth <= op.pitch and (max(op.first) + 1) * op.pitch <= op.x.nchw[1]
          and (max(op.second) + 1) * (n if op.turned else op.depth) <= rows, where,
          "matrices do not fit")
    check_scale(np.array([op.scale]), where)


def _move(op: Move, where: str) -> None:
    check(all(s.wanted.shape == op.y.nchw and s.wanted.max() < np.prod(s.x.nchw)
              for s in op.sources), where, "positions do not fit")
    check(bool((np.sum([s.wanted >= 0 for s in op.sources], 0) <= 1).all()), where,
          "two sources have an element")
    check_scale(np.array([s.scale for s in op.sources]), where)
