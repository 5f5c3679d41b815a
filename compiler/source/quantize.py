# SPDX-License-Identifier: Apache-2.0
"""FP32 models: static quantization with calibration data, by onnxruntime.quantization.

Activations INT8 with a zero point, weights symmetric INT8 for each output channel, in QDQ form.
"""

import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from compiler.ir.errors import CompileError
from compiler.source.frontend import Source
from compiler.source.joined import groups

OPERATORS = ["Conv", "MatMul", "Gemm", "Add", "Relu", "Clip", "MaxPool", "AveragePool",
             "GlobalAveragePool", "Concat", "Reshape", "Flatten", "Transpose", "Pad", "Squeeze",
             "Unsqueeze"]
"""Operators between which activations are quantized."""

PRODUCTS = ["Conv", "MatMul", "Gemm"]
"""Operators whose operands are quantized, and whose results are not, in islands of integers."""


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether the model has quantized inputs, operators or activations.

    Quantized weights alone do not count: a DequantizeLinear of a constant leaves every activation
    in FP32; nor does an input of bytes that are cast.
    """
    integers = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    constants = {i.name for i in model.graph.initializer}
    cast = {n.input[0] for n in model.graph.node if n.op_type == "Cast"}
    if any(i.type.tensor_type.elem_type in integers for i in model.graph.input
           if i.name not in constants | cast):
        return True
    for n in model.graph.node:
        if n.op_type.startswith("QLinear") or n.op_type == "QGemm":
            return True
        if n.op_type in ("Constant", "QuantizeLinear", "DequantizeLinear") and (
                not n.input or n.input[0] in constants):
            constants.update(n.output)
        elif n.op_type in ("QuantizeLinear", "DequantizeLinear"):
            return True
    return False


Calibration = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""Arrays by input name, of one sample or several along the first axis; or one mapping a sample."""


def needed(source: Source, calibration: Calibration | None) -> Calibration:
    """The calibration data.

    Raises
    ------
    CompileError
        If there are none.
    """
    if calibration is None:
        raise CompileError(source.name, "it is an FP32 model", "quantize it first, or give "
                           "calibration data (--calibration FILE.npz)")
    return calibration


def samples(source: Source, data: Calibration) -> Iterator[dict[str, np.ndarray]]:
    """The samples of calibration data, one after another.

    Raises
    ------
    CompileError
        If they do not fit the model.
    """
    shapes = {i.name: source.shapes[i.name] for i in source.model.graph.input
              if i.name not in source.constants}
    types = {name: onnx.helper.tensor_dtype_to_np_dtype(source.types[name]) for name in shapes}
    if isinstance(data, Mapping):
        arrays = {k: np.asarray(v) for k, v in data.items() if k in shapes}
        if not arrays:
            raise CompileError("calibration data", f"none of its arrays ({', '.join(data)}) is "
                               "named like an input", f"name one {', '.join(shapes)}")
        for name, v in arrays.items():
            if shapes[name] and len(v) < shapes[name][0]:
                raise CompileError("calibration data", f"array {name!r} has {len(v)} samples, and "
                                   f"the network takes {shapes[name][0]} at once",
                                   "give as many, or a smaller --batch")
        counts = {k: len(v) // shapes[k][0] if shapes[k] else 1 for k, v in arrays.items()}
        data = [{k: v[i * shapes[k][0]:(i + 1) * shapes[k][0]].reshape(shapes[k])
                 for k, v in arrays.items()} for i in range(min(counts.values()))]
    for sample in data:
        missing = shapes.keys() - sample.keys()
        if missing:
            raise CompileError("calibration data", f"it lacks input {sorted(missing)[0]!r}",
                               "give an array for every input")
        yield {k: np.asarray(v, types[k]).reshape(shapes[k]) for k, v in sample.items()}


def _flat_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """Biases of Gemm that are a row, [1, N], as [N]: quantized for each channel, a row is no model
    that onnxruntime 1.32 runs."""
    rows = {n.input[2] for n in model.graph.node if n.op_type == "Gemm" and len(n.input) > 2}
    readers = Counter(name for n in model.graph.node for name in n.input)
    for constant in model.graph.initializer:
        if constant.name in rows and readers[constant.name] == 1 and len(constant.dims) == 2 \
                and constant.dims[0] == 1:
            del constant.dims[0]
    return model


def attends(source: Source) -> bool:
    """Whether a network multiplies activations with one another, as transformers do."""
    return any(n.op_type == "MatMul" and not any(name in source.constants for name in n.input)
               and not any(_weights(source, name) for name in n.input) for n in source.nodes)


def _weights(source: Source, name: str) -> bool:
    """Whether a value is a constant that is dequantized."""
    return any(n.op_type == "DequantizeLinear" and n.output[0] == name
               and n.input[0] in source.constants for n in source.nodes)


def quantize(source: Source, calibration: Calibration | None, islands: bool = False
             ) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The model in QDQ form, and the FP32 model that it was made of: nodes have the same names,
    and clips (Relu) are still there. With ``islands``, the operands of :data:`PRODUCTS` are
    quantized and nothing else.

    Raises
    ------
    CompileError
        Without calibration data, or if it does not fit the model.
    """
    data = needed(source, calibration)
    logging.disable(logging.WARNING)
    try:
        from onnxruntime.quantization import CalibrationDataReader, QuantType
        from onnxruntime.quantization.calibrate import TensorData, create_calibrator
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
        from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as e:
        raise CompileError(source.name, "onnxruntime is not installed", "install it, or give a "
                           "quantized model") from e
    finally:
        logging.disable(logging.NOTSET)

    class Reader(CalibrationDataReader):
        """The samples, one after another."""

        def __init__(self) -> None:
            self.left = samples(source, data)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as folder:
        plain, ready, augmented, out = (str(Path(folder) / f"{f}.onnx") for f in "abcd")
        onnx.save(source.model, plain)
        logging.disable(logging.WARNING)
        try:
            quant_pre_process(plain, ready, skip_symbolic_shape=True)
            onnx.save(_flat_biases(onnx.load(ready)), ready)
            operators = PRODUCTS if islands else OPERATORS
            calibrator = create_calibrator(Path(ready), operators, augmented_model_path=augmented)
            calibrator.collect_data(Reader())
            ranges = calibrator.compute_data()
            network = load_model_with_shape_infer(Path(ready))
            for names in groups(network.graph):
                found = [ranges[n] for n in names if n in ranges]
                for n in names & set(ranges):
                    ranges[n] = TensorData(lowest=min(r.lowest for r in found),
                                           highest=max(r.highest for r in found))
            quantizer = QDQQuantizer(
                network, per_channel=True, reduce_range=False, weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QInt8, tensors_range=ranges, nodes_to_quantize=[],
                nodes_to_exclude=[], op_types_to_quantize=operators,
                extra_options={"ActivationSymmetric": False, "WeightSymmetric": True,
                               "OpTypesToExcludeOutputQuantization": PRODUCTS if islands else [],
                               # fails for per-channel Gemm in onnxruntime 1.32
                               "QDQDisableWeightAdjustForInt32Bias": True})
            quantizer.quantize_model()
            quantizer.model.save_model_to_file(out)
        finally:
            logging.disable(logging.NOTSET)
        return onnx.load(out), onnx.load(ready)
