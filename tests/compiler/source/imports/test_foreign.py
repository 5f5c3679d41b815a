# SPDX-License-Identifier: Apache-2.0
"""Converted models against the original: what passes, what is refused, and in which words."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compiler.ir.errors import CompileError
from compiler.source.imports import foreign
from compiler.source.imports.foreign import Edges, compare, take
from compiler.source.imports.formats import Format

WEIGHTS = np.arange(12, dtype=np.float32).reshape(3, 4) - 5
X = np.array([[1, -2, 3]], np.float32)


def model(*nodes: onnx.NodeProto, output: str = "y", kind: int = TensorProto.FLOAT,
          shape: tuple[int, ...] | None = None) -> onnx.ModelProto:
    """A model of one input of three numbers."""
    graph = helper.make_graph(
        list(nodes), "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info(output, kind, shape)],
        [numpy_helper.from_array(WEIGHTS, "w"), numpy_helper.from_array(np.float32(0.5), "s"),
         numpy_helper.from_array(np.int8(0), "z")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


MATMUL = helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")


class Worker:
    """Stands for the other process: writes a model, and what the original gave."""

    def __init__(self, made: onnx.ModelProto, **values: np.ndarray):
        self.made, self.values, self.jobs = made, {"in:x": X, **values}, list[dict[str, Any]]()
        self.report: dict[str, str] = {"by": "a converter"}

    def __call__(self, command: list[str], *, input: str, **options: Any
                 ) -> subprocess.CompletedProcess[str]:
        job = json.loads(input)
        self.jobs.append(job)
        folder = Path(job["folder"])
        onnx.save(self.made, folder / "model.onnx")
        np.savez(folder / "values.npz", **self.values)  # type: ignore[arg-type]
        (folder / "report.json").write_text(json.dumps(self.report))
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):   # type: ignore[no-untyped-def]
    """Import with a worker."""
    monkeypatch.setattr(foreign.importlib.util, "find_spec", lambda name: True)
    path = tmp_path / "net.tflite"

    def run(worker: Worker, **options: Any) -> foreign.Taken:
        monkeypatch.setattr(foreign.subprocess, "run", worker)
        return take(path, Format.TFLITE, **options)
    return run


def test_what_was_taken_is_said(imported) -> None:    # type: ignore[no-untyped-def]
    worker = Worker(model(MATMUL), **{"out:y": X @ WEIGHTS})
    edges = Edges(("x",), ("y",), {"x": (1, 3)})
    taken = imported(worker, edges=edges)
    assert taken.said == ("net.tflite: TensorFlow Lite by a converter, opset 18, inputs x, outputs "
                          "y; equals the original on seeded inputs (largest relative difference "
                          "0.0e+00)")
    job = worker.jobs[0]
    assert (job["inputs"], job["outputs"], job["shapes"]) == (["x"], ["y"], {"x": [1, 3]})


def test_a_lost_bias_is_refused_with_the_layer(imported) -> None:     # type: ignore[no-untyped-def]
    relu = helper.make_node("Relu", ["h"], ["y"], "relu")
    made = model(helper.make_node("MatMul", ["x", "w"], ["h"], "matmul"), relu)
    h = X @ WEIGHTS + np.float32(0.01)
    worker = Worker(made, **{"out:y": np.maximum(h, 0), "layer:h": h,
                             "layer:y": np.maximum(h, 0)})
    with pytest.raises(CompileError, match="differ in output y; the first layer that does is 'h'"):
        imported(worker)
    assert [job["layers"] for job in worker.jobs] == [False, True]
    taken = imported(worker, verify=False)
    assert taken.said.endswith("NOT compared with the original (--no-verify)")


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_no_number_is_refused(imported, wrong: float) -> None:    # type: ignore[no-untyped-def]
    with pytest.raises(CompileError, match="differ in output y"):
        imported(Worker(model(MATMUL), **{"out:y": np.full((1, 4), wrong, np.float32)}))


def test_nothing_to_compare_is_no_success(imported) -> None:    # type: ignore[no-untyped-def]
    with pytest.raises(CompileError, match="the original has no output y to compare with"):
        imported(Worker(model(MATMUL), **{"out:other": X}))


def test_integers_may_be_off_by_one_in_few() -> None:
    """Of 4 elements one is 25 %, more than allowed; of none every one."""
    made = model(MATMUL, helper.make_node("QuantizeLinear", ["y", "s", "z"], ["q"], "quantize"),
                 output="q", kind=TensorProto.INT8)
    right = np.clip(np.rint(X @ WEIGHTS / np.float32(0.5)), -128, 127).astype(np.int8)
    assert compare(made, {"in:x": X, "out:q": right}, "out") == (
        [], "largest relative difference 0.0e+00")
    off = right + np.array([[1, 0, 0, 0]], np.int8)
    assert compare(made, {"in:x": X, "out:q": off}, "out")[0] == ["q"]


def test_an_operator_that_was_passed_through_is_refused(
        imported) -> None:    # type: ignore[no-untyped-def]
    made = model(helper.make_node("Erfc", ["x"], ["y"], "erfc"))
    with pytest.raises(CompileError, match="Erfc node 'erfc' of .*net.tflite: the converter has "
                                           "no ONNX operator"):
        imported(Worker(made, **{"out:y": X}))


def test_gelu_of_tflite(imported) -> None:    # type: ignore[no-untyped-def]
    import math
    made = model(helper.make_node("TFL_GELU", ["x"], ["y"], "gelu", approximate=0))
    gelu = np.array([[v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in X[0]]], np.float32)
    assert not any(n.op_type == "TFL_GELU"
                   for n in imported(Worker(made, **{"out:y": gelu})).model.graph.node)
    made = model(helper.make_node("TFL_GELU", ["x"], ["y"], "gelu", approximate=1))
    with pytest.raises(CompileError, match="TFL_GELU"):
        imported(Worker(made, **{"out:y": gelu}))


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    if foreign.importlib.util.find_spec("tf2onnx"):
        pytest.skip("the extra is installed")
    with pytest.raises(CompileError, match=r"needs the extra 'tf', which is not installed; pip "
                                           r"install 'makalu\[tf\]'"):
        take(tmp_path / "net.tflite", Format.TFLITE)


def test_what_the_worker_refuses_is_told(imported) -> None:   # type: ignore[no-untyped-def]
    worker = Worker(model(MATMUL))
    worker.report = {"cause": "input 'x' has no shape", "cure": "give it: --shape x=1,…"}
    with pytest.raises(CompileError, match="input 'x' has no shape; give it: --shape x=1"):
        imported(worker)
