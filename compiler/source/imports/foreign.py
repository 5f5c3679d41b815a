# SPDX-License-Identifier: Apache-2.0
"""Models of other frameworks: converted by their own libraries in a process of its own, and held
against the original.

The libraries are extras. The process converts the model and runs the original on seeded inputs;
here the ONNX runs on the same inputs in ONNX Runtime. A difference beyond :data:`BOUND` is refused,
with the first layer that differs where layers have names in both.
"""

import ast
import importlib.util
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from compiler.ir.errors import CompileError
from compiler.source.imports.formats import Format

BOUND = 1e-4
"""Largest difference of an output, relative to the largest magnitude in it: other summation orders
of binary32 over some thousand terms stay below, a lost bias does not. An integer output may be off
by one step, in :data:`STEPS` of its elements: TensorFlow Lite rounds otherwise in some kernels."""

STEPS = 0.05

EXPORTED = 18
"""Opset that the converters are asked for: the newest that both know."""

SEVERAL = 3
"""Layers and outputs that a message names."""


@dataclass(frozen=True)
class Extra:
    """What a format needs that is not installed with Makalu."""

    module: str
    name: str
    worker: str


TENSORFLOW = Extra("tf2onnx", "tf", "tensorflow_worker.py")
EXTRAS = {**dict.fromkeys((Format.SAVED_MODEL, Format.GRAPH_DEF, Format.KERAS, Format.TFLITE),
                          TENSORFLOW), Format.TORCH: Extra("torch", "torch", "torch_worker.py")}


@dataclass(frozen=True)
class Taken:
    """An imported model.

    Attributes
    ----------
    model : onnx.ModelProto
    said : str
        What was taken, and how it was checked, for people.
    """

    model: onnx.ModelProto
    said: str


@dataclass(frozen=True)
class Edges:
    """What a model's file does not say of its inputs and outputs: names of tensors of a GraphDef
    (by default its placeholders, and what nobody reads), shapes of inputs by name (by default their
    own, an unknown batch being 1), numbers in place of placeholders, and which signature of several
    is meant."""

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    signature: str = ""


def take(path: Path, kind: Format, edges: Edges = Edges(), verify: bool = True) -> Taken:
    """Convert a model and hold it against the original.

    Parameters
    ----------
    path : Path
    kind : Format
        Not ONNX.
    edges : Edges
    verify : bool
        Whether the original runs for comparison.

    Raises
    ------
    CompileError
        If the extra is missing, the model cannot be converted, an operator is left that ONNX does
        not have, or the results differ.
    """
    extra, where = EXTRAS[kind], str(path)
    if importlib.util.find_spec(extra.module) is None:
        raise CompileError(where, f"a {kind.value} needs the extra {extra.name!r}, which is not "
                           "installed", f"pip install 'makalu[{extra.name}]'")
    with tempfile.TemporaryDirectory() as folder:
        report = _work(path, kind, edges, Path(folder), layers=False)
        model = onnx.load(Path(folder) / "model.onnx")
        _complete(model)
        _scoped(model)
        _known(model, where)
        said = (f"{path.name}: {kind.value} by {report['by']}, opset {EXPORTED}, inputs "
                f"{', '.join(i.name for i in model.graph.input)}, outputs "
                f"{', '.join(o.name for o in model.graph.output)}")
        if not verify:
            return Taken(model, f"{said}; NOT compared with the original (--no-verify)")
        values = dict(np.load(Path(folder) / "values.npz"))
        lost = [o.name for o in model.graph.output if f"out:{o.name}" not in values]
        off, worst = compare(model, values, "out")
        if lost:
            raise CompileError(where, f"the original has no output {', '.join(lost)} to compare "
                               "with", "name its outputs, or leave the comparison out with "
                               "--no-verify")
        if off:
            raise CompileError(where, _cause(path, kind, edges, model, off),
                               "the conversion is wrong there: export the model in another way, "
                               "or look at it with --no-verify")
    return Taken(model, f"{said}; equals the original on seeded inputs ({worst})")


def compare(model: onnx.ModelProto, values: dict[str, np.ndarray], kind: str
            ) -> tuple[list[str], str]:
    """The names of the tensors that differ by more than allowed, in the graph's order, and the
    largest difference in words. ``values``: ``in:NAME`` and ``KIND:NAME``, by the original."""
    made = {o: n for n in model.graph.node for o in n.output}
    feeds = {i.name: values[f"in:{i.name}"] for i in model.graph.input}
    wanted = [o for o in made if f"{kind}:{o}" in values]
    if not wanted:
        return [], "nothing to compare"
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=o) for o in wanted)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(probe.SerializeToString(), options)
    off, largest, share = [], 0.0, 0.0
    for name, got in zip(wanted, session.run(wanted, feeds), strict=True):
        expected = values[f"{kind}:{name}"]
        if got.size != expected.size:
            off.append(name)
        elif expected.dtype.kind in "iub" and expected.dtype.itemsize == 1:
            steps = np.abs(got.reshape(expected.shape).astype(int) - expected.astype(int))
            rate = float((steps > 0).mean())
            share = max(share, rate)
            if steps.max(initial=0) > 1 or rate > STEPS:
                off.append(name)
        else:
            relative = _relative(got.reshape(expected.shape), expected)
            largest = max(largest, relative)
            if not relative <= BOUND:
                off.append(name)
    words = f"largest relative difference {largest:.1e}"
    return off, f"{words}, {share:.2%} of integers off by one" if share else words


