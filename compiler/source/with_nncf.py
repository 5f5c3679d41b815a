# SPDX-License-Identifier: Apache-2.0
"""FP32 models: static quantization with calibration data, by NNCF, an extra.

Weights symmetric INT8 for each output channel, activations signed or unsigned as their values are,
with fast bias correction. Activations have one scale a tensor: NNCF would give those in front of a
depthwise convolution one a channel, which the machine has not.
"""

import importlib.util
import logging

import onnx

from compiler.ir.errors import CompileError
from compiler.source.frontend import Source
from compiler.source.quantize import Calibration, needed, samples


def quantize(source: Source, calibration: Calibration | None, islands: bool = False
             ) -> onnx.ModelProto:
    """The model in QDQ form; with ``islands`` by NNCF's preset for transformers, which quantizes
    little but products.

    Raises
    ------
    CompileError
        If NNCF is not installed; without calibration data, or if it does not fit the model.
    """
    if importlib.util.find_spec("nncf") is None:
        raise CompileError(source.name, "NNCF, which is to quantize it, is not installed",
                           "pip install 'makalu[nncf]', or leave --quantize nncf out")
    import nncf
    from nncf.quantization.advanced_parameters import (AdvancedQuantizationParameters,
                                                       QuantizationParameters)

    given = list(samples(source, needed(source, calibration)))
    level = logging.getLogger("nncf").level
    nncf.set_log_level(logging.ERROR)
    try:
        found: onnx.ModelProto = nncf.quantize(
            source.model, nncf.Dataset(given), subset_size=len(given),
            model_type=nncf.ModelType.TRANSFORMER if islands else None,
            advanced_parameters=AdvancedQuantizationParameters(
                activations_quantization_params=QuantizationParameters(per_channel=False)))
    finally:
        nncf.set_log_level(level)
    return found
