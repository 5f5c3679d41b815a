# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2's structure: its published size, and values that neither vanish nor saturate."""

import numpy as np
import onnxruntime

from makalu.measure.mobilenet import CLASSES, INPUT, mobilenet_v2
from makalu.measure.samples import random_inputs

PARAMETERS = 3_504_872
"""Of the published network with a width of 1."""


def test_it_is_mobilenet_v2() -> None:
    model = mobilenet_v2()
    sizes = {w.name: int(np.prod(w.dims)) for w in model.graph.initializer}
    normalized = sum(n for name, n in sizes.items()
                     if name.endswith(".bias") and name != "classes.bias")
    # a normalization has two parameters for each channel, of which one is folded here
    assert sum(n for name, n in sizes.items() if "." in name) + normalized == PARAMETERS
    session = onnxruntime.InferenceSession(model.SerializeToString(),
                                           providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, random_inputs([INPUT], 1))
    assert logits.shape == (1, CLASSES) and 1e-3 < np.abs(logits).mean() < 100
