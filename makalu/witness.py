# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime as the witness: the same inputs through the original model, element by element."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime


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
        Smallest difference between two values that the witness gives: a quantization step.
    rows, same_top1 : int
        Rows of the first axis, and those with the same largest element.
    """

    elements: int
    different: int
    largest: float
    step: float
    rows: int
    same_top1: int

    def __str__(self) -> str:
        if not self.different:
            return f"all {self.elements} elements are the same bits"
        steps = f" ({self.largest / self.step:.0f} steps)" if self.step else ""
        return (f"{self.different} of {self.elements} elements differ, by {self.largest:.4g}"
                f"{steps} at most; top-1 is the same in {self.same_top1} of {self.rows}")

    def json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def reference(model: str | Path | onnx.ModelProto, inputs: Mapping[str, np.ndarray]
              ) -> dict[str, np.ndarray]:
    """What ONNX Runtime computes, in pieces as large as the model's batch."""
    data = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
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
    gaps = np.diff(np.unique(np.concatenate([a.ravel(), b.ravel()])))
    rows = len(a) if a.ndim else 1
    same = a.reshape(rows, -1).argmax(axis=1) == b.reshape(rows, -1).argmax(axis=1)
    return Agreement(elements=a.size, different=int((a != b).sum()),
                     largest=float(np.abs(a - b).max(initial=0)),
                     step=float(gaps.min(initial=np.inf)) if gaps.size else 0.0,
                     rows=rows, same_top1=int(same.sum()))