def _relative(got: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to the largest magnitude; infinite where only one has a NaN or
    an infinity."""
    a, b = got.astype(np.float64), expected.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if not (np.isfinite(a) & np.isfinite(b))[~same].all():
        return float("inf")
    difference = float(np.abs(a[~same] - b[~same]).max(initial=0))
    return difference / float(np.abs(b[np.isfinite(b)]).max(initial=1e-6))


def _work(path: Path, kind: Format, edges: Edges, folder: Path, layers: bool) -> dict[str, Any]:
    """Run the worker; its report."""
    job = {"format": kind.name, "path": str(path.resolve()), "folder": str(folder),
           "inputs": edges.inputs, "outputs": edges.outputs, "shapes": dict(edges.shapes),
           "values": dict(edges.values), "signature": edges.signature,
           "opset": EXPORTED, "layers": layers}
    worker = Path(__file__).with_name(EXTRAS[kind].worker)
    done = subprocess.run(
        [sys.executable, str(worker)], input=json.dumps(job), text=True, capture_output=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"})
    report = folder / "report.json"
    if done.returncode or not report.is_file():
        lines = done.stderr.strip().splitlines() or ["no message"]
        errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*: .", line)]
        cause = (errors or lines)[-1]
        raise CompileError(str(path), f"the {kind.value} cannot be read or converted: {cause}",
                           "check that its framework loads it, and that it was exported whole")
    found: dict[str, Any] = json.loads(report.read_text())
    if "cause" in found:
        raise CompileError(str(path), found["cause"], found["cure"])
    return found


def _cause(path: Path, kind: Format, edges: Edges, model: onnx.ModelProto, off: list[str]) -> str:
    """What differs, with the first layer that does where the original can tell."""
    text = f"ONNX and the original differ in output {', '.join(off[:SEVERAL])}"
    with tempfile.TemporaryDirectory() as folder:
        report = _work(path, kind, edges, Path(folder), layers=True)
        layers, _ = compare(model, dict(np.load(Path(folder) / "values.npz")), "layer")
    if not layers:
        return text
    module = report.get("modules", {}).get(layers[0])
    return f"{text}; the first layer that does is {layers[0]!r}" + (
        f" of module {module!r}" if module else "")


def _complete(model: onnx.ModelProto) -> None:
    """Operators that tf2onnx passes through and ONNX can say: TensorFlow Lite's GELU by Erf."""
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        approximate = any(a.name == "approximate" and a.i for a in node.attribute)
        if node.op_type != "TFL_GELU" or approximate:
            model.graph.node.append(node)
            continue
        (x,), (y,) = node.input, node.output
        for value, name in ((math.sqrt(0.5), "root"), (1.0, "one"), (0.5, "half")):
            model.graph.initializer.append(numpy_helper.from_array(
                np.array(value, np.float32), f"{y}/{name}"))
        for op, a, b, out in (("Mul", x, f"{y}/root", f"{y}/scaled"),
                              ("Erf", f"{y}/scaled", "", f"{y}/erf"),
                              ("Add", f"{y}/erf", f"{y}/one", f"{y}/sum"),
                              ("Mul", x, f"{y}/half", f"{y}/part"),
                              ("Mul", f"{y}/part", f"{y}/sum", y)):
            model.graph.node.append(onnx.helper.make_node(
                op, [v for v in (a, b) if v], [out], f"{out}_{op}"))


def _scoped(model: onnx.ModelProto) -> None:
    """Nodes of PyTorch's exporter under the names of their modules, which it keeps as metadata."""
    for node in model.graph.node:
        for entry in node.metadata_props:
            if entry.key == "pkg.torch.onnx.name_scopes":
                scopes = [s for s in ast.literal_eval(entry.value)[:-1] if s]
                node.name = "/".join([*scopes, node.name])


def _known(model: onnx.ModelProto, where: str) -> None:
    """Refuse what the converter has passed through: an operator that ONNX does not have."""
    domains = {o.domain: o.version for o in model.opset_import}
    for node in model.graph.node:
        version = domains.get(node.domain, 1)
        if not onnx.defs.has(node.op_type, version, node.domain):
            raise CompileError(f"{node.op_type} node {node.name!r} of {where}",
                               "the converter has no ONNX operator for it and has passed it "
                               "through", "express it by other operators before the export")
