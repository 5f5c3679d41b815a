# SPDX-License-Identifier: Apache-2.0
"""Softmax of floats, in the vector engine.

Where the elements that add up to one are channels of a pixel, it goes over them
(:mod:`compiler.lower.rows`). Otherwise they become the pixels of a map with one channel, whose
maximum and sum are those of a window as large as the map (:func:`compiler.lower.pool.as_maps`)::

    d = x - max(x)      in binary32
    e = exp(d)          in the network's type
    y = e * (1 / sum(e))

A sum of FP16 is exact, its reciprocal is in binary32. Where all scores are minus infinity, the
results are zeros: the maximum is finite, and the reciprocal of a sum of 1 and more at most 1.
"""

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.ir.floats import LARGEST
from compiler.lower.builder import Builder, Handlers
from compiler.lower.finish import as_number, stored
from compiler.lower.pool import as_maps, window
from compiler.lower.quant import deq_of
from compiler.lower.rows import rows
from compiler.lower.values import INF, Deq, Function, Quantized, Real, Sum, identity
from compiler.source.frontend import attributes
from isa.instructions import VectorOp

def softmax(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone, along one axis whose elements form a map of up to 255 rows and columns; sums
    and differences in binary32.
    """
    if not build.floats:
        raise Unsupported("the machine does not run Softmax on integers, only on floats "
                          "(--precision fp16 or mixed)")
    given, name = deq_of(inputs[0]), node.output[0]
    axis, shape = attributes(node).get("axis", -1), given.q.shape
    if (row := rows(build, given, [axis], name)) is not None:
        return [row]
    z = as_maps(build, as_number(build, given), [axis])
    whole = {"kernel_shape": list(z.q.shape[2:])}

    def value(real: Real, what: str, dtype: str = "") -> Deq:
        return stored(build, real, f"{name}:{what}", dtype)

    largest = value(window(Real(z).clipped(-LARGEST[z.q.dtype], INF), whole, True), "max")
    minus = Deq(largest.q, np.float32(-1), 0)
    powers = value(Real(Function(value(Real(Sum(z, minus)), "difference", "float32"),
                                 VectorOp.EXP)), "exp")
    total = value(_sum(powers, whole), "sum", "float32")
    inverse = value(Real(Function(total, VectorOp.RECIPROCAL)).clipped(-INF, 1.0), "inverse",
                    "float32")
    y = value(Real(Sum(powers, inverse, product=True)), "rows:softmax")
    back = np.moveaxis(identity((*np.delete(shape, axis), shape[axis])), -1, axis)
    return [Real(Deq(Quantized(name, y.q.storage, y.q.index.ravel()[back]), np.float32(1), 0))]


def _sum(x: Deq, whole: dict) -> Real:
    """The sum over a map: its mean, times its pixels."""
    count = float(np.prod(whole["kernel_shape"]))
    return window(Real(Deq(x.q, np.float32(count), 0)), whole, False)


HANDLERS: Handlers = {"Softmax": softmax}
