# SPDX-License-Identifier: Apache-2.0
"""Operands in whose place a result may be made: the machine reads each word of them before it
writes the word of the result that lies there, and nothing else of them later."""

from compiler.ir.graph import Add, Conv, Op, Tensor


def overwritten(op: Op) -> list[Tensor]:
    """Such operands: the residual of a convolution, unless that is what it convolves, and both
    operands of an addition, unless one is a single pixel."""
    if isinstance(op, Add):
        return [op.a, op.b] if op.a.nchw == op.b.nchw else []
    if isinstance(op, Conv) and op.residual and op.residual.x is not op.x:
        return [op.residual.x]
    return []
