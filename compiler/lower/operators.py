# SPDX-License-Identifier: Apache-2.0
"""Every ONNX operator that is lowered, and what lowers it."""

from compiler.lower import (affine, extreme, function, linear, logic, lrn, normalize, piecewise,
                            pool, power, quant, reduce, resize, root, select, shape, smooth,
                            softmax, transposed)
from compiler.lower.builder import Handlers

HANDLERS: Handlers = {
    **affine.HANDLERS, **extreme.HANDLERS, **function.HANDLERS, **linear.HANDLERS,
    **logic.HANDLERS, **lrn.HANDLERS, **normalize.HANDLERS, **piecewise.HANDLERS, **pool.HANDLERS,
    **power.HANDLERS, **quant.HANDLERS, **reduce.HANDLERS, **resize.HANDLERS, **root.HANDLERS,
    **select.HANDLERS, **shape.HANDLERS, **smooth.HANDLERS, **softmax.HANDLERS,
    **transposed.HANDLERS}
