# SPDX-License-Identifier: Apache-2.0
"""A cache's tokens: those of the execution behind the others, where the machine keeps them.

What reads the cache first says which way it lies: keys, which are the weights of the scores, with a
token's channels as those of a slot; values with the slots as channels, since these are what their
product sums over. An execution brings its tokens into that order, not the whole cache.
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
from compiler.source.cache import Lengths


def append(build: Builder, node: onnx.NodeProto, lengths: Lengths, new: object) -> list:
    """The present [1, heads, slots, width] of the cache that a Concat continues with ``new``."""
    if not build.floats:
        raise Unsupported("the machine keeps caches of floats", "compile with --precision fp16")
    real = real_of(new, "what the cache takes")
    deq = real.expr if isinstance(real.expr, Deq) else stored(build, real, node.output[0])
    deq = as_number(build, deq)
    _, heads, tokens, width = deq.q.shape
    order = deq.q.index.transpose(0, 1, 3, 2).reshape(1, heads * width, 1, tokens)
    x = demand(build, deq.q, np.ascontiguousarray(order), 0)
    name, shape, at = node.input[0], (1, heads, lengths.slots, width), build.node
    plain = identity(shape).transpose(0, 1, 3, 2).reshape(1, heads * width, 1, lengths.slots)
    turned = identity(shape).reshape(1, heads * lengths.slots, 1, width)

    def bind(order: np.ndarray) -> Tensor | None:
        for wanted, count in ((plain, 0), (turned, heads)):
            if np.array_equal(order, wanted):
                y = Tensor(name, wanted.shape, x.dtype)
                build.graph.ops.append(Append(node=at, x=x, y=y, slot=lengths.past,
                                              own=lengths.own, room=lengths.room, heads=count))
                build.graph.states.append(y)
                return y
        return None

    storage = Storage(name, shape, x.dtype, bind=bind)
    return [Real(Deq(Quantized(name, storage, identity(shape)), np.float32(1), 0))]
