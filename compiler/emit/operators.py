# SPDX-License-Identifier: Apache-2.0
"""All operators of a graph, one after another: each by itself, with those behind it that go by
between its boxes, or a chain of them strip by strip."""

from collections.abc import Sequence

from compiler.emit.add import emit_add
from compiler.emit.cache import emit_place
from compiler.emit.concat import emit_concat
from compiler.emit.conv import elementwise, emit_conv
from compiler.emit.move import emit_move
from compiler.emit.pool import emit_depthwise, emit_pool
from compiler.emit.rows import copy_of, emit_rows
from compiler.emit.schedule import Schedule
from compiler.emit.strips import emit_chain
from compiler.emit.window import windowed
from compiler.ir.graph import Add, Concat, Conv, Move, Op, Place, Pool, Rows


def emit_all(s: Schedule, ops: Sequence[Op], longest: int, least: bool) -> None:
    """Append the instructions of operators in a legal order; ``longest``, ``least``: of chains, as
    :func:`compiler.emit.strips.emit_chain` takes them.

    Raises
    ------
    CompileError
        If not even the smallest tile of one fits.
    """
    at = 0
    while at < len(ops):
        count = emit_chain(s, ops[at:], longest, least) or _emit(s, *ops[at:at + 3])
        for op in ops[at:at + count]:
            s.made(op.y)
            for x in op.inputs:
                s.used(x)
        at += count


def _follows(s: Schedule, op: Conv, then: Op | None) -> bool:
    """Whether the operator behind a convolution may be emitted between its boxes: one of whole
    pixels, or one of elements that is the only reader."""
    if then is None or op.y not in then.inputs or op.y in s.dram.joined:
        return False
    return isinstance(then, Rows) or (
        elementwise(then) and s.uses[op.y] == 1 and op.y not in s.kept)


def _emit(s: Schedule, op: Op, then: Op | None = None, last: Op | None = None) -> int:
    """One operator, or that and the one or two behind it; how many it was."""
    s.node, s.rank = op.node, s.sharing.grid(op, op.y.nchw[2]).rank(0, 0)
    copy = copy_of(*(op, then) if isinstance(op, Rows) else (then, last))
    if isinstance(op, Conv) and windowed(op, s.config):
        emit_depthwise(s, op)
    elif isinstance(op, Conv):
        fused = emit_conv(s, op, *(then, copy) if _follows(s, op, then) else ())
        return 1 + fused + (fused and copy is not None)
    elif isinstance(op, Pool):
        emit_pool(s, op)
    elif isinstance(op, Move):
        emit_move(s, op)
    elif isinstance(op, Concat):
        emit_concat(s, op)
    elif isinstance(op, Rows):
        emit_rows(s, op, copy)
        return 1 + (copy is not None)
    elif isinstance(op, Place):
        emit_place(s, op)
    elif isinstance(op, Add):
        emit_add(s, op)
    else:
        raise AssertionError(f"pass matrices has left {op}")
    return 1
