# SPDX-License-Identifier: Apache-2.0
"""Which layers to keep as floats, so that a mixed network is as close to FP32 as wanted.

1. Each layer alone is quantized, and the noise that this adds to the network's outputs is measured
   on the calibration data, with ONNX Runtime.
2. The noisiest layers are kept, as few as meet the goal; measured, not added up.
3. Of those, beginning with the quietest, each is quantized after all if the goal is met without it.

ONNX Runtime computes the layers that are kept, with weights and values rounded to FP16 where the
machine rounds them.
"""

import contextlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compiler.ir.errors import CompileError, Unsupported
from compiler.ir.floats import FLOATS, filters
from compiler.source.frontend import attributes
from compiler.source.mixed import CLIPS, KEPT_TYPE, Recipe

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
        self._truth, self._weights = self._outputs(recipe.plain), weights(recipe.plain)

    def __call__(self, kept: Collection[str]) -> Measure:
        """With those layers kept."""
        model = rounded(self._recipe.compose(kept), self._weights)
        return Measure.of(self._outputs(model), self._truth)

    def _outputs(self, model: onnx.ModelProto) -> Outputs:
        import onnxruntime as ort
        options = ort.SessionOptions()
        # QuantizeLinear and DequantizeLinear as they stand
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(model.SerializeToString(), options,
                                       providers=["CPUExecutionProvider"])
        runs = [session.run(None, sample) for sample in self._samples]
        return [np.concatenate([np.atleast_1d(r[k]) for r in runs]) for k in range(len(runs[0]))]


def weights(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """The weights rounded to FP16 as the machine has them, but for those that are too large, of
    which the compiler tells if their layer is kept; biases stay binary32."""
    constants = {t.name: t for t in model.graph.initializer}
    found = {}
    for n in model.graph.node:
        name = n.input[1] if n.op_type in ("Conv", "Gemm", "MatMul") else ""
        if name not in constants or len(constants[name].dims) < 2:
            continue
        values = numpy_helper.to_array(constants[name])
        columns = n.op_type != "Conv" and not attributes(n).get("transB", 0)
        with contextlib.suppress(Unsupported):
            near = filters(values.T if columns else values, FLOATS[KEPT_TYPE]).view(np.float16)
            found[name] = numpy_helper.from_array(
                (near.T if columns else near).astype(np.float32), name)
    return found


def rounded(model: onnx.ModelProto, weights: Mapping[str, onnx.TensorProto]) -> onnx.ModelProto:
    """A composed model with these weights whose other floats are rounded to FP16 where the machine
    does it, in place: inputs, and what a node gives unless its only reader clips or quantizes it
    first."""
    graph = model.graph
    for tensor in graph.initializer:
        tensor.CopyFrom(weights.get(tensor.name, tensor))
    readers: dict[str, list[onnx.NodeProto]] = {}
    for n in graph.node:
        for name in n.input:
            readers.setdefault(name, []).append(n)
    nodes = [c for i in graph.input for c in _casts(i.name, readers)]
    for n in graph.node:
        nodes.append(n)
        if not n.op_type.endswith("QuantizeLinear"):
            nodes += _casts(n.output[0], readers)
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _casts(name: str, readers: Mapping[str, list[onnx.NodeProto]]) -> list[onnx.NodeProto]:
    """A value to FP16 and back, for its readers; none if they go on with it in binary32."""
    mine = readers.get(name, [])
    if not mine or len(mine) == 1 and mine[0].op_type in {*CLIPS, "QuantizeLinear"}:
        return []
    for n in mine:
        n.input[:] = [name + ":rounded" if i == name else i for i in n.input]
    return [helper.make_node("Cast", [name], [name + ":fp16"], to=TensorProto.FLOAT16),
            helper.make_node("Cast", [name + ":fp16"], [name + ":rounded"], to=TensorProto.FLOAT)]


def choose(recipe: Recipe, samples: Sequence[dict[str, np.ndarray]], goal: Goal,
           say: Callable[[str], None] = lambda text: None) -> list[dict[str, str]]:
    """A row for each layer: its type, the SQNR if it alone is quantized, and the reason.

    Raises
    ------
    CompileError
        If there is no layer that can be quantized, or the goal is missed with all of them kept.
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
            say(f"{middle} of {len(every)} layers in {KEPT_TYPE}")
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
    if not result.meets(goal):
        raise CompileError("--precision mixed", f"it reaches {result} with all {len(every)} layers "
                           f"in {KEPT_TYPE}: the goal, {goal}, is missed",
                           "ask for less (--sqnr, --agreement)")
    say(f"{len(kept)} of {len(every)} layers in {KEPT_TYPE}: {result}")
    rank = {layer: k + 1 for k, layer in enumerate(order)}

    def why(layer: str) -> str:
        place = f"{rank[layer]} of {len(every)} in noise"
        if layer in kept:
            return f"{place}; without it the goal, {goal}, is missed"
        return f"{place}; quantized, the whole has {result.sqnr:.1f} dB"

    return [{"layer": layer, "op": op, "type": KEPT_TYPE if layer in kept else "int8",
             "sqnr_alone": f"{alone[layer].sqnr:.1f}", "reason": why(layer)}
            for layer, op in recipe.layers.items()]
