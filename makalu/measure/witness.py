# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime as the witness: the same inputs through the original model, element by element."""

import enum
import functools
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


class Arithmetic(enum.Enum):
    """How ONNX Runtime computes a quantized model.

    As it comes, it fuses some operators into integer kernels and leaves others as dequantize,
    float operator, quantize, depending on their types; FLOAT does the latter with all of them, as
    the standard defines the model; INTEGER fuses signed ones as well.
    """

    DEFAULT = enum.auto()
    FLOAT = enum.auto()
    INTEGER = enum.auto()


STEPS = 1 << 12
"""Steps of the longest scale that values are said to lie on."""


@dataclass(frozen=True)
class Agreement:
    """How one output compares.

    Parameters
    ----------
    elements, different : int
        Elements, and those that are not the same bits.
    largest : float
        Largest absolute difference.
    step : float
        Smallest difference between two values: a quantization step. 0 if they lie on no scale of
        up to :data:`STEPS`.
    rows, same_top1 : int
        Rows of the first axis, and those with the same largest element.
    sqnr_db : float or None
        Signal-to-quantization-noise ratio in dB; None if all elements are the same.
    not_finite : tuple of int
        NaN and infinite elements of both. They take part in no other number but ``different``, and
        a row with one has no largest element.
    """

    elements: int
    different: int
    largest: float
    step: float
    rows: int
    same_top1: int
    sqnr_db: float | None = None
    not_finite: tuple[int, int] = (0, 0)

    def reaches(self, sqnr_db: float) -> bool:
        """Whether the noise is as low as that."""
        return not any(self.not_finite) and (self.sqnr_db is None or self.sqnr_db >= sqnr_db)

    def __str__(self) -> str:
        if any(self.not_finite):
            mine, theirs = self.not_finite
            return (f"{mine} of {self.elements} elements are NaN or infinite, and {theirs} of ONNX "
                    "Runtime's: nothing to compare; top-1 is the same in "
                    f"{self.same_top1} of {self.rows}")
        if not self.different:
            return f"all {self.elements} elements are the same bits"
        if self.step:
            what = (f"{self.different} of {self.elements} elements differ, by {self.largest:.4g} "
                    f"({self.largest / self.step:.0f} steps) at most")
        else:
            what = f"{self.sqnr_db:.1f} dB, elements differ by {self.largest:.4g} at most"
        return (f"{what}; top-1 is the same in {self.same_top1} of {self.rows}")

    def json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def open_session(model: str | Path | onnx.ModelProto,
                 arithmetic: Arithmetic = Arithmetic.DEFAULT, optimized: str = ""
                 ) -> onnxruntime.InferenceSession:
    """A model in ONNX Runtime, on one thread where sums must not depend on their number; what it
    is optimized to goes to the file ``optimized``."""
    data = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = optimized
    options.log_severity_level = 3
    levels = onnxruntime.GraphOptimizationLevel
    if arithmetic is not Arithmetic.DEFAULT:
        options.intra_op_num_threads = 1
        options.graph_optimization_level = levels.ORT_DISABLE_ALL
    if arithmetic is Arithmetic.INTEGER:
        options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def fused(model: onnx.ModelProto) -> list[str]:
    """The operators that ONNX Runtime makes of a model for integer arithmetic."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "fused.onnx")
        open_session(model, Arithmetic.INTEGER, path)
        return [n.op_type for n in onnx.load(path).graph.node]


@functools.cache
def saturates() -> bool:
    """Whether ONNX Runtime's integer kernels are wrong on this processor: x86 without VNNI adds
    pairs of products in 16 bits, where they saturate."""
    n = 64
    for kind in (np.uint8, np.int8):
        most = np.iinfo(kind).max
        node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
        weights = numpy_helper.from_array(np.full((n, n), 127, np.int8), "w")
        graph = helper.make_graph(
            [node], "probe",
            [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(np.dtype(kind)),
                                           [n, n])],
            [helper.make_tensor_value_info("y", TensorProto.INT32, [n, n])], [weights])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        y, = open_session(model).run(None, {"x": np.full((n, n), most, kind)})
        if (y != n * int(most) * 127).any():
            return True
    return False


def reference(model: str | Path | onnx.ModelProto, inputs: Mapping[str, np.ndarray],
              arithmetic: Arithmetic = Arithmetic.DEFAULT) -> dict[str, np.ndarray]:
    """What ONNX Runtime computes, in pieces as large as the model's batch."""
    session = open_session(model, arithmetic)
    names = [o.name for o in session.get_outputs()]
    feeds = {i.name: inputs[i.name] for i in session.get_inputs()}
    first = session.get_inputs()[0]
    total = len(inputs[first.name])
    step = first.shape[0] if first.shape and isinstance(first.shape[0], int) else total
    pieces = [session.run(names, {k: v[at:at + step] for k, v in feeds.items()})
              for at in range(0, total, step)]
    return {name: np.concatenate(parts) for name, parts in zip(names, zip(*pieces))}


def compare(ours: np.ndarray, theirs: np.ndarray) -> Agreement:
    """Two arrays of one shape."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    different = int((~np.isclose(a, b, 0, 0, equal_nan=True)).sum())
    rows = len(a) if a.ndim else 1
    clear = finite.reshape(rows, -1).all(axis=1)
    lost = int((~np.isfinite(a)).sum()), int((~np.isfinite(b)).sum())
    a, b = np.where(finite, a, 0), np.where(finite, b, 0)
    gaps = np.diff(np.unique(np.concatenate([a.ravel(), b.ravel()])))
    step = float(gaps.min(initial=np.inf)) if gaps.size else 0.0
    noise = float(((a - b) ** 2).sum())
    same = a.reshape(rows, -1).argmax(axis=1) == b.reshape(rows, -1).argmax(axis=1)
    return Agreement(elements=a.size, different=different, not_finite=lost,
                     largest=float(np.abs(a - b).max(initial=0)),
                     step=step if gaps.sum() <= STEPS * step else 0.0,
                     rows=rows, same_top1=int((same & clear).sum()),
                     sqnr_db=float(10 * np.log10((b ** 2).sum() / noise)) if noise else None)
