# SPDX-License-Identifier: Apache-2.0
"""A cache's tokens: those of the execution behind the others, where the machine keeps them.

The channels of a slot are those of all heads, one head behind the other: what a convolution makes
of a token, and what attention takes as the keys that are its weights.
"""

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.ir.graph import Append, Tensor
from compiler.lower.builder import Builder
from compiler.lower.finish import as_number, stored
from compiler.lower.moves import demand
from compiler.lower.quant import real_of
from compiler.lower.values import Deq, Quantized, Real, Storage, identity


def append(build: Builder, node: onnx.NodeProto, name: str, slots: int, new: object) -> list:
    """The present [1, heads, slots, width] of the cache ``name``: the ``new`` tokens are its last.
    """
    if not build.floats:
        raise Unsupported("the machine keeps caches of floats", "compile with --precision fp16")
    real = real_of(new, "what the cache takes")
    deq = real.expr if isinstance(real.expr, Deq) else stored(build, real, node.output[0])
    deq = as_number(build, deq)
    _, heads, tokens, width = deq.q.shape
    order = deq.q.index.transpose(0, 1, 3, 2).reshape(1, heads * width, 1, tokens)
    x = demand(build, deq.q, np.ascontiguousarray(order), 0)
    y = Tensor(name, (1, heads * width, 1, slots), x.dtype)
    build.emit(Append(node=build.node, x=x, y=y, slot=slots - tokens))
    build.graph.states.append(y)
    index = identity((1, heads, width, slots)).transpose(0, 1, 3, 2)
    return [Real(Deq(Quantized(name, Storage(name, y.nchw, y.dtype, y),
                               np.ascontiguousarray(index)), np.float32(1), 0))]
