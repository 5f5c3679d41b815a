# SPDX-License-Identifier: Apache-2.0
"""Which layers to keep as numbers, so that a mixed network is as close to FP32 as wanted.

1. Each layer alone is quantized, and the noise that this adds to the network's outputs is measured
   on the calibration data, with ONNX Runtime.
2. The noisiest layers are kept, as few as meet the goal; measured, not added up.
3. Of those, beginning with the quietest, each is quantized after all if the goal is met without it.

ONNX Runtime computes the layers that are kept in FP32, whose 16-bit rounding is not counted: it is
20 dB and more below the noise of INT8 (``docs/numerics.md``).
"""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from compiler.ir.errors import CompileError
from compiler.source.mixed import NUMBERS, Recipe

Outputs = list[np.ndarray]


@dataclass(frozen=True)
class Goal:
    """How close to FP32 a network has to be.

    Parameters
    ----------
    sqnr : float
        Least signal-to-quantization-noise ratio of the outputs, in dB.
    agreement : float, optional
        Instead of that: the least share of samples whose largest output is the same.
    """

    sqnr: float = 35.0
    agreement: float | None = None

    def __str__(self) -> str:
        if self.agreement is None:
            return f"{self.sqnr:g} dB"
        return f"the same top-1 for {100 * self.agreement:g} % of the samples"


GOAL = Goal()
"""What is aimed at unless told otherwise."""


@dataclass(frozen=True)
class Measure:
    """What quantization does to the outputs: ``sqnr`` in dB, and ``agreement``."""

    sqnr: float
    agreement: float

    @classmethod
    def of(cls, ours: Outputs, truth: Outputs) -> "Measure":
        signal = sum(float((t.astype(np.float64) ** 2).sum()) for t in truth)
        noise = sum(float(((o.astype(np.float64) - t) ** 2).sum()) for o, t in zip(
            ours, truth, strict=True))
        same = [(o.reshape(len(o), -1).argmax(1) == t.reshape(len(t), -1).argmax(1)).mean()
                for o, t in zip(ours, truth, strict=True)]
        return cls(float(10 * np.log10(signal / noise)) if noise else np.inf, float(np.mean(same)))

    def meets(self, goal: Goal) -> bool:
        """Whether that is close enough."""
        if goal.agreement is None:
            return self.sqnr >= goal.sqnr
        return self.agreement >= goal.agreement

    def __str__(self) -> str:
        return f"{self.sqnr:.1f} dB, top-1 the same for {100 * self.agreement:.1f} %"


class Meter:
    """Runs variants of a model on the calibration data.

    Parameters
    ----------
    recipe : Recipe
    samples : sequence of dict
        Inputs by name.
    """

    def __init__(self, recipe: Recipe, samples: Sequence[dict[str, np.ndarray]]):
        self._recipe, self._samples = recipe, samples
        self._truth = self._outputs(recipe.plain)

    def __call__(self, kept: Collection[str]) -> Measure:
        """With those layers kept."""
        return Measure.of(self._outputs(self._recipe.compose(kept)), self._truth)

    def _outputs(self, model: onnx.ModelProto) -> Outputs:
        import onnxruntime as ort
        options = ort.SessionOptions()
        # QuantizeLinear and DequantizeLinear as they stand
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(model.SerializeToString(), options,
                                       providers=["CPUExecutionProvider"])
        runs = [session.run(None, sample) for sample in self._samples]
        return [np.concatenate([np.atleast_1d(r[k]) for r in runs]) for k in range(len(runs[0]))]


def choose(recipe: Recipe, samples: Sequence[dict[str, np.ndarray]], goal: Goal,
           say: Callable[[str], None] = lambda text: None) -> list[dict[str, str]]:
    """A row for each layer: its type, the SQNR if it alone is quantized, and the reason.

    Raises
    ------
    CompileError
        If there is no layer that can be quantized.
    """
    if not recipe.layers:
        raise CompileError("--precision mixed", "none of the model's layers can be quantized",
                           "use --precision fp16")
    logging.disable(logging.WARNING)
    try:
        meter, every = Meter(recipe, samples), list(recipe.layers)
        alone: dict[str, Measure] = {}
        for k, layer in enumerate(every):
            say(f"layer {k + 1} of {len(every)} alone in INT8: {layer}")
            alone[layer] = meter([other for other in every if other != layer])
        order = sorted(every, key=lambda layer: alone[layer].sqnr)
        low, high = 0, len(every)
        while low < high:
            middle = (low + high) // 2
            say(f"{middle} of {len(every)} layers in {NUMBERS}")
            if meter(order[:middle]).meets(goal):
                high = middle
            else:
                low = middle + 1
        kept = order[:low]
        for layer in reversed(order[:low]):
            say(f"without {layer}")
            if meter(rest := [k for k in kept if k != layer]).meets(goal):
                kept = rest
        result = meter(kept)
    finally:
        logging.disable(logging.NOTSET)
    say(f"{len(kept)} of {len(every)} layers in {NUMBERS}: {result}")
    rank = {layer: k + 1 for k, layer in enumerate(order)}

    def why(layer: str) -> str:
        place = f"{rank[layer]} of {len(every)} in noise"
        if layer in kept:
            return f"{place}; without it the goal, {goal}, is missed"
        return f"{place}; quantized, the whole has {result.sqnr:.1f} dB"

    return [{"layer": layer, "op": op, "type": NUMBERS if layer in kept else "int8",
             "sqnr_alone": f"{alone[layer].sqnr:.1f}", "reason": why(layer)}
            for layer, op in recipe.layers.items()]
