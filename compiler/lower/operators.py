# SPDX-License-Identifier: Apache-2.0
"""Every ONNX operator that is lowered, and what lowers it."""

from compiler.lower import affine, function, linear, piecewise, pool, quant, shape, softmax
from compiler.lower.builder import Handlers

HANDLERS: Handlers = {
    **affine.HANDLERS, **function.HANDLERS, **linear.HANDLERS, **piecewise.HANDLERS,
    **pool.HANDLERS, **quant.HANDLERS, **shape.HANDLERS, **softmax.HANDLERS}
