# SPDX-License-Identifier: Apache-2.0
"""Operands of a concatenation that are made where they are to be.

A part that has the result's type, scale and zero point is a range of the result's channels, bit for
bit. Where it begins and ends on a word boundary, and nobody else reads it, whoever makes it can
write into the result, and the concatenation has nothing left to copy.

Not so: inputs, outputs and constants, which have places of their own; what a move or another
concatenation makes, which place their results themselves.
"""

from collections import Counter

from compiler.ir.graph import RANGE, Add, Concat, Conv, Graph, Pool, Tensor
from isa.config import Config


def joined(graph: Graph, config: Config) -> dict[Tensor, tuple[Tensor, int]]:
    """Such operands, each with the result that it is a part of and its first channel block
    there."""
    uses = Counter(x for op in graph.ops for x in op.inputs)
    uses.update(p.tensor for p in graph.outputs)
    made = {op.y for op in graph.ops if isinstance(op, Conv | Pool | Add) and uses[op.y] == 1}
    found = {}
    for op in graph.ops:
        if not isinstance(op, Concat) or (op.clip.lo, op.clip.hi) != RANGE[op.y.dtype]:
            continue
        per = config.lanes // op.y.size
        for part in op.parts:
            end = part.channel + part.x.nchw[1]
            if (part.x in made and part.x.dtype == op.y.dtype and part.scale == 1
                    and (op.y.floating or part.zp == op.clip.z) and part.channel % per == 0
                    and (end % per == 0 or end == op.y.nchw[1])):
                found[part.x] = op.y, part.channel // per
    return found
