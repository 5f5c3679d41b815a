# SPDX-License-Identifier: Apache-2.0
"""FP16 weights become INT8, half the bytes, with a step for each output channel.

``step = max|w| / 127`` of the channel, ``q = rint(w / step)``, from the weights as FP16 has them.
The step goes into the channel's scale, so the array multiplies activations with integers, exactly.

Declined: weights that are no constants; several groups (the window engine takes floats alone);
input channels that do not fill words, since what lies behind the last one must not be multiplied,
and an INT8 weight cannot say so.
"""

from dataclasses import replace

import numpy as np

from compiler.ir.graph import Conv, Graph, Op
from compiler.ir.passes import Pass
from isa.config import Config
from isa.instructions import ABSENT

MOST = 127
"""Largest magnitude of a weight."""


def _takes(op: Op, config: Config) -> bool:
    return (isinstance(op, Conv) and op.counted and op.x.dtype == "float16" and not op.matrix
            and op.groups == 1 and op.x.nchw[1] * op.x.size % config.lanes == 0
            and not op.narrow and not (op.weight == ABSENT).any())


def int8_weights(graph: Graph, config: Config) -> Graph:
    """The graph with INT8 weights where it can have them."""
    graph.ops = [_narrow(op) if isinstance(op, Conv) and _takes(op, config) else op
                 for op in graph.ops]
    return graph


def _narrow(op: Conv) -> Conv:
    weight = op.weight.view(np.float16).astype(np.float64)
    step = np.abs(weight).max((1, 2, 3), keepdims=True) / MOST
    step[step == 0] = 1
    scale = op.scale.astype(np.float64) * step.reshape(-1)
    return replace(op, weight=np.rint(weight / step).astype(np.int16),
                   scale=scale.astype(np.float32))


def _left(graph: Graph, config: Config) -> list[Op]:
    return [op for op in graph.ops if _takes(op, config)]


INT8_WEIGHTS = Pass("int8_weights", int8_weights, _left, "its weights are INT8")
