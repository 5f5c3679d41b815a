# SPDX-License-Identifier: Apache-2.0
"""Makalu as a backend of the ``onnx`` package: ``makalu.backend.prepare(model).run(inputs)``.

Models run on the golden model of a preset. FP32 models are computed in FP16, quantized ones in
INT8. The machine takes weights as constants; where a model has them as inputs, name them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.base import Backend, BackendRep, namedtupledict

from compiler.ir.errors import CompileError
from isa.presets import PRESETS
from isa.program import Program
from makalu import api
from runtime.golden_device import GoldenDevice
from runtime.session import Session

MACHINE = "tiny_fp"


class MakaluRep(BackendRep):
    """A compiled model.

    Parameters
    ----------
    program : Program
    """

    def __init__(self, program: Program):
        self.program = program
        self._session = Session(program, GoldenDevice(program.config))

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs, in the model's order, for the inputs that are not constants, in theirs."""
        session = self._session
        names = [v.name for v in session.inputs]
        values = session.run(dict(zip(names, inputs, strict=True)))
        outputs = [v.name for v in session.outputs]
        return namedtupledict("Outputs", outputs)(*(values[n] for n in outputs))


class MakaluBackend(Backend):
    """Compiles for :data:`MACHINE` and runs on its golden model."""

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether it compiles; ``kwargs`` as in :meth:`prepare`."""
        try:
            cls.prepare(model, device, **kwargs)
        except CompileError:
            return False
        return True

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU",
                constants: Mapping[str, np.ndarray] | None = None, **kwargs: Any) -> MakaluRep:
        """Compile a model.

        Parameters
        ----------
        model : ModelProto
        device : str
            "CPU", where the golden model runs.
        constants : mapping of str to array, optional
            Inputs that do not change, weights for instance.

        Raises
        ------
        CompileError
            If the machine does not run the whole model.
        """
        return MakaluRep(api.compile(freeze(model, constants or {}), PRESETS[MACHINE],
                                     precision=precision_of(model)))

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Sequence[np.ndarray], device: str = "CPU",
                  **kwargs: Any) -> tuple[Any, ...]:
        """Compile and run; inputs behind the first are constants where it takes that."""
        names = [v.name for v in model.graph.input]
        try:
            return cls.prepare(model, device).run(inputs)
        except CompileError:
            if len(inputs) < 2:
                raise
        constants = dict(zip(names[1:], inputs[1:]))
        return cls.prepare(model, device, constants).run(inputs[:1])

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """The golden model runs on the host."""
        return device == "CPU"


def freeze(model: onnx.ModelProto, constants: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """A copy of the model with some inputs as initializers."""
    frozen = onnx.ModelProto()
    frozen.CopyFrom(model)
    graph = frozen.graph
    rest = [v for v in graph.input if v.name not in constants]
    del graph.input[:]
    graph.input.extend(rest)
    graph.initializer.extend(numpy_helper.from_array(np.asarray(v), n)
                             for n, v in constants.items())
    return frozen


def precision_of(model: onnx.ModelProto) -> str:
    """FP16 for a model of numbers, INT8 for a quantized one."""
    quantized = any("Quantize" in n.op_type or n.op_type.startswith("QLinear")
                    for n in model.graph.node)
    numbers = any(v.type.tensor_type.elem_type in (onnx.TensorProto.FLOAT,
                                                   onnx.TensorProto.FLOAT16)
                  for v in model.graph.input)
    return "fp16" if numbers and not quantized else "int8"


is_compatible = MakaluBackend.is_compatible
prepare = MakaluBackend.prepare
run_model = MakaluBackend.run_model
supports_device = MakaluBackend.supports_device
