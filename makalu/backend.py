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

INTEGERS = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
NUMBERS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
"""Types of inputs that the machine reads."""


class MakaluRep(BackendRep):
    """A compiled model.

    Parameters
    ----------
    program : Program
    inputs : sequence of str
        The model's inputs that are not constants, in order; the program may read fewer.
    types : mapping of str to numpy dtype
        Of the model's outputs: results of FP16 come as float32, and are given in these.
    """

    def __init__(self, program: Program, inputs: Sequence[str], types: Mapping[str, np.dtype]):
        self.program = program
        self.inputs = list(inputs)
        self.types = types
        self._session = Session(program, GoldenDevice(program.config))

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs, in the model's order, for the inputs that are not constants, in theirs."""
        session = self._session
        given = dict(zip(self.inputs, inputs, strict=True))
        values = session.run({port.name: np.asarray(given[port.name]).astype(
            port.dtype, casting="same_kind") for port in session.inputs})
        outputs = [v.name for v in session.outputs]
        return namedtupledict("Outputs", outputs)(*(
            values[n].astype(self.types.get(n, values[n].dtype), copy=False) for n in outputs))


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
        frozen = freeze(model, constants or {})
        program = api.compile(frozen, PRESETS[MACHINE], precision=precision_of(model))
        stored = {t.name for t in frozen.graph.initializer}
        return MakaluRep(program, [v.name for v in frozen.graph.input if v.name not in stored], {
            v.name: onnx.helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type)
            for v in frozen.graph.output})

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Sequence[np.ndarray], device: str = "CPU",
                  **kwargs: Any) -> tuple[Any, ...]:
        """Compile and run with as few of the inputs as constants as the machine takes: none; those
        of a type that it has not, masks and indices for instance; one more; all behind the
        first."""
        given = {v.name: value for v, value in zip(model.graph.input, inputs, strict=True)}
        foreign = {v.name for v in model.graph.input
                   if v.type.tensor_type.elem_type not in (*INTEGERS, *NUMBERS)}
        choices = [set[str]()]
        more = [foreign | {name} for name in list(given)[:0:-1]]
        choices += [names for names in (foreign, *more, {*list(given)[1:]})
                    if names not in choices and len(names) < len(given)]
        for constants in choices:
            try:
                rep = cls.prepare(model, device, {n: given[n] for n in given if n in constants})
                break
            except CompileError:
                if constants is choices[-1]:
                    raise
        return rep.run([v for n, v in given.items() if n not in constants])

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
    quantized = any("quantize" in n.op_type.lower() or n.op_type.startswith("QLinear")
                    for n in model.graph.node)
    numbers = any(v.type.tensor_type.elem_type in NUMBERS for v in model.graph.input)
    return "fp16" if numbers and not quantized else "int8"


is_compatible = MakaluBackend.is_compatible
prepare = MakaluBackend.prepare
run_model = MakaluBackend.run_model
supports_device = MakaluBackend.supports_device
